"""Read a byte-level BPE tokenizer's vocabulary, merges and special tokens; tokenizes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parley_export.errors import BundleError, Problems

# The text splitter of Qwen2's tokenizer, which llama.cpp knows as "qwen2" (data of the format).
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

END_OF_TEXT = "<|endoftext|>"  # of every tokenizer that is read here

FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
)


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer as data.

    tokens: the text of each id, byte-level encoded for ordinary ids.
    merges: "left right" in order of rank.
    added: name -> id of tokens beside the BPE vocabulary; never split, never merged.
    special: those of `added` that are control tokens and must not come out of user text.
    pre_tokenizer: llama.cpp's name of the text splitter.
    """

    tokens: list[str]
    merges: list[str]
    added: dict[str, int]
    special: dict[str, int]
    pre_tokenizer: str

    @property
    def size(self) -> int:
        return len(self.tokens)

    def id_of(self, name: str) -> int:
        """Return the id of an added token; raises BundleError where the tokenizer has none."""
        if name not in self.added:
            raise BundleError(
                f"[tokenizer.id_of] expected the token {name} in the tokenizer, got none; "
                "use the tokenizer files that belong to the checkpoint"
            )
        return self.added[name]


def read_tokenizer(
    folder: Path, required: Iterable[str], optional: Iterable[str] = ()
) -> Tokenizer:
    """Read tokenizer.json, or vocab.json with merges.txt and the added tokens of Qwen2.

    Args:
        required: names of tokens that must be there.
        optional: names of tokens that may be. Both are control tokens, whatever the files say.
    Raises:
        BundleError: files are missing or damaged, ids have gaps, the kind is not byte-level BPE,
            or a required token is absent; names every fault.
    """
    if (folder / "tokenizer.json").is_file():
        vocab, merges, added, pre = _from_fast(folder / "tokenizer.json")
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        vocab, merges, added, pre = _from_slow(folder)
    else:
        raise BundleError(
            f"[tokenizer.read] expected tokenizer.json, or vocab.json and merges.txt, in {folder}, "
            "got neither; fetch the tokenizer files of the checkpoint"
        )
    problems = Problems("tokenizer.read", "use the tokenizer files that belong to the checkpoint")
    tokens = _by_id(vocab, {name: i for name, (i, _) in added.items()}, problems)
    for name in (END_OF_TEXT, *required):
        if name not in added:
            problems.add(f"expected the added token {name}, got none")
    problems.raise_if_any()
    control = {END_OF_TEXT, *required, *optional}
    by_id = sorted(added.items(), key=lambda item: item[1][0])
    return Tokenizer(
        tokens=tokens,
        merges=merges,
        added={name: i for name, (i, _) in by_id},
        special={name: i for name, (i, special) in by_id if special or name in control},
        pre_tokenizer=pre,
    )


def _by_id(vocab: dict[str, int], added: dict[str, int], problems: Problems) -> list[str]:
    names: dict[int, str] = {}
    for name, i in [*vocab.items(), *added.items()]:
        if not isinstance(i, int) or i < 0:
            problems.add(f"expected a token id for {name!r}, got {i!r}")
        elif names.get(i, name) != name:
            problems.add(f"expected one token of id {i}, got {names[i]!r} and {name!r}")
        else:
            names[i] = name
    gaps = sorted(set(range(len(names))) - names.keys())
    if gaps:
        shown = ", ".join(map(str, gaps[:10])) + (", ..." if len(gaps) > 10 else "")
        problems.add(f"expected ids without gaps, got none for {shown}")
    return [names[i] for i in sorted(names)]


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as e:
        raise BundleError(
            f"[tokenizer.read] expected UTF-8 in {path.name}, got {e}; fetch the file again"
        ) from e


def _read_json(path: Path) -> Any:
    try:
        return json.loads(_read_text(path))
    except ValueError as e:
        raise BundleError(
            f"[tokenizer.read] expected JSON in {path.name}, got {e}; fetch the file again"
        ) from e


Parts = tuple[dict[str, int], list[str], dict[str, tuple[int, bool]], str]


def _from_fast(path: Path) -> Parts:
    data = _read_json(path)
    problems = Problems("tokenizer.read", "only byte-level BPE tokenizers of Qwen2's kind work")
    try:
        model = data["model"]
        merges = [m if isinstance(m, str) else f"{m[0]} {m[1]}" for m in model.get("merges", [])]
        added = {
            t["content"]: (t["id"], bool(t.get("special", True)))
            for t in data.get("added_tokens", [])
        }
        vocab = dict(model["vocab"])
        kind = model.get("type", "BPE")
        if kind != "BPE" or model.get("byte_fallback"):
            problems.add(f"expected a byte-level BPE model, got {kind}")
        normalizer = (data.get("normalizer") or {}).get("type", "NFC")
        if normalizer != "NFC":
            problems.add(f"expected no normalizer or NFC, got {normalizer}")
        pre = _pre_tokenizer(data.get("pre_tokenizer"), bool(merges), problems)
    except (KeyError, TypeError, AttributeError, IndexError) as e:
        raise BundleError(
            f"[tokenizer.read] expected a tokenizer in {path.name}, got {type(e).__name__}: {e}; "
            "fetch the file again"
        ) from e
    problems.raise_if_any()
    return vocab, merges, added, pre


def _pre_tokenizer(described: Any, has_merges: bool, problems: Problems) -> str:
    """Return llama.cpp's name for a text splitter; without merges every splitter gives bytes."""
    parts = described.get("pretokenizers", [described]) if isinstance(described, dict) else []
    kinds = [p.get("type") for p in parts]
    splits = [p.get("pattern", {}).get("Regex") for p in parts if p.get("type") == "Split"]
    if "ByteLevel" not in kinds or set(kinds) - {"ByteLevel", "Split"}:
        problems.add(f"expected a byte-level text splitter, got {kinds}")
    elif splits and splits != [QWEN2_SPLIT]:
        problems.add(f"expected Qwen2's text splitter, got the pattern {splits}")
    elif not splits and has_merges:
        if parts[kinds.index("ByteLevel")].get("use_regex", True):
            return "gpt-2"
        problems.add("expected a text splitter, got none")
    return "qwen2"


def _from_slow(folder: Path) -> Parts:
    vocab = _read_json(folder / "vocab.json")
    if not isinstance(vocab, dict):
        raise BundleError(
            "[tokenizer.read] expected an object of token and id in vocab.json, got something "
            "else; fetch the file again"
        )
    text = _read_text(folder / "merges.txt")
    merges = [m.rstrip("\r") for m in text.split("\n")]
    merges = [m for m in merges if m and not m.startswith("#version")]
    added: dict[str, tuple[int, bool]] = {}
    try:
        if (folder / "added_tokens.json").is_file():
            for name, i in _read_json(folder / "added_tokens.json").items():
                added[name] = (i, True)
        if (folder / "tokenizer_config.json").is_file():
            decoder = _read_json(folder / "tokenizer_config.json").get("added_tokens_decoder", {})
            for i, token in decoder.items():
                added[token["content"]] = (int(i), bool(token.get("special", True)))
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise BundleError(
            f"[tokenizer.read] expected the added tokens in added_tokens.json or "
            f"tokenizer_config.json, got {type(e).__name__}: {e}; fetch the files again"
        ) from e
    return vocab, merges, added, "qwen2"

"""Fetch a checkpoint by its Hugging Face repository id, after consent; knows no file's content."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from parley_export import families
from parley_export.errors import BundleError, InputError, LibraryError
from parley_export.progress import size
from parley_export.tokenizer import FILES as TOKENIZER_FILES

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Data only: no code of a repository is ever fetched. A family adds its own files.
WANTED = [
    "config.json",
    *TOKENIZER_FILES,
    "*.safetensors",
    "model.safetensors.index.json",
    "LICENSE*",
    "License*",
    "LICENCE*",
]
SHOWN_LINES = 40


@dataclass(frozen=True)
class Fetched:
    """A fetched checkpoint and the exact place it came from (`org/name@commit`)."""

    folder: Path
    location: str


def is_repository(text: str) -> bool:
    """True where `text` is no path that exists but looks like org/name."""
    return not Path(text).exists() and _REPOSITORY.fullmatch(text) is not None


def fetch(repository: str, *, agree: bool, stream: TextIO | None = None) -> Fetched:
    """Show a repository's licence, ask for agreement and fetch its data files.

    Args:
        agree: the user agreed beforehand; otherwise a terminal is asked.
    Raises:
        LibraryError: the package huggingface_hub is missing.
        InputError: no agreement, or the repository cannot be reached.
        BundleError: it holds no checkpoint of a kind that is known.
    """
    stream = stream or sys.stderr
    try:
        import huggingface_hub as hub
    except ImportError as e:
        raise LibraryError(
            f"[hub.fetch] expected the package huggingface_hub to fetch {repository}, got none; "
            "pip install 'parley[hub]', or fetch the files yourself and give their folder"
        ) from e
    try:
        info = hub.HfApi().model_info(repository, files_metadata=True)
        _show_licence(hub, repository, info, stream)
        _agree(repository, agree, stream)
        config = Path(hub.hf_hub_download(repository, "config.json", revision=info.sha))
        wanted = [*WANTED, *families.of(config.parent).files]
        folder = hub.snapshot_download(repository, revision=info.sha, allow_patterns=wanted)
    except (InputError, BundleError):
        raise
    except Exception as e:  # network, permission and protocol errors have no common base
        reason = str(e).splitlines()[0] if str(e) else ""
        raise InputError(
            f"[hub.fetch] expected to reach the repository {repository}, got {type(e).__name__}: "
            f"{reason}; check the name and the network, or give a folder"
        ) from e
    return Fetched(Path(folder), f"{repository}@{info.sha}")


def _show_licence(hub: Any, repository: str, info: Any, stream: TextIO) -> None:
    card = getattr(info, "card_data", None) or {}
    named = card.get("license") or "not stated"
    files = {s.rfilename: s.size or 0 for s in info.siblings or []}
    total = sum(files.values())
    print(f"{repository}: {size(total)}, licence: {named}", file=stream)
    for name in sorted(files):
        if "/" not in name and name.upper().startswith(("LICENSE", "LICENCE")):
            path = hub.hf_hub_download(repository, name, revision=info.sha)
            lines = Path(path).read_text("utf-8", "replace").splitlines()
            print("\n".join(lines[:SHOWN_LINES]), file=stream)
            if len(lines) > SHOWN_LINES:
                print(f"... {len(lines) - SHOWN_LINES} more lines: {path}", file=stream)


def _agree(repository: str, agree: bool, stream: TextIO) -> None:
    if agree:
        return
    if not sys.stdin.isatty():
        raise InputError(
            f"[hub.fetch] expected agreement to the licence of {repository}, got no terminal to "
            "ask; read it and give --yes"
        )
    print("Do you agree to this licence? Type yes to fetch: ", end="", file=stream, flush=True)
    if sys.stdin.readline().strip().lower() != "yes":
        raise InputError(
            f"[hub.fetch] expected agreement to the licence of {repository}, got none; nothing was "
            "fetched"
        )

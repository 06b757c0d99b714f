"""Tokenizers: both forms of the files give the same ids; other kinds are refused by name."""

import json
from pathlib import Path

import pytest

from parley_export.errors import BundleError
from parley_export.families.covo_audio.prompts import AUDIO_PLACEHOLDER, DUPLEX_CONTROL, REQUIRED
from parley_export.tokenizer import QWEN2_SPLIT, Tokenizer, read_tokenizer


def read(folder: Path) -> Tokenizer:
    return read_tokenizer(folder, REQUIRED, DUPLEX_CONTROL)


def change(folder, edit):
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


def qwen2_splitter():
    split = {"type": "Split", "pattern": {"Regex": QWEN2_SPLIT}, "behavior": "Isolated"}
    return {"type": "Sequence", "pretokenizers": [split, {"type": "ByteLevel"}]}


def add_merges(data, merges):
    vocab = data["model"]["vocab"]
    shift = len(merges)
    for token in data["added_tokens"]:
        token["id"] += shift
    for left, right in merges:
        vocab[left + right] = len(vocab)
    data["model"]["merges"] = [list(m) for m in merges]
    data["pre_tokenizer"] = qwen2_splitter()


def test_merges_in_either_form(checkpoint):
    merges = [("Ł", "Ń"), ("ŁŃ", "Ł")]
    change(checkpoint, lambda d: add_merges(d, merges))
    as_lists = read(checkpoint)
    change(checkpoint, lambda d: d["model"].update(merges=[" ".join(m) for m in merges]))
    assert read(checkpoint) == as_lists
    assert as_lists.merges == ["Ł Ń", "ŁŃ Ł"]
    assert as_lists.pre_tokenizer == "qwen2"


def test_the_slow_files_are_the_same(checkpoint):
    change(checkpoint, lambda d: add_merges(d, [("Ł", "Ń")]))
    fast = read(checkpoint)
    data = json.loads((checkpoint / "tokenizer.json").read_text())
    (checkpoint / "tokenizer.json").unlink()
    (checkpoint / "vocab.json").write_text(json.dumps(data["model"]["vocab"]))
    (checkpoint / "merges.txt").write_text("#version: 0.2\nŁ Ń\n", encoding="utf-8")
    added = {str(t["id"]): t for t in data["added_tokens"]}
    config = checkpoint / "tokenizer_config.json"
    config.write_text(json.dumps({"added_tokens_decoder": added}))
    assert read(checkpoint) == fast
    config.unlink()
    names = {t["content"]: t["id"] for t in data["added_tokens"]}
    (checkpoint / "added_tokens.json").write_text(json.dumps(names))
    assert read(checkpoint) == fast


def test_tokens_that_are_not_special_stay_text(checkpoint):
    def edit(data):
        token = next(t for t in data["added_tokens"] if t["content"] == "<tool_call>")
        token["special"] = False

    change(checkpoint, edit)
    found = read(checkpoint)
    assert "<tool_call>" in found.added and "<tool_call>" not in found.special


def test_prompt_tokens_are_control_whatever_the_files_say(checkpoint):
    change(checkpoint, lambda d: [t.update(special=False) for t in d["added_tokens"]])
    found = read(checkpoint)
    assert {AUDIO_PLACEHOLDER, *DUPLEX_CONTROL} <= found.special.keys()


def test_missing_tokens_are_named_together(checkpoint):
    def edit(data):
        names = [t["content"] for t in data["added_tokens"]]
        for t in data["added_tokens"]:
            if t["content"] in ("<|cAUDIO|>", "<|im_end|>"):
                t["content"] = f"<|gone_{names.index(t['content'])}|>"

    change(checkpoint, edit)
    with pytest.raises(BundleError) as e:
        read(checkpoint)
    assert "<|cAUDIO|>" in str(e.value) and "<|im_end|>" in str(e.value)


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda d: d["model"].update(type="Unigram"), "Unigram"),
        (lambda d: d["model"].update(byte_fallback=True), "byte-level"),
        (lambda d: d.update(normalizer={"type": "Lowercase"}), "Lowercase"),
        (lambda d: d.update(pre_tokenizer={"type": "Metaspace"}), "Metaspace"),
        (lambda d: d.update(pre_tokenizer=None), "splitter"),
        (lambda d: d["added_tokens"][0].update(id=3), "one token of id 3"),
        (lambda d: d["added_tokens"][-1].update(id=5000), "without gaps"),
        (lambda d: d["added_tokens"][0].update(id="x"), "token id"),
        (lambda d: d.pop("model"), "tokenizer"),
        (lambda d: d["model"].update(vocab=[1]), "tokenizer"),
    ],
)
def test_other_kinds_are_refused(checkpoint, edit, named):
    change(checkpoint, edit)
    with pytest.raises(BundleError, match=named):
        read(checkpoint)


def test_another_splitter_is_refused(checkpoint):
    def edit(data):
        data["pre_tokenizer"] = qwen2_splitter()
        data["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\w+"

    change(checkpoint, edit)
    with pytest.raises(BundleError, match="Qwen2's text splitter"):
        read(checkpoint)


def test_no_files(tmp_path):
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        read(tmp_path)

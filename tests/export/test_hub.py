"""A checkpoint by its repository's id: consent first, data only, what cannot be reached is said."""

import json
import sys
import types

import pytest

from parley_export import bundle, command, hub


def export(checkpoint, out, *options):
    """The exit code of an export in this process."""
    return command.main([str(checkpoint), "--out", str(out), "--backbone", "f32", *options])


@pytest.fixture
def out(tmp_path):
    return tmp_path / "b"


class FakeHub(types.ModuleType):
    """Stands in for huggingface_hub: one repository that is a folder here."""

    def __init__(self, folder):
        super().__init__("huggingface_hub")
        self.folder, self.asked = folder, []

    def HfApi(self):  # noqa: N802
        return self

    def model_info(self, name, files_metadata):
        if name != "org/model":
            raise ConnectionError("no such repository")
        siblings = [types.SimpleNamespace(rfilename=f, size=5) for f in ("LICENSE", "config.json")]
        return types.SimpleNamespace(
            sha="abc123", card_data={"license": "other"}, siblings=siblings
        )

    def hf_hub_download(self, name, file, revision):
        return self.folder / file

    def snapshot_download(self, name, revision, allow_patterns):
        self.asked.append((name, revision))
        assert not any(p.endswith(".py") or p == "*" for p in allow_patterns)
        return str(self.folder)


@pytest.fixture
def repository(checkpoint, monkeypatch, tmp_path):
    (checkpoint / "LICENSE").write_text("Terms of this model\n")
    fake = FakeHub(checkpoint)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    monkeypatch.chdir(tmp_path)
    return fake


def test_a_repository_needs_agreement(repository, out, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(isatty=lambda: False))
    assert export("org/model", out) == 3
    message = capsys.readouterr().err
    assert "--yes" in message and "Terms of this model" in message and "other" in message
    assert not repository.asked
    answers = iter(["no\n", "yes\n"])
    terminal = types.SimpleNamespace(isatty=lambda: True, readline=lambda: next(answers))
    monkeypatch.setattr(sys, "stdin", terminal)
    assert export("org/model", out) == 3
    assert not repository.asked
    assert export("org/model", out) == 0
    assert repository.asked == [("org/model", "abc123")]
    described = json.loads((out / bundle.MANIFEST).read_text("utf-8"))
    assert described["source"]["location"] == "org/model@abc123"
    assert described["name"] == "model"


def test_a_repository_with_yes(repository, out):
    assert export("org/model", out, "--yes") == 0


def test_a_repository_that_cannot_be_reached(repository, out, capsys):
    assert export("org/other", out, "--yes") == 3
    assert "no such repository" in capsys.readouterr().err


def test_what_looks_like_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert hub.is_repository("org/model-7B_v1.0")
    for path in ("a/b", "./org/model", "/org/model", "org", "org/a/b", "../x", ".hidden/x"):
        assert not hub.is_repository(path)


def test_without_the_hub_package(out, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert export("org/model", out, "--yes") == 5
    assert "parley[hub]" in capsys.readouterr().err

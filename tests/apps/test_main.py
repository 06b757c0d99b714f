"""The command itself: help, version, exit codes, one printer of errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest

import parley
from parley_apps import errors, main

# Commands that only group others: the words of one that does something.
GROUPS = {"eval": "eval duplex"}


@pytest.mark.parametrize("name", main.COMMANDS)
def test_help_of_every_command_teaches(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = GROUPS.get(name, name)
    with pytest.raises(SystemExit) as caught:
        main.main([*command.split(), "--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    assert "exit codes:" in text
    assert f"parley {command} " in text.partition("options:")[0], "an example before the options"


def test_help_names_the_commands_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(["--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    for word in (*main.COMMANDS, "examples:", "exit codes:", "130"):
        assert word in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("parley 0.")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sing"],
        ["talk"],
        ["talk", "bundle", "--in", "a.wav"],
        ["talk", "bundle", "--plot", "x.png"],
        ["talk", "bundle", "--out", "x.wav"],
        ["talk", "bundle", "--out", "x.wav", "--in", "a.wav", "--mode", "chorus"],
        ["talk", "bundle", "--out", "x.wav", "--in", "a.wav", "--seed", "-1"],
        ["talk", "bundle", "--out", "x.wav", "--in", "a.wav", "--threads", "few"],
        ["bench", "bundle", "--seconds", "0"],
        ["bench", "bundle", "--seconds", "nan"],
        ["verify", "bundle"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(arguments)
    assert caught.value.code == errors.USAGE
    assert "error:" in capsys.readouterr().err


ERRORS: list[tuple[BaseException, int]] = [
    (parley.InputError("[a.b] expected x, got y; make z"), 3),
    (parley.ContextError("[a.b] expected x, got y; make z"), 3),
    (parley.BundleError("[a.b] expected x, got y; make z"), 4),
    (parley.LibraryError("[a.b] expected x, got y; make z"), 5),
    (ImportError("[a.b] expected x, got y; make z"), 5),
    (OSError(28, "No space left on device"), 6),
    (FileNotFoundError(2, "No such file or directory", "there/x.wav"), 6),
    (MemoryError("[a.b] expected x, got y; make z"), 6),
    (MemoryError(), 6),
    (parley.CancelledError("[a.b] expected x, got y; make z"), 130),
    (KeyboardInterrupt(), 130),
]


def fail_with(error: BaseException) -> Callable[..., object]:
    def fail(*_: object, **__: object) -> object:
        raise error

    return fail


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_exit_codes(
    error: BaseException,
    code: int,
    as_json: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(parley, "read_manifest", fail_with(error))
    assert main.main(["show", "bundle", *(["--json"] if as_json else [])]) == code
    out, err = capsys.readouterr()
    assert err.startswith("parley: error: ") and err.count("\n") == 1
    if as_json:
        told = json.loads(out)["error"]
        assert told["exit_code"] == code and told["kind"] == type(error).__name__
        assert told["message"] in err
    else:
        assert out == ""


def test_a_fault_of_our_own_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parley, "read_manifest", fail_with(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main.main(["show", "bundle"])


def test_the_file_is_named_where_the_system_names_it() -> None:
    message = errors._message(FileNotFoundError(2, "No such file or directory", "there/x.wav"))
    assert message == "No such file or directory (there/x.wav)"


def test_a_missing_extra_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "parley_export.command", None)
    assert main.main(["export", "checkpoint", "--out", "bundle"]) == errors.MISSING
    assert "pip install 'parley[export]'" in capsys.readouterr().err

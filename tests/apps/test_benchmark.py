"""`parley bench` picks the measurement that its first word names."""

from __future__ import annotations

import argparse
import re
import sys
from types import SimpleNamespace

import pytest

from parley_apps import benchmark, main

RAN: list[object] = []


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> str:
    """A measurement of one part as other modules of the package are."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.description = "measures\n\nexamples:\n  parley bench imagined --deep"
        parser.add_argument("--deep", action="store_true")

    def run(args: argparse.Namespace) -> int:
        RAN.append(args.deep)
        return 1

    name = "parley_apps.benchmark.imagined"
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(add_arguments=add_arguments, run=run))
    monkeypatch.setitem(benchmark.PARTS, "imagined", (name, "nothing that exists"))
    RAN.clear()
    return "imagined"


def test_a_part_gets_its_own_options(part: str) -> None:
    assert main.main(["bench", part, "--deep"]) == 1
    assert main.main(["bench", part]) == 1
    assert RAN == [True, False]


def test_the_help_names_the_parts(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["bench", "--help"])
    assert re.search(rf"^ +{part} +nothing that exists$", capsys.readouterr().out, re.MULTILINE)
    with pytest.raises(SystemExit):
        main.main(["bench", part, "--help"])
    assert f"usage: parley bench {part} [-h] [--deep]" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(benchmark.PARTS))
def test_help_of_every_part_teaches(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(["bench", name, "--help"])
    assert caught.value.code == 0
    assert f"parley bench {name} " in capsys.readouterr().out.partition("options:")[0]


@pytest.mark.parametrize("name", ["step", "hour", "flow", "vocoder", "backbone"])
def test_a_part_measures_nano_where_no_bundle_is_named(name: str) -> None:
    assert parsed([name]).bundle == "nano"
    # Also behind an option, where a parser with a positional before it would refuse the word.
    assert parsed([name, "--threads", "1", "other"]).bundle == "other"


def parsed(words: list[str]) -> argparse.Namespace:
    arguments = main.complete(["bench", *words])
    return main.build_parser(arguments).parse_args(arguments)


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["nano"], ["step", "nano"]),
        ([], ["step"]),
        (["--seconds", "3", "b"], ["step", "--seconds", "3", "b"]),
        (["hour", "b"], ["hour", "b"]),
        (["--help"], ["--help"]),
    ],
)
def test_without_a_word_steps_are_measured(words: list[str], completed: list[str]) -> None:
    assert main.complete(["bench", *words]) == ["bench", *completed]
    assert main.complete(["talk", *words]) == ["talk", *words]


@pytest.mark.parametrize("words", [["nano", "--hours", "1"], ["hour", "--seconds", "1"]])
def test_options_of_another_measurement_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parsed(words)
    assert caught.value.code == 2


def test_what_is_not_given_has_its_default() -> None:
    args = parsed(["hour"])
    assert (args.hours, args.kv, args.threads, args.overlap) == (1.0, "f16", 0, False)
    args = parsed(["shapes"])
    assert len(args.stages) == 4 and args.chunks == 24 and args.device == "cpu"
    assert parsed(["simulate"]).device == "all"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--seed", "one"], "expected a whole number of 0 or more, got one"),
        (["--seconds", "long"], "expected a number above 0, got long"),
        (["shapes", "--chunks", "many"], "expected a whole number of 1 or more"),
        (["kernels", "--frames", "x"], "expected a whole number of 1 or more, got x"),
        (["vocoder", "b", "--chunks", "0"], "expected a whole number of 1 or more, got 0"),
        (["encoder", "b", "--tries", "0"], "expected a whole number of 1 or more, got 0"),
        (["encoder", "b", "--seconds", "3,x"], "expected a number above 0, got x, in 3,x"),
        (["simulate", "1.2.3GB/s,1TF"], "expected one of h200"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_value_is_told_in_words(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(["bench", *words])
    err = capsys.readouterr().err
    assert caught.value.code == 2 and told in err and "invalid" not in err

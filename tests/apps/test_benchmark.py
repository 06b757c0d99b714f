"""`parley bench` picks the measurement that its first word names."""

from __future__ import annotations

import argparse
import sys
from types import SimpleNamespace

import pytest

from parley_apps import benchmark, main

VALUES = {
    "BUNDLE": "b",
    "--seconds": "1",
    "--in": "a.wav",
    "--mode": "turns",
    "--seed": "1",
    "--hours": "1",
    "--plot": "a.png",
    "--shapes": "full",
    "--backbone": "q4_k_m",
    "--graphs": "f32",
    "--stages": "flow",
    "--chunks": "24",
    "--tries": "3",
    "--cache": "folder",
    "--simulate": "h200",
    "--device": "cpu",
    "--threads": "1",
    "--kv": "f16",
}
MEASUREMENTS: dict[str, list[str]] = {
    benchmark.STEP: ["b"],
    benchmark.HOURS: ["--hours", "1"],
    benchmark.SHAPES: ["--shapes", "full"],
    benchmark.SIMULATE: ["--simulate", "h200"],
}
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
    monkeypatch.setitem(benchmark.PARTS, "imagined", name)
    monkeypatch.setitem(benchmark.SUMMARIES, "imagined", "nothing that exists")
    RAN.clear()
    return "imagined"


def test_a_part_gets_its_own_options(part: str) -> None:
    assert main.main(["bench", part, "--deep"]) == 1
    assert main.main(["bench", part]) == 1
    assert RAN == [True, False]


def test_the_help_names_the_parts(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["bench", "--help"])
    assert f"parley bench {part}" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main.main(["bench", part, "--help"])
    assert f"usage: parley bench {part} [-h] [--deep]" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(benchmark.PARTS))
def test_help_of_every_part_teaches(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(["bench", name, "--help"])
    assert caught.value.code == 0
    assert f"parley bench {name} " in capsys.readouterr().out.partition("options:")[0]


@pytest.mark.parametrize("name", ["flow", "vocoder", "backbone"])
def test_a_part_measures_nano_where_no_bundle_is_named(name: str) -> None:
    assert parsed([name]).bundle == "nano"
    # Also behind an option, where a parser with a positional before it would refuse the word.
    assert parsed([name, "--threads", "1", "other"]).bundle == "other"


def parsed(words: list[str]) -> argparse.Namespace:
    return main.build_parser(["bench", *words]).parse_args(["bench", *words])


def test_the_table_holds_every_option() -> None:
    actions = {action.dest: action for action in plain_parser()._actions}
    names = {benchmark._destination(option) for option in benchmark.APPLIES}
    assert set(actions) - names == {"help", "json"}, "an option of no measurement, or of each"
    assert names <= set(actions)


def plain_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    return parser


def words_of(option: str) -> list[str]:
    words = [] if option == "BUNDLE" else [option]
    return words + ([VALUES[option]] if option in VALUES else [])


@pytest.mark.parametrize("measurement", MEASUREMENTS)
@pytest.mark.parametrize("option", benchmark.APPLIES)
def test_options_of_another_measurement_are_refused(
    option: str, measurement: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*MEASUREMENTS[measurement], *words_of(option)]
    if measurement == benchmark.STEP and option in ("BUNDLE", *MEASUREMENTS):
        return  # one BUNDLE is there; the others are what picks another measurement
    if measurement in benchmark.APPLIES[option]:
        assert benchmark.settle(parsed(words)) == measurement
        return
    with pytest.raises(SystemExit) as caught:
        benchmark.settle(parsed(words))
    told = "got both" if option in ("BUNDLE", *MEASUREMENTS) else "got it with"
    assert caught.value.code == 2 and told in capsys.readouterr().err


def test_what_is_not_given_has_its_default() -> None:
    args = parsed(["--hours", "2"])
    assert benchmark.settle(args) == benchmark.HOURS
    assert (args.hours, args.kv, args.threads, args.overlap) == (2.0, "f16", 0, False)
    args = parsed(["--shapes", "full"])
    benchmark.settle(args)
    assert len(args.stages) == 4 and args.chunks == 24 and args.device == "cpu"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--seed", "one"], "expected a whole number of 0 or more, got one"),
        (["--seconds", "long"], "expected a number above 0, got long"),
        (["--shapes", "full", "--chunks", "many"], "expected a whole number of 1 or more"),
        (["kernels", "--frames", "x"], "expected a whole number of 1 or more, got x"),
        (["vocoder", "b", "--chunks", "0"], "expected a whole number of 1 or more, got 0"),
        (["encoder", "b", "--tries", "0"], "expected a whole number of 1 or more, got 0"),
        (["encoder", "b", "--seconds", "3,x"], "expected a number above 0, got x, in 3,x"),
        (["--simulate", "1.2.3GB/s,1TF"], "expected one of h200"),
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

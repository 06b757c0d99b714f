"""`parley bench` picks the measurement that its first word names."""

from __future__ import annotations

import argparse
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

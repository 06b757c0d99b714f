"""The whole recipe: its commands are steps that exist, in an order in which each finds its own."""

import importlib.util

import pytest
from train import recipe
from train.__main__ import STEPS, main
from train.synthesis import SynthesisError


def words(commands: list[list[str]]) -> list[list[str]]:
    """What follows `python -m train`."""
    return [command[command.index("train") + 1 :] for command in commands]


def test_every_step_is_a_module() -> None:
    for name in STEPS:
        assert importlib.util.find_spec(f"train.{name}") is not None, name


def test_what_hears_comes_before_what_listens() -> None:
    hearing, voice = map(words, recipe.chains(60, {"A": 5, "B": 2.5}, 30, 50))
    assert hearing == [
        ["distill", "--minutes", "60"],
        ["listen", "--stage", "A", "--minutes", "5"],
        ["listen", "--stage", "B", "--minutes", "2.5"],
    ]
    assert [row[0] for row in voice] == ["flow", "vocoder"]
    assert {row[0] for row in (*hearing, *voice)} <= set(STEPS)


def test_a_missing_synthesizer_ends_with_a_line_to_paste(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing() -> None:
        raise SynthesisError("no such library")

    monkeypatch.setattr(recipe, "Espeak", missing)
    with pytest.raises(SystemExit, match=r"no such library(.|\n)*apt-get install -y espeak-ng"):
        main(["recipe", "--share", "0"])

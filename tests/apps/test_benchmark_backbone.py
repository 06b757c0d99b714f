"""`parley bench backbone` over the small decoder of the C++ tests: what it tells, in both forms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parley_apps import main

DECODER = Path(__file__).parents[1] / "cpp" / "data" / "decoder_q8_0.gguf"
SMALL = ["--passes", "16", "--depth", "8", "--window", "--chunks", "80", "--prompt", "5"]
WINDOW = [*SMALL, "--window-positions", "48", "--context", "100"]


def test_it_tells_both_loops_and_the_window(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["bench", "backbone", str(DECODER), *WINDOW, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    for loop in ("ours", "llama"):
        assert result[loop]["wall_tokens_s"] > 0 and result[loop]["cpu_tokens_s"] > 0
    assert result["ratio"]["wall"] > 0
    assert len(result["draw"]) == 3 and result["embed"]["ms"] >= 0
    window = result["window"]
    assert (window["prompt"], window["window"], window["context"]) == (5, 48, 100)
    assert window["listening"]["rebase"]["n"] > 0 and "rebase" not in window["speaking"]
    assert window["speaking"]["evict"]["n"] > 0
    over = window["listening"]["rebase"]["over"]
    assert over["p50"] > 0 and over["p99"] > 0
    assert result["file"] == DECODER.name


def test_it_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["bench", "backbone", str(DECODER), *WINDOW]) == 0
    printed = capsys.readouterr().out
    for words in ("llama.cpp's own loop", "an embedding row", "listening, rebase"):
        assert words in printed


def test_a_bundle_is_told_by_its_name(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["bench", "backbone", str(tiny_bundle), *SMALL[:4], "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (
        result["file"].split("/")[1] == "backbone.gguf" and str(tiny_bundle) not in result["file"]
    )

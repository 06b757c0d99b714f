"""`parley bench encoder`: its distances by hand, and the command on the tiny bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tolerances
from parley_apps.benchmark import encoder
from parley_apps.main import main

ROOT = Path(__file__).parents[2]
NANO = ROOT / "models/nano/bundle"


def test_distances_by_hand() -> None:
    # Rows of 3 and 5: 1 away from their mean, and of root mean square 17 ** 0.5.
    whole = np.array([[3.0, 3.0], [5.0, 5.0]], np.float32)
    told = encoder.compare(whole, whole + 2)
    assert told["features"] == 2
    assert told["variation"] == pytest.approx(2, rel=tolerances.SAME_REL)
    assert told["distance"] == pytest.approx(2 / 17**0.5, rel=tolerances.SAME_REL)
    assert encoder.compare(whole, whole)["distance"] == 0
    assert encoder.compare(whole[:1], whole[:1])["variation"] == 0


def test_the_command(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "encoder", str(tiny_bundle), "--threads", "1", "--tries", "1"]
    assert main([*words, "--seconds", "1,29.95", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["lengths"]
    assert [row["features"] for row in rows] == [7, 188]
    assert 0 < rows[0]["distance"] < 1
    assert rows[1]["distance"] == 0, "nothing is left out of a whole segment"
    assert all(row["whole"]["ms"] > 0 and row["short"]["ms"] > 0 for row in rows)
    assert main([*words, "--seconds", "2"]) == 0
    assert "variation" in capsys.readouterr().out


def test_bad_words(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "encoder", str(tiny_bundle)]
    assert main([*words, "--seconds", "31"]) == 3
    assert "up to 30" in capsys.readouterr().err
    for wrong in (["--tries", "0"], ["--seconds", "0"], ["--seconds", "a"]):
        with pytest.raises(SystemExit) as caught:
            main([*words, *wrong])
        assert caught.value.code == 2


@pytest.mark.skipif(not NANO.is_dir(), reason="no models/nano/bundle; make nano makes one")
def test_a_bundle_for_duplex_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "encoder", str(NANO)]) == 3
    assert "has no segments" in capsys.readouterr().err

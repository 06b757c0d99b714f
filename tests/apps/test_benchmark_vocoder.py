"""`parley bench vocoder`: its distances by hand, the sweep and the command on the tiny bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import parley
import tolerances
from parley_apps.benchmark import sound_distance, vocoder
from parley_apps.main import main

RATE = 24000


def tone(n: int = RATE) -> np.ndarray:
    return (0.1 * np.sin(0.05 * np.arange(n))).astype(np.float32)


def test_distances_by_hand() -> None:
    whole = tone()
    half = 0.5 * whole
    six = pytest.approx(20 * np.log10(2), abs=tolerances.DECIBELS_ABS)
    assert sound_distance.snr_db(half, whole) == six
    assert sound_distance.snr_db(whole, whole) == 200
    # Half of everything is 6 dB less in every bin that is not silence.
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    assert sound_distance.log_spectral_db(0.5 * noise, noise) == six
    assert sound_distance.log_spectral_db(noise, noise) == 0


def test_a_click_is_one_where_the_sound_jumps() -> None:
    borders = np.array([1000, 5000, 9000])
    smooth, broken = tone(), tone()
    for border in borders:
        broken[border:] += 0.02
    assert sound_distance.click(smooth, borders, RATE) < 2
    assert sound_distance.click(broken, borders, RATE) > 10
    assert sound_distance.click(broken, borders + 600, RATE) < 2
    assert sound_distance.click(broken / 1000, borders, RATE) == 0  # silence


def test_more_lookahead_is_nearer(tiny_bundle: Path) -> None:
    with parley.open(tiny_bundle, threads=1) as bundle:
        rows = vocoder.sweep(bundle, vocoder.random_latents(bundle, 70))
    assert [row["lookahead"] for row in rows] == list(range(14))
    snr = [row["snr_db"] for row in rows]
    assert snr[13] > tolerances.STREAM_SNR_DB > snr[3] > snr[1]
    assert rows[0]["log_spectral_db"] > rows[13]["log_spectral_db"]


def test_the_command(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.setattr(
        vocoder, "spoken_latents", lambda bundle: vocoder.random_latents(bundle, 40)
    )
    words = ["bench", "vocoder", str(tiny_bundle), "--chunks", "2", "--threads", "1"]
    png = tmp_path / "sweep.png"
    assert main([*words, "--unfused", str(tiny_bundle), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert len(result["cost"]) == 5 and len(result["ratio"]) == 5
    assert result["full_lookahead"] == 13 and "sweep" not in result
    pytest.importorskip("matplotlib", reason="pip install 'parley[plot]'")
    assert main([*words, "--sweep", "--plot", str(png)]) == 0
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "window of 61" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--chunks", "0"], ["--plot", "a.png"]])
def test_bad_words(words: list[str], tiny_bundle: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["bench", "vocoder", str(tiny_bundle), *words])
    assert caught.value.code == 2

"""`parley bench flow`: its settings, its measures, and the command over the tiny bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import parley
import tolerances
from parley_apps.benchmark import flow_settings
from parley_apps.benchmark.flow_distance import Distance, log_mel
from parley_apps.main import main

FLOW = {
    "mode": "cached",
    "solver": "midpoint",
    "spacing": "linear",
    "points": 10,
    "guidance": 1.0,
    "guided_evaluations": 18,
    "prompt_codes": 0,
    "past_codes": 16,
    "lookahead_codes": 4,
}


def test_variants_begin_with_the_bundles_own_and_repeat_nothing() -> None:
    rows = flow_settings.variants(FLOW)
    assert rows[0] == flow_settings.own(FLOW)
    assert len({flow_settings.name(row) for row in rows}) == len(rows) > 20
    assert {row["mode"] for row in rows} == {"window", "cached"}
    assert {0, 4, 9, 18} <= {row["guided_evaluations"] for row in rows}
    free = flow_settings.variants(FLOW | {"guidance": 0.0, "guided_evaluations": 0})
    assert {row["guided_evaluations"] for row in free} == {0}


def test_log_mel_is_in_decibels() -> None:
    wave = np.random.default_rng(0).standard_normal(24_000).astype(np.float32)
    louder = log_mel(10 * wave, 24_000) - log_mel(wave, 24_000)
    assert louder.shape[0] == 101
    assert np.median(louder) == pytest.approx(20.0, abs=tolerances.SAME_REL * 20)


def test_distances_of_exact_are_nothing(tiny_bundle: Path) -> None:
    replies = [{"text": "", "codes": [3, 1, 2] * 7}]
    with parley.open(tiny_bundle) as bundle:
        distance = Distance(bundle, replies)
        told = distance.of(distance.exact)
        moved = distance.of([rows + 0.5 * distance._deviation for rows in distance.exact])
    assert told["latent"] == told["mel_db"] == 0.0 and told["heard"] is None
    assert moved["latent"] == pytest.approx(0.5) and moved["mel_db"] > 0
    assert moved["seam"] == pytest.approx(told["seam"])


def test_modes_say_what_a_voice_takes(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "flow", str(tiny_bundle), "--json", "--threads", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    window, cached = told["modes"]
    assert window["voice_bytes"] == 0 and cached["voice_bytes"] > 0 and cached["state_bytes"] > 0
    assert cached["setup_evaluations"] == 18 and cached["cpu_ms"] > 0
    assert told["evaluation"]["frames"] == cached["prompt_frames"] + 16
    assert main(["show", str(tiny_bundle), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["flow"]
    assert shown["prompt_frames"] == cached["prompt_frames"] and shown["guided"] == 18
    assert shown["voice_bytes"] == cached["voice_bytes"]
    assert shown["setup_evaluations"] == cached["setup_evaluations"]

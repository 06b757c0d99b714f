"""`parley bench flow`: its settings, its measures, and the command over the tiny bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import parley
import tolerances
from parley_apps import errors
from parley_apps.benchmark.flow import plot as flow_plot
from parley_apps.benchmark.flow import replies as flow_replies
from parley_apps.benchmark.flow import settings as flow_settings
from parley_apps.benchmark.flow.distance import Distance, log_mel
from parley_apps.benchmark.flow.sweep import lines
from parley_apps.flow_facts import flow_evaluations
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


def test_the_reference_is_solved_finely_and_fully_guided() -> None:
    fine = flow_settings.reference(FLOW)
    assert fine["mode"] == "exact" and fine["prompt_codes"] == 0
    assert flow_evaluations(fine) == fine["guided_evaluations"] == 64
    free = flow_settings.reference(FLOW | {"guidance": 0.0, "guided_evaluations": 0})
    assert free["guided_evaluations"] == 0
    assert flow_settings.reference(FLOW | {"points": 50})["points"] == 50


def test_distances_tell_the_solver_from_streaming(tiny_bundle: Path) -> None:
    replies = [{"text": "", "codes": [3, 1, 2] * 7}]
    coarse = FLOW | {"points": 2, "guided_evaluations": 0}
    with parley.open(tiny_bundle) as bundle:
        distance = Distance(bundle, replies)
        reference, whole = distance.reference, distance.whole(coarse)
        none = distance.of(reference, distance.settings)
        solved = distance.of(whole, coarse)
        moved = distance.of([rows + 0.5 * distance._deviation for rows in whole], coarse)
        # The bundle's own solver is no reference: its whole utterance is away from it too.
        own = distance.of(distance.whole(FLOW), FLOW)
    assert none["latent"] == none["by_solver"] == none["by_stream"] == none["mel_db"] == 0.0
    assert none["heard"] is None
    assert (
        solved["by_stream"] == 0.0
        and solved["latent"] == solved["by_solver"] > own["by_solver"] > 0.0
    )
    assert moved["by_stream"] == pytest.approx(0.5) and moved["by_solver"] == solved["by_solver"]
    assert moved["mel_db"] > 0 and moved["seam"] == pytest.approx(solved["seam"])


def test_a_sweep_varies_guidance_where_there_is_some(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "replies.json"
    path.write_text(json.dumps([{"text": "a", "codes": [3, 1, 2] * 5}]))
    command = ["bench", "flow", str(tiny_bundle), "--sweep", "--replies", str(path), "--threads"]
    assert main([*command, "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["guidance"] > 0 and told["reference"]["guided_evaluations"] == 64
    own, *_ = rows = told["settings"]
    same = set(flow_settings.KEYS) - {"guided_evaluations"}
    guided = {
        row["guided_evaluations"]: row for row in rows if all(row[key] == own[key] for key in same)
    }
    assert set(guided) == {0, 4, 9, 18}
    # Less guidance is another solver, and on random weights further from the reference.
    assert guided[0]["by_solver"] > guided[9]["by_solver"] > guided[18]["by_solver"] > 0
    assert "on as many evaluations" in "\n".join(lines(told))
    assert "has no guidance" in "\n".join(lines(told | {"guidance": 0.0}))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("text: hello", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "an empty list"),
        ('{"text": "a", "codes": [1]}', "dict"),
        ("[7]", "int 7 in reply 1"),
        ('[{"text": "a"}]', "no codes in reply 1"),
        ('[{"codes": [1]}]', "no text in reply 1"),
        ('[{"text": 1, "codes": [1]}]', "text 1 in reply 1"),
        ('[{"text": "a", "codes": "1"}]', 'codes "1" in reply 1'),
        ('[{"text": "a", "codes": [true]}]', "the code true"),
        ('[{"text": "a", "codes": [1.5]}]', "the code 1.5"),
        ('[{"text": "a", "codes": [99999999]}]', "the code 99999999"),
        ('[{"text": "a", "codes": [-1]}]', "the code -1"),
        ('[{"text": "a", "codes": [1, 2, 3]}]', "got 3 in reply 1"),
    ],
)
def test_replies_that_cannot_be_used_are_told(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str], text: str, named: str
) -> None:
    path = tmp_path / "replies.json"
    path.write_text(text)
    command = ["bench", "flow", str(tiny_bundle), "--sweep", "--replies", str(path)]
    assert main(command) == errors.BAD_INPUT
    told = capsys.readouterr().err
    assert "[bench.flow] expected" in told and named in told and str(path) in told


def test_recordings_without_an_answer_are_told(tiny_bundle: Path, recording: Path) -> None:
    told = pytest.raises(parley.InputError, match="no reply of 1000000 codes")
    with parley.open(tiny_bundle) as bundle, told:
        flow_replies.answers(bundle, [recording], seed=1, shortest=1_000_000)


@pytest.mark.parametrize(
    "options",
    [
        ["--replies", "replies.json"],
        ["--in", "user.wav"],
        ["--plot", "sweep.png"],
        ["--sweep", "--in", "user.wav", "--replies", "replies.json"],
    ],
)
def test_options_that_would_change_nothing_are_refused(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "flow", "nowhere", *options])
    assert ended.value.code == errors.USAGE
    told = capsys.readouterr().err
    assert "--sweep, got it alone" in told or "--in or --replies, got both" in told


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


def test_the_plot_names_what_is_worth_it() -> None:
    rows = [
        {"name": name, "cpu_ms": cpu_ms, "mel_db": mel_db}
        for name, cpu_ms, mel_db in (("own", 3, 3), ("near", 4, 1), ("cheap", 1, 4), ("no", 5, 2))
    ]
    assert [row["name"] for row in flow_plot.worth_naming(rows)] == ["cheap", "own", "near"]
    rows[0]["mel_db"] = 5
    assert [row["name"] for row in flow_plot.worth_naming(rows)] == ["own", "cheap", "near"]

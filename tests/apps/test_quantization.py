"""`parley eval quantization`: its numbers from their definitions, and the whole on tiny bundles."""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parley
import tolerances
from parley_apps.evaluation import (
    comparison,
    divergence,
    duplex_bench,
    forced,
    mixes,
    quality,
    quantization,
    quantization_plot,
    recommendation,
)
from parley_apps.evaluation.scenarios import Scenario, Span
from parley_apps.evaluation.take import Reply, Take
from parley_apps.main import main


def result(turns: list[tuple[bool | None, bool | None]]) -> dict[str, Any]:
    """What `evaluate` gives for turns of (success, exact), as far as it is compared."""
    counted = [ok for ok, _ in turns if ok is not None]
    share = {"n": len(counted), "k": sum(counted), "rate": 0.5, "low": 0.0, "high": 1.0}
    group = {"kind": "turn", "split": None, "success": share, "exact": share}
    rows = [{"item": "turn", "start_s": 1.0, "success": ok, "exact": same} for ok, same in turns]
    return {
        "summary": {"groups": [{**group, "word_error_rate": 0.25}]},
        "scenarios": [{"name": f"s{n}", "rows": [row]} for n, row in enumerate(rows)],
    }


def test_pairs_are_counted_on_the_same_scenarios() -> None:
    before = [(True, True)] * 8 + [(False, False)] * 2 + [(None, None), (True, None)]
    after = [(True, False)] * 8 + [(False, True)] + [(True, False)] + [(True, True), (False, None)]
    table = comparison.compare(
        {"f32": result(before), "q2_k": result(after)}, {"f32": 3_000_000, "q2_k": 500_000}
    )
    first, second = table["rows"]
    assert first["decisions"] == {"n": 11, "worse": 0, "better": 0, "p": 1.0}
    assert second["decisions"]["worse"] == 1 and second["decisions"]["better"] == 1
    assert (second["replies"]["worse"], second["replies"]["better"]) == (8, 1)
    # 2 (C(9, 0) + C(9, 1)) / 2^9
    assert second["replies"]["p"] == 20 / 512
    assert table["broken"] == {"decisions": [], "replies": ["q2_k"]}
    text = "\n".join(comparison.lines(table))
    assert (
        "| q2_k | 0.5 | 50.0 (12) | - | - | - | 50.0 (12) | 25.0 | -1 / +1 | -8 / +1, p 0" in text
    )
    assert "Worse replies than chance explains (p < 0.05): q2_k." in text


def test_sign_test() -> None:
    assert comparison.sign_test(0, 0) == 1.0
    assert comparison.sign_test(6, 0) == comparison.sign_test(0, 6) == 2 / 64
    assert comparison.sign_test(3, 4) == 1.0


ROOT = Path(__file__).parents[2]
NANO = ROOT / "models/nano/bundle"
RECORDING, FIRST_TURN_S = ROOT / "apps/parley_apps/data/conversation.wav", 4.0
THINK, SHIFT, BREAK = 6, 7, 8
CONTROL, AUDIO = frozenset((THINK, SHIFT, BREAK)), range(9, 12)


def draws(*rows: tuple[tuple[tuple[int, int], ...], int, list[float]]) -> forced.Draws:
    """Draws by allowed ranges, id that was taken, and logits of what is allowed."""
    found = forced.Draws()
    for n, (allowed, taken, chances) in enumerate(rows):
        logits = np.full(12, -50.0, np.float32)
        logits[np.concatenate([np.arange(a, b) for a, b in allowed])] = np.log(chances)
        found.add(logits, allowed, taken, (float(n), 0.0))
    return found


def gathered(first: forced.Draws, other: forced.Draws) -> dict[str, divergence.Losses]:
    losses = {kind: divergence.Losses() for kind in divergence.KINDS}
    divergence.gather(losses, (first, other), 0, (CONTROL, AUDIO))
    return losses


def test_a_draw_of_control_and_text_is_a_decision_and_a_text() -> None:
    """Divergence of the whole is that of the decision, and that of the text by its share."""
    allowed = ((0, 2), (BREAK, BREAK + 1))
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.2, 0.4])
    losses = gathered(draws((allowed, 0, list(p))), draws((allowed, 0, list(q))))
    whole = float((p * np.log(p / q)).sum())
    parts = losses["decision"].kl[0] + 0.8 * losses["text"].kl[0]
    assert parts == pytest.approx(whole, rel=tolerances.SAME_REL)
    # Both think that it speaks on; of the text, the same id is the likeliest.
    assert losses["decision"].same == [True] and losses["text"].same == [True]
    assert losses["text"].change[0] == pytest.approx(0.4 / 0.6 - 0.5 / 0.8)
    assert losses["decision"].change[0] == pytest.approx(0.6 - 0.8)
    assert not losses["audio"].kl


def test_control_alone_is_a_decision_and_codes_are_audio() -> None:
    rows = [(((THINK, BREAK),), THINK, [0.9, 0.1]), (((9, 12),), 10, [0.2, 0.5, 0.3])]
    other = [(((THINK, BREAK),), THINK, [0.3, 0.7]), (((9, 12),), 10, [0.2, 0.5, 0.3])]
    losses = gathered(draws(*rows), draws(*other))
    assert losses["decision"].same == [False]
    assert losses["audio"].same == [True] and losses["audio"].kl == [pytest.approx(0.0)]
    assert not losses["text"].kl


def test_errors_are_over_recordings() -> None:
    losses = divergence.Losses([1.0, 1.0, 3.0, 3.0], [True] * 4, [0.1, -0.1, 0.3, -0.3])
    losses.time_s, losses.reply_s, losses.group = (
        [0.0, 70.0, 545.0, 30.0],
        [0.0, 0, 0, 25.0],
        [0, 0, 1, 1],
    )
    told = divergence.summary(losses)
    assert told is not None and told["kl"] == {"mean": 2.0, "error": 1.0}
    assert told["change_rms"] == pytest.approx(np.sqrt(0.05)) and told["kl_max"] == 3.0
    spans = told["by_length"]
    assert spans["first minute"]["mean"] == 2.0 and spans["tenth minute"]["mean"] == 3.0
    assert spans["over 20 s"]["mean"] == 3.0
    assert divergence.summary(divergence.Losses()) is None


def test_kept_draws_come_back(tmp_path: Path) -> None:
    first = draws((((THINK, BREAK),), THINK, [0.9, 0.1]), (((9, 12),), 10, [0.2, 0.5, 0.3]))
    sound = np.linspace(-1, 1, 100, dtype=np.float32)
    forced.keep(forced.Played(first, sound, [1, 2], "hello\n", [3.0], 0.16), tmp_path / "a.npz")
    back = forced.kept(tmp_path / "a.npz")
    assert (back.draws.ids, back.draws.slots) == (first.ids, first.slots)
    assert all(np.array_equal(a, b) for a, b in zip(back.draws.rows, first.rows, strict=True))
    assert (back.text, back.codes, back.audio_s) == ("hello\n", [1, 2], 0.16)


def test_log_mel_distance_is_that_of_a_gain() -> None:
    sound = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1
    assert quality.log_mel_db(sound, sound, 16_000) == 0.0
    louder = quality.log_mel_db(2 * sound, sound, 16_000)
    assert louder == pytest.approx(20 * np.log10(2), rel=tolerances.SAME_REL)
    assert quality.log_mel_db(sound, 0 * sound, 16_000) is None


def test_mixes() -> None:
    assert mixes.mix("backbone=q4_k_m+encoder=int8") == "encoder=int8+backbone=q4_k_m"
    for wrong in ("int8", "ears=int8", "kv=q4_0", "encoder=int8+encoder=w4", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="expected"):
            mixes.mix(wrong)
    manifest = {
        "graphs": {"encoder_chunk": {"precision": "f16"}, "vocoder": {"precision": "bf16"}},
        "backbone": {"precision": "q8_0"},
    }
    found = mixes.worth_a_look(manifest, calibrated=False)
    assert "encoder=int8" in found and "backbone=q6_k" in found and found[-1] == mixes.WHOLE
    assert not {"vocoder=bf16", "backbone=q8_0", "encoder=int8_static"} & set(found)


def row(mix: str, megabytes: float, kl: float, db: float = 0.0) -> dict[str, Any]:
    return {
        "mix": mix,
        "bytes": megabytes * 1e6,
        "draws": {"text": {"kl": {"mean": kl}}, "audio": None, "decision": None},
        "log_mel_db": {"mean": db},
        "speed": {"step_ms": {"p95_ms": megabytes}},
    }


def test_a_budget_is_met_by_what_loses_least() -> None:
    rows = [
        row(mixes.REFERENCE, 10, 0),
        row("encoder=int8", 8, 0.001),
        row("encoder=w4", 7, 0.1),
        row("flow=int8", 8.5, 0, 0.1),
        row("backbone=q4_k_m", 8, 0.01),
    ]
    assert recommendation.choose(rows, ("bytes", 8e6)) == "encoder=int8"
    assert recommendation.choose(rows, ("bytes", 6.5e6)) == "encoder=int8+flow=int8"
    assert recommendation.choose(rows, ("ms", 4.5)) == "encoder=int8+flow=int8+backbone=q4_k_m"
    with pytest.raises(ValueError, match=r"got less than 3\.5MB"):
        recommendation.choose(rows, ("bytes", 3e6))


def test_the_knee_is_where_the_line_bends_most() -> None:
    points = [(1.0, 1000.0), (2.0, 10.0), (10.0, 1.0), (3.0, 500.0)]
    front = quantization_plot.unbeaten(points)
    assert front == [(1.0, 1000.0), (2.0, 10.0), (10.0, 1.0)]
    assert quantization_plot.knee(front) == (2.0, 10.0)
    assert quantization_plot.knee(front[:2]) is None


def take(*replies: Reply) -> Take:
    return Take(0.16, 100, list(replies))


def said(begin_s: float, end_s: float, text: str) -> Reply:
    return Reply(0, 1, text, "break", begin_s, end_s)


def scenario(kind: str, **more: Any) -> Scenario:
    return Scenario(kind, Path("x.wav"), kind, turns=(Span(1.0, 4.0),), **more)


def test_takeovers_latencies_and_backchannels() -> None:
    """Full-Duplex-Bench's rules: short sounds of few words take nothing over."""
    quiet, short = take(), take(said(2.0, 2.5, "uh huh"))
    loud = take(said(2.0, 6.0, "no, let me say that again"))
    found = duplex_bench.measure([scenario("pause")] * 3, [quiet, short, loud])
    assert found["pause"] == {"tor": 1 / 3, "n": 3}
    assert found["backchannel"]["tor"] == 1 / 3
    assert found["backchannel"]["per_s"] == pytest.approx(1 / 9)
    answers = [
        take(said(4.5, 7.0, "the doors are locked")),
        take(said(3.9, 6.0, "it is done now")),
        quiet,
    ]
    turn = duplex_bench.measure([scenario("turn")] * 3, answers)["turn"]
    assert turn == {"tor": 2 / 3, "latency_s": pytest.approx(0.25), "n": 3}
    cut = scenario("interruption_command", interruptions=(Span(5.0, 6.0, reply="yes"),))
    both = take(said(4.5, 5.8, "it is a quarter"), said(6.4, 8.0, "the window is open"))
    told = duplex_bench.measure([cut], [both])["interruption"]
    assert told == {"tor": 1.0, "latency_s": pytest.approx(0.4), "n": 1}


def report(bundle: Path, recording: Path, work: Path, *more: str) -> int:
    command = ["eval", "quantization", str(bundle), "--recordings", str(recording)]
    return main([*command, "--work", str(work), "--workers", "1", *more])


@pytest.mark.nano
@pytest.mark.skipif(not (NANO / "manifest.json").is_file(), reason="no models/nano/bundle")
def test_a_report_on_any_bundle_and_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx", reason="no onnx; pip install 'parley[quantize]'")
    sound, rate = parley.read_audio(RECORDING)
    recording = tmp_path / "user.wav"
    parley.write_wav(recording, sound[: int(FIRST_TURN_S * rate)], rate)
    mix = ["--mixes", "encoder=int8", "kv=bf16", "-o"]
    assert report(NANO, recording, tmp_path, *mix, "json") == 0
    told = json.loads(capsys.readouterr().out)
    first, encoder, cache = told["rows"]
    assert [r["mix"] for r in told["rows"]] == [mixes.REFERENCE, "encoder=int8", "kv=bf16"]
    # A bundle is no distance from itself, whatever is forced.
    assert all(d is None or d["kl_max"] == 0.0 for d in first["draws"].values())
    assert encoder["draws"]["decision"]["kl"]["mean"] > 0.0 < cache["draws"]["decision"]["kl_max"]
    assert encoder["stages"]["encoder"] < first["stages"]["encoder"]
    assert encoder["nodes"]["encoder_chunk"]["MatMulInteger"] > 0
    assert told["about"]["seed"] == 0 and len(told["about"]["data_sha256"]) == 64
    # What is there is not done again: the numbers are the same, speed too.
    assert report(NANO, recording, tmp_path, *mix, "csv") == 0
    out = capsys.readouterr()
    rows = list(csv.DictReader(out.out.splitlines()))
    assert "measuring" not in out.err
    assert float(rows[1]["rtf"]) == encoder["speed"]["rtf"]
    assert report(NANO, recording, tmp_path, *mix, "md") == 0
    assert "| encoder=int8 |" in capsys.readouterr().out


def test_what_cannot_be_measured_is_one_error(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert report(tiny_bundle, tmp_path / "empty", tmp_path / "work") == 3
    assert "expected recordings (WAV or FLAC)" in capsys.readouterr().err
    command = ["eval", "quantization", str(tiny_bundle), "--work", str(tmp_path)]
    assert main(command) == 3
    assert "expected --recordings or --scenarios" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "--recommend", "12 apples"])
    assert quantization._budget("12MB") == ("bytes", 12e6)
    assert quantization._budget("8ms") == ("ms", 8.0)

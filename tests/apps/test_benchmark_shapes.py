"""`parley bench shapes`: what is made of measured milliseconds; the stages over scripts."""

from __future__ import annotations

import json
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import parley
from parley_apps.benchmark.model import bound, cost
from parley_apps.benchmark.shapes import run as full
from parley_apps.benchmark.shapes import stage
from parley_apps.main import main
from scripted_bundle import ScriptedBundle, two_replies
from tolerances import SAME_REL

LIMITS = {"threads": 1, "read_gb_per_s": 10.0, "triad_gb_per_s": 20.0, "gemm_gflops": 100.0}


def test_how_near_the_bound() -> None:
    told = full.against_bound(cost.Cost(n_bytes=1e9, flops=1e9), 100.0, LIMITS)
    assert told["binds"] == "memory" and told["bound_ms"] == pytest.approx(50.0)
    assert told["percent_of_bound"] == pytest.approx(50.0)
    assert full.against_bound(cost.Cost(1e9, 1e9), 0.0, LIMITS)["percent_of_bound"] == 0.0


def measured(task: stage.Task) -> dict[str, Any]:
    """Milliseconds that differ by stage."""
    ms = 10.0 * (1 + full.STAGES.index(task.stage))
    return {
        "open_s": 1.0,
        "session_s": 1.0,
        "chunks": task.chunks,
        "position": 100,
        "ms": {"p50_ms": ms, "p95_ms": 2 * ms, "p99_ms": 3 * ms},
        "cpu_ms": {"p50_ms": ms / 2, "p95_ms": ms, "p99_ms": ms},
        "upstream_runs_ms": [5 * ms, 7 * ms, 100 * ms],
        "upstream_runs_cpu_ms": [3 * ms],
        "plain_runs_ms": [8 * ms] if task.plain else [],
        "plain_runs_cpu_ms": [4 * ms] if task.plain else [],
        "peak_memory_mb": 1.0,
        "flow": parley.read_manifest(task.folder)["flow"] | task.flow,
    }


@pytest.fixture
def command(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command with made-up measurements of the tiny bundle."""
    made = dict.fromkeys((*full.STAGES, *full.PLAIN.values()), tiny_bundle)
    monkeypatch.setattr(full, "make_bundles", lambda args, limits: made)
    monkeypatch.setattr(full, "measure_apart", measured)
    monkeypatch.setattr(bound, "measure", lambda threads: LIMITS)
    return ["bench", "shapes", "--chunks", "4"]


def test_ratios(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    runs = {"encoder": 1, "backbone": 6, "flow": 18, "vocoder": 1}
    assert list(told["stages"]) == [
        "encoder", "backbone", "flow", "flow, look-ahead 0", "vocoder", "vocoder, exact",
    ]  # fmt: skip
    for name, row in told["stages"].items():
        needed = runs[name.partition(",")[0]]
        assert row["ratio"] == pytest.approx(7 * needed), "the median run, as often as needed"
        assert row["cpu_ratio"] == pytest.approx(6 * needed)
        assert row["upstream"]["what"] and str(needed) in row["upstream"]["measured"]
        assert all(row[name] > 0 for name in ("bytes", "flops", "bound_ms"))
    assert told["stages"]["vocoder"]["plain"]["ratio"] == pytest.approx(8.0)
    ahead = told["stages"]["flow, look-ahead 0"]
    assert ahead["settings"]["lookahead_codes"] == 0
    assert ahead["flops"] < told["stages"]["flow"]["flops"], "fewer frames"
    exact, vocoder = told["stages"]["vocoder, exact"], told["stages"]["vocoder"]
    assert exact["flops"] <= vocoder["flops"], "no tail on forked state"
    assert told["sum_ms"] == pytest.approx(100.0) and told["rtf"] == pytest.approx(0.625)
    assert told["bound"] == LIMITS and told["command"].startswith("parley")


def test_the_table(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--stages", "flow,vocoder"]) == 0
    out = capsys.readouterr().out
    assert "triad 20.0 GB/s" in out and "18 evaluations" in out
    assert "encoder" not in out and "upstream" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["bench", "shapes", "--stages", "ears"],
        ["bench", "shapes", "--chunks", "0"],
    ],
    ids=" ".join,
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2 and "expected" in capsys.readouterr().err


def test_device_and_keys_reach_the_stage_and_the_result(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--device cuda` measured the processor and did not say so."""
    tasks: list[stage.Task] = []

    def keep(task: stage.Task) -> dict[str, Any]:
        tasks.append(task)
        return measured(task)

    monkeypatch.setattr(full, "measure_apart", keep)
    words = [*command, "--device", "cuda", "--kv", "q8_0", "--stages", "backbone,vocoder"]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(task.device, task.kv) for task in tasks] == [("cuda", "q8_0")] * 3
    assert (told["device"], told["kv"], told["bound"]) == ("cuda", "q8_0", None)
    row = told["stages"]["vocoder"]
    assert row["percent_of_bound"] is row["cpu_ratio"] is row["plain"]["cpu_ratio"] is None
    assert main(words) == 0
    assert "keys and values q8_0, on cuda" in capsys.readouterr().out
    assert main([*command, "--stages", "backbone", "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)["stages"]["backbone"]
    assert told["stages"]["backbone"]["bytes"] < whole["bytes"], "half of the keys' bytes"


def test_a_stage_opens_what_its_task_names(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[dict[str, Any]] = []
    monkeypatch.setattr(parley, "open", lambda folder, **options: opened.append(options))
    stage._opened("folder", stage.Task("folder", "flow", 1, 1, 1, device="cuda", kv="q8_0"))
    assert opened[0]["device"] == "cuda" and opened[0]["kv"] == "q8_0"


def test_the_disk_must_hold_all_bundles_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each alone would fit; nothing is made, and the remedy is one that bench has."""
    shapes = pytest.importorskip("parley_export.shapes", reason="pip install 'parley[export]'")
    made: list[Any] = []
    monkeypatch.setattr(shapes, "make", lambda plan, memory: made.append(plan))
    monkeypatch.setattr(bound, "measure", lambda threads: LIMITS)
    monkeypatch.setattr(full.shutil, "disk_usage", lambda folder: SimpleNamespace(free=9 * 10**9))
    cache = tmp_path / "not" / "yet"
    assert main(["bench", "shapes", "--cache", str(cache)]) == 6
    err = capsys.readouterr().err
    assert "for all bundles together" in err and "--cache" in err and "--out" not in err
    assert "making: 1" in err and "measuring: about" in err and not made and not cache.exists()
    monkeypatch.setattr(full.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**12))
    words = ["bench", "shapes", "--cache", str(cache), "--stages", "flow"]
    monkeypatch.setattr(full, "measure_apart", failing)
    assert main(words) == 5 and [plan.stage for plan in made] == ["flow"]


def failing(task: stage.Task) -> dict[str, Any]:
    raise parley.LibraryError("no measurement")


def test_a_stage_that_fails_says_why(tmp_path: Path) -> None:
    task = stage.Task(str(tmp_path / "nothing"), "flow", 1, 1, 1)
    with pytest.raises(parley.LibraryError, match=r"expected the flow to be measured.*BundleError"):
        full.measure_apart(task)


@pytest.mark.parametrize("name", full.STAGES)
def test_every_stage_of_a_real_bundle(
    name: str, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "PROMPT_AND_CHUNK", 99)
    task = stage.Task(str(tiny_bundle), name, 1, chunks=3, tries=2, plain=str(tiny_bundle))
    told = json.loads(json.dumps(stage.measure(task)))  # as it comes from a process of its own
    assert told["chunks"] == 3 and len(told["upstream_runs_ms"]) == len(told["plain_runs_ms"]) == 2
    assert 0 < told["ms"]["p50_ms"] <= told["ms"]["p99_ms"]
    assert told["position"] > 0 and told["peak_memory_mb"] > 0 and told["flow"]["points"] > 1


@pytest.mark.parametrize(("name", "changed"), [(n, v) for n, (_, v) in full.VARIANTS.items()])
def test_other_settings(
    name: str, changed: dict[str, Any], tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "PROMPT_AND_CHUNK", 99)
    told = stage.measure(stage.Task(str(tiny_bundle), name, 1, chunks=2, tries=1, **changed))
    assert told["ms"]["p50_ms"] > 0
    assert all(told["flow"][key] == value for key, value in changed.get("flow", {}).items())


def test_both_ways_take_turns() -> None:
    order: list[str] = []
    numbers = count(1)

    def step() -> stage.Spent:
        order.append("own")
        return stage.Spent(float(next(numbers)), 0.5)

    other = partial(stage.clocked, lambda: order.append("theirs"))
    own, theirs = stage._interleave(step, [other], 5, 2)
    assert own.wall_ms == [1.0, 2.0, 3.0, 4.0, 5.0], "what the step says of its stage"
    assert own.cpu_ms == [0.5] * 5 and len(theirs.wall_ms) == len(theirs.cpu_ms) == 2
    assert order == ["own", "own", "theirs", "own", "own", "own", "theirs"]
    assert len(stage._interleave(step, [], 2, 3)) == 1


def test_steps_in_which_the_stage_rests_do_not_count() -> None:
    with ScriptedBundle(two_replies()).session("turns") as session:
        ms, cpu_ms = stage._Stepper(session, "backbone")()
        assert ms == 5.0 and cpu_ms >= 0
        assert session.floor == "speaking"


def test_the_matrix_product_multiplies() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(bound.matmul_model(300))
    a, b = np.random.default_rng(0).standard_normal((2, 300, 300)).astype(np.float32)
    (c,) = session.run(None, {"a": a, "b": b})
    assert np.abs(c - a @ b).max() < SAME_REL * np.abs(c).max()


def test_the_bound_is_measured_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    told = bound.measure(1)
    assert told["threads"] == 1
    assert all(told[name] > 0 for name in ("read_gb_per_s", "triad_gb_per_s", "gemm_gflops"))

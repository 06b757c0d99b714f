"""Segments of turns on the tiny bundle: without their silence, and beside the steps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import parley
import tolerances
from synthetic_signal import synthetic_signal

SECONDS = 3.2  # 20 features


def turn(rate: int) -> np.ndarray:
    return synthetic_signal(round(SECONDS * rate), rate)


def changed(bundle: Path, folder: Path, *, whole_only: bool = False) -> Path:
    """A copy whose manifest wants short segments; its graph takes any, or whole ones only."""
    import onnx

    shutil.copytree(bundle, folder)
    told = json.loads((folder / "manifest.json").read_text())
    told["turns"]["short_segments"] = True
    if whole_only:
        entry, path = told["graphs"]["encoder_segment"], folder / "encoder_segment.onnx"
        graph = onnx.load(str(path), load_external_data=False)
        sizes = {"log_mel": (2, 3000), "encoded": (1, 1500), "features": (1, 188)}
        for value in (*graph.graph.input, *graph.graph.output):
            axis, size = sizes[value.name]
            value.type.tensor_type.shape.dim[axis].dim_value = size
        path.write_bytes(graph.SerializeToString())
        for tensor in (*entry["inputs"], *entry["outputs"]):
            axis, size = sizes[tensor["name"]]
            tensor["shape"][axis] = size
        told["files"][path.name]["bytes"] = path.stat().st_size
    (folder / "manifest.json").write_text(json.dumps(told))
    return folder


def test_they_are_the_front_of_the_whole_segment(tiny_bundle: Path) -> None:
    with parley.open(tiny_bundle) as bundle:
        bench, rate = bundle.workbench(), bundle.rate
        samples = turn(rate)
        whole, short = bench.turn_features(samples), bench.turn_features(samples, True)
        (segment,), n = bench.cut_turn(samples)
        log_mel = bench.log_mel(bench.resample(segment, rate, 16_000))
        # Of one more feature, 16 mel frames: the last one's convolutions reach there.
        encoded, features = bench.encode_segment(log_mel[:, : 16 * (n + 1)])
    assert len(encoded) == 8 * (n + 1) and len(features) == n + 1
    np.testing.assert_array_equal(short, features[:n])
    assert whole.shape == short.shape and not np.array_equal(whole, short)


def test_the_manifest_turns_them_on(tiny_bundle: Path, tmp_path: Path) -> None:
    with parley.open(tiny_bundle) as bundle:
        wanted = bundle.workbench().turn_features(turn(bundle.rate), True)
    with parley.open(changed(tiny_bundle, tmp_path / "short"), verify=False) as bundle:
        bench, samples = bundle.workbench(), turn(bundle.rate)
        np.testing.assert_array_equal(bench.turn_features(samples), wanted)
        assert not np.array_equal(bench.turn_features(samples, False), wanted)


def test_a_graph_of_whole_segments(tiny_bundle: Path, tmp_path: Path) -> None:
    """As earlier exports hold them: they work, but not shorter."""
    folder = changed(tiny_bundle, tmp_path / "whole", whole_only=True)
    with pytest.raises(parley.BundleError, match=r"of any length for turns\.short_segments"):
        parley.open(folder, verify=False)
    told = json.loads((folder / "manifest.json").read_text())
    del told["turns"]["short_segments"]
    (folder / "manifest.json").write_text(json.dumps(told))
    with parley.open(tiny_bundle) as new, parley.open(folder, verify=False) as old:
        samples, bench = turn(new.rate), old.workbench()
        got, wanted = bench.turn_features(samples), new.workbench().turn_features(samples)
        error = np.linalg.norm(got - wanted) / np.linalg.norm(wanted)
        assert error < tolerances.GRAPH_REL
        with pytest.raises(parley.BundleError, match="got one of whole segments"):
            bench.turn_features(samples, True)
        with pytest.raises(parley.InputError, match="log_mel"):
            bench.encode_segment(np.zeros((128, 160), np.float32))


def test_a_long_turn_is_heard_the_same_beside_the_steps(tiny_bundle: Path) -> None:
    told = []
    with parley.open(tiny_bundle, threads=1) as bundle:
        samples = synthetic_signal(198 * bundle.chunk_samples, bundle.rate)  # 31.7 s
        for overlap in (False, True):
            with bundle.session("turns", max_new_tokens=40, overlap=overlap) as session:
                for _ in session.feed(samples):
                    pass
                session.end_turn()
                steps = [session.step(np.zeros(session.chunk_samples, np.float32))]
                while steps[-1].floor != "listening":
                    steps.append(session.step(np.zeros(session.chunk_samples, np.float32)))
            events = [event for step in steps for event in step.events]
            told.append([(e.kind, e.token, list(e.codes)) for e in events])
    assert len(told[0]) > 10 and told[0] == told[1]

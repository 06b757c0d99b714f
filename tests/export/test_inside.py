"""Looking inside a graph: every layer beside its module, and the first that differs is found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from parley_apps.main import main
from parley_export import inside


@pytest.fixture(scope="module")
def made(intact_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("inside") / "bundle"
    arguments = ["--out", str(out), "--backbone", "f32", "--duplex"]
    assert main(["export", str(intact_checkpoint), *arguments]) == 0
    return out


def look(bundle: Path, checkpoint: Path, stage: str, capsys) -> tuple[int, dict]:
    capsys.readouterr()
    code = main(
        ["verify", str(bundle), "--inside", stage, "--checkpoint", str(checkpoint), "--json"]
    )
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "expected",
    [
        ("encoder", ["encoder_segment", "encoder_chunk"], "encoder.layers.0.self_attn.q_proj"),
        ("flow", ["flow_condition", "flow_modulation", "flow_field"], "flow.token_proj.1"),
        ("vocoder", ["vocoder"], "vocoder.resblocks.3.convs2.1"),
    ],
)
def test_every_layer_is_as_its_module(expected, made, intact_checkpoint, capsys):
    stage, graphs, layer = expected
    code, told = look(made, intact_checkpoint, stage, capsys)
    assert code == 0 and told["pass"] and told["first"] is None
    assert list(told["graphs"]) == graphs
    rows = [row for rows in told["graphs"].values() for row in rows]
    assert layer in [row["module"] for row in rows]
    assert all(row["distance"] < told["tolerance"] for row in rows)
    late = {row["module"]: row["late"] for row in rows}
    assert late.get("wave", 1) > 0, "the vocoder's stream is late"


def test_the_first_layer_that_differs_is_named(made, intact_checkpoint, tmp_path, capsys):
    """A bias that is not the checkpoint's: the layers before it pass, those behind differ."""
    bundle = Path(shutil.copytree(made, tmp_path / "changed"))
    path = bundle / "encoder_segment.onnx"
    model = onnx.load(path, load_external_data=False)
    bias = next(t for t in model.graph.initializer if t.name.endswith("fc1.bias"))
    changed = numpy_helper.to_array(bias) + np.float32(0.5)
    bias.CopyFrom(numpy_helper.from_array(changed, bias.name))
    onnx.save(model, path)
    code, told = look(bundle, intact_checkpoint, "encoder_segment", capsys)
    rows = told["graphs"]["encoder_segment"]
    first = next(row for row in rows if not row["pass"])
    assert code == 1 and told["first"]["value"] == first["value"]
    assert first["module"] == "encoder.layers.0.fc1"
    before = [row["module"] for row in rows[: rows.index(first)]]
    assert "encoder.layers.0.self_attn.out_proj" in before
    assert not rows[-1]["pass"], "what comes out differs too"


def test_a_stage_without_graphs(made, intact_checkpoint, capsys):
    arguments = ["--inside", "ear", "--checkpoint", str(intact_checkpoint)]
    assert main(["verify", str(made), *arguments]) == 3
    assert "encoder_segment, encoder_chunk, flow_condition" in capsys.readouterr().err


def test_layouts():
    theirs = np.random.default_rng(0).standard_normal((2, 5, 3))
    for ours in (
        theirs,
        theirs.transpose(2, 0, 1),
        theirs.transpose(2, 0, 1).reshape(3, 10),  # columns of both branches
        theirs.reshape(1, 10, 3),
    ):
        assert inside.compared("a", "b", ours, theirs).distance == 0.0
    assert np.isnan(inside.compared("a", "b", theirs[:, :4], theirs).distance)
    assert inside.compared("a", "b", theirs + 1, theirs).distance > inside.LATE


def test_a_late_value_is_found():
    theirs = torch.randn(1, 2, 50, generator=torch.Generator().manual_seed(0)).numpy()
    ours = np.concatenate([np.zeros((1, 2, 7), np.float32), theirs[..., :-7]], 2)
    seen = inside.compared("a", "b", ours, theirs)
    assert seen.late == 7 and seen.distance == 0.0

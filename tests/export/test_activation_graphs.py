"""The activation's two graphs, fused and in plain nodes, against the module; knows no vocoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import parley
import tolerances
from parley_export.contract import GraphContract, TensorContract
from parley_export.families.covo_audio.activation_graphs import alias_free_activation
from parley_export.families.covo_audio.configs import REACH
from parley_export.families.covo_audio.modules.activation import AliasFreeActivation
from parley_export.graph_builder import GraphBuilder

WIDTH, SAMPLES = 5, 60
WINDOW = GraphContract(
    "window",
    (TensorContract("x", "f32", (1, "C", "T")), TensorContract("range", "i64", (2,))),
    (TensorContract("y", "f32", (1, "C", "N")),),
)
WHOLE = GraphContract("whole", WINDOW.inputs[:1], WINDOW.outputs)
FORMS = {"fused": True, "plain": False}
LIMITS = {"f32": tolerances.KERNEL_REL, "f16": tolerances.GRAPH_F16_REL}


@pytest.fixture(scope="module")
def module():
    module = AliasFreeActivation(WIDTH).requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    for weight in (module.act.alpha, module.act.beta):
        weight.normal_(0, 0.5, generator=generator)
    return module


@pytest.fixture(scope="module")
def signal(module):
    """A signal and its activation, `[1, C, T]`."""
    x = torch.randn(1, WIDTH, SAMPLES, generator=torch.Generator().manual_seed(2))
    return x.numpy(), module(x).numpy()


def session(module, path: Path, contract, fused: bool, precision="f32", **edges):
    g = GraphBuilder(contract, {"C": WIDTH}, precision)
    range_ = g.input("range") if contract is WINDOW else None
    act, x = module.act, g.input("x")
    y = alias_free_activation(g, x, act.alpha, act.beta, range_, fused=fused, **edges)
    g.output("y", y)
    info = g.save(path)
    assert info.get("custom_ops", []) == (["parley.SnakeBeta"] if fused else [])
    domains = {opset.domain for opset in onnx.load(path, load_external_data=False).opset_import}
    assert domains == ({"", "parley"} if fused else {""})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if fused:
        options.register_custom_ops_library(parley.ops_library())
    return onnxruntime.InferenceSession(path, options)


def close(got, expected, precision="f32"):
    assert got.shape == expected.shape
    return np.abs(got - expected).max(initial=0) < LIMITS[precision] * np.abs(expected).max()


@pytest.mark.parametrize("precision", LIMITS)
@pytest.mark.parametrize("form", FORMS)
def test_whole_signal(module, signal, tmp_path, form, precision):
    x, expected = signal
    run = session(module, tmp_path / "a.onnx", WHOLE, FORMS[form], precision).run
    assert close(run(None, {"x": x})[0], expected, precision)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cut", [0, 1, 3, 7, 25])
def test_stream_equals_the_whole(module, signal, tmp_path, form, cut):
    """History and new samples in windows; zeros stand before the first sample and after the last.

    Outputs are late by the reach, so that many more samples are pushed at the end.
    """
    x, expected = signal
    graph = session(module, tmp_path / "a.onnx", WINDOW, FORMS[form], left=REACH, right=REACH)
    cut = cut or SAMPLES + REACH
    history, parts = np.full((1, WIDTH, 2 * REACH), 9, np.float32), []
    for at in range(0, SAMPLES + REACH, cut):
        new = np.full((1, WIDTH, cut), -9, np.float32)
        real = x[..., at : at + cut]
        new[..., : real.shape[-1]] = real
        window = np.concatenate([history, new], -1)
        first = 2 * REACH - at  # where the signal begins in the window
        range_ = np.array([first, first + SAMPLES])
        parts.append(graph.run(None, {"x": window, "range": range_})[0])
        history = window[..., -2 * REACH :]
    got = np.concatenate(parts, -1)
    assert np.all(got[..., :REACH] == 0)
    assert np.all(got[..., REACH + SAMPLES :] == 0)
    assert close(got[..., REACH : REACH + SAMPLES], expected)


@pytest.mark.parametrize(
    ("first", "end"), [(-9, 70), (4, 50), (0, 1), (60, 90), (-30, 0), (70, 20)]
)
def test_forms_agree_for_any_range(module, signal, tmp_path, first, end):
    """Also where the window lacks what it would need, and where there is no signal at all."""
    x = signal[0]
    range_ = np.array([first, end])
    fused, plain = (
        session(module, tmp_path / "a.onnx", WINDOW, form, left=2, right=3).run(
            None, {"x": x, "range": range_}
        )[0]
        for form in FORMS.values()
    )
    assert close(fused, plain) or np.array_equal(fused, plain)


def test_wrong_shapes_are_errors(module, tmp_path):
    graph = session(module, tmp_path / "a.onnx", WINDOW, True, left=5, right=5)
    with pytest.raises(Exception, match=r"\[snakebeta\.run\] expected at least left \+ right"):
        graph.run(None, {"x": np.zeros((1, WIDTH, 9), np.float32), "range": np.array([0, 9])})

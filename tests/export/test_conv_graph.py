"""Convolutions by the engine's operator against PyTorch; knows no vocoder."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn import functional

import parley
import tolerances
from parley_export.contract import GraphContract, TensorContract
from parley_export.graph_builder import GraphBuilder

# in, out, taps, dilation: odd numbers of channels, more than one block, taps far apart.
SHAPES = [(1, 1, 1, 1), (3, 5, 3, 1), (24, 24, 11, 5), (64, 30, 7, 3)]
MORE_SHAPES = [(64, 64, 7, 1)]
OPS = ctypes.CDLL(parley.ops_library())
OPS.parley_kernel_forms.restype = ctypes.c_char_p


def weights(width_in: int, width_out: int, taps: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(width_in)
    kernel = torch.randn(width_out, width_in, taps, generator=generator)
    return kernel / (width_in * taps) ** 0.5, torch.randn(width_out, generator=generator)


def session(shape: tuple[int, ...], path: Path, threads: int = 1):
    width_in, width_out, taps, dilation = shape
    x, y = (TensorContract(n, "f32", (1, w, n)) for n, w in (("x", width_in), ("y", width_out)))
    g = GraphBuilder(GraphContract("conv", (x,), (y,)), {}, "bf16")
    kernel, bias = weights(width_in, width_out, taps)
    g.output("y", g.conv(g.input("x"), kernel, bias, "conv", dilations=[dilation]))
    assert g.save(path)["custom_ops"] == ["parley.Conv1d"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.register_custom_ops_library(parley.ops_library())
    return onnxruntime.InferenceSession(path, options)


@pytest.fixture(params=["parley", "onnxruntime"])
def form(request) -> str:
    """Which form the operator has, whichever is faster here."""
    own, library = (1, 2) if request.param == "parley" else (2, 1)
    lines = [f"conv1d {i} {o} {taps} {own} {library}\n" for i, o, taps, _ in SHAPES + MORE_SHAPES]
    OPS.parley_set_kernel_forms("".join(lines).encode())
    return request.param


def signal(shape: tuple[int, ...], samples: int) -> torch.Tensor:
    return torch.randn(1, shape[0], samples, generator=torch.Generator().manual_seed(samples))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_rounded_convolution(shape, form, tmp_path):
    """Exactly rounded numbers in float32 are the definition; only the order of sums differs.

    ONNX Runtime's form does not round its inputs.
    """
    graph = session(shape, tmp_path / "c.onnx")
    reach = shape[3] * (shape[2] - 1)
    for samples in (reach + 1, reach + 17, reach + 250):
        x = signal(shape, samples)
        kernel, bias = weights(*shape[:3])
        seen = x.bfloat16().float() if form == "parley" else x
        expected = functional.conv1d(seen, kernel.bfloat16().float(), bias, dilation=shape[3])
        got = graph.run(None, {"x": x.numpy()})[0]
        assert got.shape == tuple(expected.shape)
        error = np.abs(got - expected.numpy()).max()
        assert error < tolerances.GRAPH_REL * expected.abs().max()


@pytest.mark.parametrize("form", ["parley"], indirect=True)
def test_any_cut_gives_the_same_bits(form, tmp_path):
    shape = (64, 30, 7, 3)
    graph, x, reach = session(shape, tmp_path / "c.onnx"), signal(shape, 300).numpy(), 18
    whole = graph.run(None, {"x": x})[0]
    for cut in (1, 40, 83):
        parts = [
            graph.run(None, {"x": x[..., at : at + cut + reach]})[0]
            for at in range(0, 300 - reach, cut)
        ]
        assert np.array_equal(np.concatenate(parts, -1), whole)


@pytest.mark.parametrize("form", ["parley"], indirect=True)
def test_threads_give_the_same_bits(form, tmp_path):
    shape = MORE_SHAPES[0]
    x = signal(shape, 3000).numpy()
    one, two = (session(shape, tmp_path / f"{n}.onnx", threads=n) for n in (1, 2))
    assert np.array_equal(one.run(None, {"x": x})[0], two.run(None, {"x": x})[0])


def test_what_is_not_known_is_measured_once(tmp_path):
    shape, measured = (7, 9, 5, 2), []
    for samples in (40, 400):
        session(shape, tmp_path / "c.onnx").run(None, {"x": signal(shape, samples).numpy()})
        lines = OPS.parley_kernel_forms().decode().splitlines()
        measured.append([line for line in lines if line.startswith("conv1d 7 9 5 ")])
    assert len(measured[0]) == 1 and measured[0] == measured[1]
    assert all(float(microseconds) > 0 for microseconds in measured[0][0].split()[-2:])


def test_wrong_channels_are_an_error(tmp_path):
    graph = session((3, 5, 3, 1), tmp_path / "c.onnx")
    assert graph.run(None, {"x": np.zeros((1, 3, 2), np.float32)})[0].shape == (1, 5, 0)
    with pytest.raises(Exception, match=r"INVALID_ARGUMENT|invalid dimensions"):
        graph.run(None, {"x": np.zeros((1, 4, 9), np.float32)})

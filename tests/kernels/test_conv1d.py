"""The bfloat16 convolution, every version of it, against its definition in double precision."""

import ctypes

import numpy as np
import pytest
from kernels_build import FAST, ROOT, compiled, need_processor
from kernels_reference import pointers

import tolerances

VERSIONS = ("portable", "avx2", "avx512", "avx512bf16")
# in, out, taps, dilation, samples
SHAPES = [(1, 1, 1, 1, 1), (3, 5, 3, 2, 40), (8, 9, 7, 3, 19), (6, 8, 11, 5, 300), (4, 4, 3, 1, 2)]


class Shape(ctypes.Structure):
    """`parley_conv1d_shape`."""

    _fields_ = tuple(
        (name, ctypes.c_size_t) for name in ("width_in", "width_out", "taps", "dilation", "samples")
    )


@pytest.fixture(scope="module", params=VERSIONS)
def kernel(request, tmp_path_factory):
    need_processor(request.param)
    flags = [*FAST, f'-DCONV1D_VERSION={{"{request.param}",{request.param}}}']
    source = ROOT / "kernels" / "conv1d" / "conv1d_cpu.cpp"
    library = compiled(tmp_path_factory.mktemp("kernel"), flags, source)
    library.parley_conv1d_version.restype = ctypes.c_char_p
    library.parley_conv1d_weight_words.restype = library.parley_conv1d_input_words.restype = (
        ctypes.c_size_t
    )
    assert library.parley_conv1d_version().decode() == request.param
    return library


def rounded(x):
    """bfloat16's bits, to nearest with ties to even."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def value(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def run(kernel, shape, x, weights, bias):
    """Every pair of inputs and every block of outputs in a call of its own."""
    s = Shape(*shape)
    outputs = max(0, s.samples - s.dilation * (s.taps - 1))
    packed = np.zeros(kernel.parley_conv1d_weight_words(ctypes.byref(s)), np.uint32)
    words = np.full(kernel.parley_conv1d_input_words(ctypes.byref(s)), 0xFFFFFFFF, np.uint32)
    y = np.full((s.width_out, outputs), np.nan, np.float32)
    kernel.parley_conv1d_pack_weights(ctypes.byref(s), *pointers(weights, packed))
    for i in range((s.width_in + 1) // 2):
        part = ctypes.c_size_t(i), ctypes.c_size_t(i + 1)
        kernel.parley_conv1d_pack_input(ctypes.byref(s), *pointers(x), *part, *pointers(words))
    for i in range((s.width_out + 3) // 4):
        part = ctypes.c_size_t(i), ctypes.c_size_t(i + 1)
        kernel.parley_conv1d_forward(
            ctypes.byref(s), *pointers(packed, bias, words), *part, *pointers(y)
        )
    return y


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_its_definition(kernel, shape):
    width_in, width_out, taps, dilation, samples = shape
    random = np.random.default_rng(samples)
    x = random.normal(0, 1, (width_in, samples)).astype(np.float32)
    weights = rounded(random.normal(0, 1, (width_out, width_in, taps)))
    bias = random.normal(0, 1, width_out).astype(np.float32)
    got = run(kernel, shape, x, weights, bias)
    seen, outputs = value(rounded(x)), got.shape[1]
    expected = np.tile(bias[:, None].astype(np.float64), outputs)
    for k in range(taps):
        at = k * dilation
        expected += value(weights[:, :, k].copy()) @ seen[:, at : at + outputs]
    assert outputs == max(0, samples - dilation * (taps - 1))
    error = np.abs(got - expected).max(initial=0)
    assert error < tolerances.KERNEL_REL * np.abs(expected).max(initial=1)

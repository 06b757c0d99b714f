"""The snakebeta kernel, every version of it, against its definition; knows no model."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from kernels_build import FAST, NEEDS, ROOT, compiled, need_processor
from kernels_reference import WINDOWS, Window, example, pointers, reference, windowed

import tolerances

FOLDER = ROOT / "kernels" / "snakebeta"
BUILDS = {
    "portable": [*FAST, '-DSNAKEBETA_VERSION={"portable",portable}'],
    "avx2": [*FAST, '-DSNAKEBETA_VERSION={"avx2",avx2}'],
    "avx512": [*FAST, '-DSNAKEBETA_VERSION={"avx512",avx512}'],
    "native": [*FAST, "-march=native"],
    "plain": ["-O0", "-Wno-psabi", '-DSNAKEBETA_VERSION={"portable",portable}'],
}


@pytest.fixture(scope="module", params=BUILDS)
def kernel(request, tmp_path_factory):
    need_processor(request.param)
    sources = (FOLDER / "snakebeta_cpu.cpp", FOLDER / "snakebeta_backward.cpp")
    library = compiled(tmp_path_factory.mktemp("kernel"), BUILDS[request.param], *sources)
    library.parley_snakebeta_backward_scratch.argtypes = [ctypes.c_size_t]
    library.parley_snakebeta_backward_scratch.restype = ctypes.c_size_t
    library.parley_snakebeta_version.restype = ctypes.c_char_p
    if request.param in NEEDS:
        assert library.parley_snakebeta_version().decode() == request.param
    return library


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    """The GPU's form, a thread after another on the CPU."""
    folder = tmp_path_factory.mktemp("blocks")
    library = compiled(folder, FAST, Path(__file__).with_name("snakebeta_blocks.cpp"))
    library.parley_snakebeta_forward_cuda.restype = ctypes.c_char_p
    return library


def outputs_of(window, x):
    shape = (*x.shape[:2], window.samples - window.left - window.right)
    return np.full(shape, np.nan, np.float32)


def forward(kernel, window, arrays, cuts=()):
    """`arrays`: x, alpha, beta. Rows are given to as many calls as there are cuts and one more."""
    x = arrays[0]
    out = outputs_of(window, x)
    for begin, end in zip((0, *cuts), (*cuts, x.shape[0] * x.shape[1]), strict=True):
        rows = [ctypes.c_size_t(begin), ctypes.c_size_t(end)]
        kernel.parley_snakebeta_forward(
            ctypes.byref(window), *pointers(*arrays), *rows, *pointers(out)
        )
    return out


def whole(x):
    return Window(x.shape[1], x.shape[2], 0, x.shape[2], 0, 0)


def backward(kernel, x, alpha, beta, grad):
    sizes = [ctypes.c_size_t(n) for n in x.shape]
    scratch = np.full(kernel.parley_snakebeta_backward_scratch(x.shape[-1]), np.nan, np.float32)
    grad_x = np.full_like(x, np.nan)
    grad_alpha, grad_beta = np.zeros_like(alpha), np.zeros_like(beta)
    kernel.parley_snakebeta_backward(
        *pointers(x, alpha, beta, grad), *sizes, *pointers(scratch, grad_x, grad_alpha, grad_beta)
    )
    return grad_x, grad_alpha, grad_beta


def near(got, expected):
    return np.abs(got - expected).max() < tolerances.KERNEL_REL * max(1, np.abs(expected).max())


@pytest.mark.parametrize("samples", [1, 2, 3, 7, 16, 33, 200, 600])
def test_equals_its_definition(kernel, samples):
    x, alpha, beta, grad = example(samples)
    got = forward(kernel, whole(x), (x, alpha, beta)), *backward(kernel, x, alpha, beta, grad)
    for one, expected in zip(got, reference(x, alpha, beta, grad), strict=True):
        assert near(one, expected)


@pytest.mark.parametrize("case", WINDOWS, ids=str)
def test_windows_equal_the_whole(kernel, blocks, case):
    window, arrays, expected, exact = windowed(*case)
    out = forward(kernel, window, arrays, cuts=(1, 5))
    assert not np.isnan(out).any()
    if exact.any():
        assert near(out[..., exact], expected[..., exact])
    # The GPU's form agrees everywhere, also where the window's own edges are repeated.
    device = outputs_of(window, arrays[0])
    rows = ctypes.c_size_t(out.shape[0] * out.shape[1])
    blocks.parley_snakebeta_forward_cuda(
        ctypes.byref(window), *pointers(*arrays), rows, *pointers(device), None
    )
    assert out.size == 0 or near(device, out)


def test_large_phases_keep_their_angle(kernel):
    """Thousands of turns: the remainder of pi must not lose its digits."""
    x, alpha, beta, grad = example(40)
    x[:] = np.linspace(2000, 2001, x.size).reshape(x.shape)
    alpha[:], beta[:] = 0, 0
    out = forward(kernel, whole(x), (x, alpha, beta))
    expected = reference(x, alpha, beta, grad)[0]
    # The doubled signal itself is rounded to 24 bits before its sine is taken.
    assert np.abs(out - expected).max() < tolerances.KERNEL_PHASE_ABS


def test_cuda_compiles_for_its_architectures(tmp_path):
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc; install the CUDA toolkit")
    build(tmp_path)


def test_cuda_on_a_device(tmp_path):
    if shutil.which("nvcc") is None or shutil.which("nvidia-smi") is None:
        pytest.skip("no GPU with the CUDA toolkit")
    device = build(tmp_path)
    device.snakebeta_on_device.restype = ctypes.c_char_p
    for case in WINDOWS:
        window, arrays, expected, exact = windowed(*case)
        out = outputs_of(window, arrays[0])
        rows = ctypes.c_size_t(out.shape[0] * out.shape[1])
        failure = device.snakebeta_on_device(
            ctypes.byref(window), *pointers(*arrays), rows, *pointers(out)
        )
        assert failure is None, failure
        if exact.any():
            assert near(out[..., exact], expected[..., exact])


def build(folder):
    sources = [FOLDER / "snakebeta_cuda.cu", Path(__file__).with_name("snakebeta_device.cu")]
    path = folder / "cuda.so"
    kinds = [f"-gencode=arch=compute_{n},code=sm_{n}" for n in (80, 90)]
    command = ["nvcc", "-std=c++20", "-O3", *kinds, "-Xcompiler", "-fPIC", "-shared", f"-I{ROOT}"]
    subprocess.run([*command, *map(str, sources), "-o", str(path)], check=True)
    return ctypes.CDLL(str(path))

"""The snakebeta kernel against its definition as matrices in double precision; knows no model."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import tolerances

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "kernels" / "snakebeta" / "snakebeta_cpu.cpp"
BUILDS = {
    "portable": ["-O3", "-std=c++20"],
    "native": ["-O3", "-std=c++20", "-ffp-contract=fast", "-march=native", "-DSNAKEBETA_NATIVE"],
    "plain": ["-O0", "-std=c++20", "-DSNAKEBETA_NATIVE"],
}
BATCH, CHANNELS = 2, 3


@pytest.fixture(scope="module", params=BUILDS)
def kernel(request, tmp_path_factory):
    if shutil.which("c++") is None:
        pytest.skip("no c++; install a C++ compiler")
    path = tmp_path_factory.mktemp("kernel") / "snakebeta.so"
    command = ["c++", *BUILDS[request.param], "-fPIC", "-shared", f"-I{ROOT}", str(SOURCE)]
    subprocess.run([*command, "-o", str(path)], check=True)
    library = ctypes.CDLL(str(path))
    library.snakebeta_scratch.argtypes = [ctypes.c_size_t]
    library.snakebeta_scratch.restype = ctypes.c_size_t
    library.snakebeta_forward.restype = library.snakebeta_backward.restype = None
    return library


def taps():
    """Kaiser-windowed sinc: cutoff a quarter of the doubled rate, half width 0.3, sum 1."""
    attenuation = 2.285 * 5 * np.pi * 4 * 0.3 + 7.95
    window = np.kaiser(12, 0.1102 * (attenuation - 8.7))
    filter_ = window * np.sinc(0.5 * (np.arange(-6, 6) + 0.5))
    return filter_ / filter_.sum()


def matrices(samples):
    """Doubling `[2 T, T]` and halving `[T, 2 T]`, both with repeated edges."""
    up, down = np.zeros((2 * samples, samples)), np.zeros((samples, 2 * samples))
    for k, tap in enumerate(taps()):
        for i in range(samples + 10):
            # x repeated by 5 on both sides, zeros between, the filter, 15 cut on both sides.
            place = 2 * i + k - 15
            if 0 <= place < 2 * samples:
                up[place, min(max(i - 5, 0), samples - 1)] += 2 * tap
        for n in range(samples):
            down[n, min(max(2 * n + k - 5, 0), 2 * samples - 1)] += tap
    return up, down


def example(samples):
    random = np.random.default_rng(samples)
    x, grad = random.normal(0, 2, (2, BATCH, CHANNELS, samples))
    alpha, beta = random.normal(0, 0.7, (2, CHANNELS))
    return [a.astype(np.float32) for a in (x, alpha, beta, grad)]


def reference(x, alpha, beta, grad):
    """out, and the gradients of x, alpha and beta."""
    x, alpha, beta, grad = (a.astype(np.float64) for a in (x, alpha, beta, grad))
    up, down = matrices(x.shape[-1])
    u = x @ up.T
    rate, scale = np.exp(alpha)[:, None], np.exp(beta)[:, None] + 1e-9
    sine, slope = np.sin(u * rate), np.sin(2 * u * rate)
    out = (u + sine**2 / scale) @ down.T
    inner = grad @ down
    grad_alpha = (inner * slope * u * rate / scale).sum((0, 2))
    grad_beta = (-inner * sine**2 / scale**2 * np.exp(beta)[:, None]).sum((0, 2))
    return out, (inner * (1 + rate * slope / scale)) @ up, grad_alpha, grad_beta


def run(kernel, x, alpha, beta, grad):
    sizes = [ctypes.c_size_t(n) for n in x.shape]
    scratch = np.full(kernel.snakebeta_scratch(x.shape[-1]), np.nan, np.float32)
    out, grad_x = np.full_like(x, np.nan), np.full_like(x, np.nan)
    grad_alpha, grad_beta = np.zeros_like(alpha), np.zeros_like(beta)

    def pointers(*arrays):
        return [array.ctypes.data_as(ctypes.c_void_p) for array in arrays]

    kernel.snakebeta_forward(*pointers(x, alpha, beta), *sizes, *pointers(scratch, out))
    kernel.snakebeta_backward(
        *pointers(x, alpha, beta, grad), *sizes, *pointers(scratch, grad_x, grad_alpha, grad_beta)
    )
    return out, grad_x, grad_alpha, grad_beta


@pytest.mark.parametrize("samples", [1, 2, 3, 7, 16, 33, 200])
def test_equals_its_definition(kernel, samples):
    case = example(samples)
    for got, expected in zip(run(kernel, *case), reference(*case), strict=True):
        assert np.abs(got - expected).max() < tolerances.KERNEL_REL * max(1, np.abs(expected).max())


def test_works_in_place(kernel):
    x, alpha, beta, grad = example(50)
    expected = run(kernel, x, alpha, beta, grad)[0]
    scratch = np.zeros(kernel.snakebeta_scratch(50), np.float32)
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (x, alpha, beta)]
    sizes = [ctypes.c_size_t(n) for n in x.shape]
    last = scratch.ctypes.data_as(ctypes.c_void_p)
    kernel.snakebeta_forward(*pointers, *sizes, last, pointers[0])
    assert (x == expected).all()


def test_large_phases_keep_their_angle(kernel):
    """Thousands of turns: the remainder of pi must not lose its digits."""
    x, alpha, beta, grad = example(40)
    x[:] = np.linspace(2000, 2001, x.size).reshape(x.shape)
    alpha[:], beta[:] = 0, 0
    out = run(kernel, x, alpha, beta, grad)[0]
    expected = reference(x, alpha, beta, grad)[0]
    # The doubled signal itself is rounded to 24 bits before its sine is taken.
    assert np.abs(out - expected).max() < tolerances.KERNEL_PHASE_ABS

"""Snakebeta by its definition, as matrices in double precision; and the C struct of a window."""

import ctypes

import numpy as np


class Window(ctypes.Structure):
    """`parley_snakebeta_window`."""

    _fields_ = (
        ("channels", ctypes.c_size_t),
        ("samples", ctypes.c_size_t),
        ("first", ctypes.c_int64),
        ("end", ctypes.c_int64),
        ("left", ctypes.c_size_t),
        ("right", ctypes.c_size_t),
    )


def pointers(*arrays):
    return [array.ctypes.data_as(ctypes.c_void_p) for array in arrays]


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


def example(samples, batch=2, channels=3):
    """x, alpha, beta and the gradient of the output."""
    random = np.random.default_rng(samples)
    x, grad = random.normal(0, 2, (2, batch, channels, samples))
    alpha, beta = random.normal(0, 0.7, (2, channels))
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


# (samples, cut, n, left, right): the window of n samples from position `cut` of the signal on.
WINDOWS = [
    (40, -20, 80, 0, 0),  # the signal inside the window
    (40, -20, 45, 6, 7),  # its beginning
    (40, 10, 60, 6, 3),  # its end
    (700, 100, 560, 5, 5),  # its middle, longer than a tile
    (700, 0, 700, 0, 0),  # all of it
    (700, 300, 400, 0, 0),  # the window's own edge on the left
    (9, 0, 9, 4, 5),  # no output
    (9, 30, 20, 3, 3),  # no signal: after it
    (9, -40, 20, 3, 3),  # no signal: before it
    (1, -3, 8, 0, 1),  # one sample
]


def windowed(samples, cut, n, left, right):
    """A window of `example(samples)`: struct, arguments, expected outputs, and which are exact.

    Not exact are those that would need samples of the signal which the window lacks.
    """
    x, alpha, beta, grad = example(samples)
    inside = np.full((*x.shape[:2], n), 1e3, np.float32)  # what lies outside is never looked at
    expected = np.zeros(inside.shape)
    low, high = max(cut, 0), min(cut + n, samples)
    if low < high:
        inside[..., low - cut : high - cut] = x[..., low:high]
        expected[..., low - cut : high - cut] = reference(x, alpha, beta, grad)[0][..., low:high]
    place = np.arange(cut, cut + n)
    exact = ((cut <= 0) | (place - 5 >= cut)) & ((cut + n >= samples) | (place + 5 < cut + n))
    kept = slice(left, n - right)
    window = Window(x.shape[1], n, -cut, samples - cut, left, right)
    return (
        window,
        (inside, alpha, beta),
        expected[..., kept],
        exact[kept] | (place[kept] >= samples),
    )

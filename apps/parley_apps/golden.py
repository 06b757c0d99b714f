"""Compares arrays with golden ones by a stated metric; what verify allows; no engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]

# metric and tolerance of each kind of number, in float32 on the CPU
TOLERANCES: dict[str, tuple[str, float]] = {
    "wave16k": ("max abs", 1e-4),
    "log_mel": ("max abs", 1e-4),
    "encoder": ("relative", 1e-4),
    "features": ("relative", 1e-4),
    "logits": ("max abs", 1e-3),
    "feedback": ("max abs", 1e-4),
    "tokens": ("differing", 0.0),
    "latents": ("relative", 1e-3),
    "field": ("relative", 1e-3),
    "wave24k": ("SNR dB", 60.0),
    # phases of a harmonic source add up: float32 and float64 of the same code are 72 dB apart
    "wave_of_source": ("SNR dB", 50.0),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. `figure` is None where it was skipped; `note` says why or where."""

    stage: str
    metric: str
    figure: float | None
    tolerance: float
    passed: bool
    note: str = ""

    @property
    def strain(self) -> float:
        """How much of the tolerance is used: above 1 it failed."""
        if self.figure is None:
            return 0.0
        if not np.isfinite(self.figure):
            return 0.0 if self.passed else float("inf")
        if self.metric == "SNR dB":
            return self.tolerance / self.figure if self.figure > 0 else float("inf")
        if self.tolerance == 0.0:
            return 0.0 if self.figure == 0.0 else float("inf")
        return self.figure / self.tolerance


def compare(stage: str, kind: str, ours: Array, golden: Array) -> Row:
    """Compares two arrays by the metric of `kind`; other shapes fail."""
    metric, tolerance = TOLERANCES[kind]
    if ours.shape != golden.shape:
        note = f"shape {list(ours.shape)}, golden {list(golden.shape)}"
        return Row(stage, metric, float("nan"), tolerance, False, note)
    a, b = ours.astype(np.float64), golden.astype(np.float64)
    if metric == "differing":
        return _identical(stage, a, b)
    if not np.isfinite(a).all():
        return Row(stage, metric, float("nan"), tolerance, False, "not finite")
    if metric == "SNR dB":
        figure = snr_db(a, b)
        return Row(stage, metric, figure, tolerance, figure >= tolerance)
    figure = max_abs(a, b) if metric == "max abs" else relative_error(a, b)
    return Row(stage, metric, figure, tolerance, figure <= tolerance)


def skipped(stage: str, kind: str, why: str) -> Row:
    """A comparison that could not be made; it counts as neither passed nor failed."""
    metric, tolerance = TOLERANCES[kind]
    return Row(stage, metric, None, tolerance, True, why)


def max_abs(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """The largest absolute difference."""
    return float(np.abs(a - b).max(initial=0.0))


def relative_error(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """The worse of two: norm of the difference by norm, largest difference by largest value."""
    difference = a - b
    by_norm = float(np.linalg.norm(difference)) / max(float(np.linalg.norm(b)), 1e-30)
    by_peak = max_abs(a, b) / max(float(np.abs(b).max(initial=0.0)), 1e-30)
    return max(by_norm, by_peak)


def snr_db(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Signal (b) to noise (a - b) ratio in dB; infinite where they are equal."""
    noise, signal = float(np.sum((a - b) ** 2)), float(np.sum(b**2))
    if noise == 0.0:
        return float("inf")
    return 10.0 * float(np.log10(max(signal, 1e-30) / noise))


def _identical(stage: str, a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> Row:
    differ = np.flatnonzero(a.ravel() != b.ravel())
    note = f"first at {differ[0]} of {a.size}" if differ.size else f"all {a.size}"
    metric, tolerance = TOLERANCES["tokens"]
    return Row(stage, metric, float(differ.size), tolerance, differ.size == 0, note)

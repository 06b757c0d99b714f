"""What steps cost: percentiles, real-time factor, peak memory; knows no stage by name."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

PERCENTILES = (50, 95, 99)


def percentiles(milliseconds: Iterable[float]) -> dict[str, float]:
    """{"p50_ms", "p95_ms", "p99_ms"} with linear interpolation; zeros where there is no value.

    >>> percentiles([1.0, 2.0, 3.0])["p50_ms"]
    2.0
    """
    values = np.fromiter(milliseconds, dtype=np.float64)
    if values.size == 0:
        return {f"p{p}_ms": 0.0 for p in PERCENTILES}
    return {f"p{p}_ms": float(np.percentile(values, p)) for p in PERCENTILES}


def real_time_factor(cost_ms: float, audio_s: float) -> float:
    """Seconds of work per second of audio: below 1 keeps up; 0 where there was no audio.

    >>> real_time_factor(500.0, 2.0)
    0.25
    """
    return cost_ms / 1000.0 / audio_s if audio_s > 0 else 0.0


class Costs:
    """Collects `Step.timing_ms` of many steps.

    >>> costs = Costs(chunk_s=0.16)
    >>> costs.add({"encoder": 3.0, "total": 8.0})
    >>> costs.report()["rtf"]
    0.05
    """

    def __init__(self, chunk_s: float) -> None:
        self._chunk_s = chunk_s
        self._steps: list[Mapping[str, float]] = []
        self._bottleneck: Counter[str] = Counter()

    def add(self, timing_ms: Mapping[str, float], bottleneck: str = "") -> None:
        """Adds one step; "total" is the whole step, every other name a stage.

        bottleneck: the stage that bounded it (`Step.bottleneck`), where that is known.
        """
        self._steps.append(dict(timing_ms))
        if bottleneck:
            self._bottleneck[bottleneck] += 1

    def __len__(self) -> int:
        return len(self._steps)

    def stages(self) -> list[str]:
        """Names of the stages in the order of their first appearance."""
        seen = dict.fromkeys(name for step in self._steps for name in step)
        return [name for name in seen if name != "total"]

    def totals(self) -> list[float]:
        """Milliseconds of each step."""
        return [step_total(step) for step in self._steps]

    def report(self) -> dict[str, object]:
        """{"rtf", "step": percentiles, "stages": {name: percentiles}, "bottleneck": {name: share}}.

        A stage's percentiles cover the steps in which it ran; bottleneck says which share of the
        steps each stage bounded.
        """
        totals = self.totals()
        ran = {n: [s[n] for s in self._steps if s.get(n, 0.0) > 0.0] for n in self.stages()}
        return {
            "rtf": real_time_factor(sum(totals), len(totals) * self._chunk_s),
            "step": percentiles(totals),
            "stages": {name: percentiles(values) for name, values in ran.items()},
            "bottleneck": {name: n / len(totals) for name, n in self._bottleneck.most_common()},
        }


def step_total(timing_ms: Mapping[str, float]) -> float:
    """Milliseconds of one step: its "total", or the sum of its stages where that is missing."""
    total = timing_ms.get("total")
    return float(sum(timing_ms.values())) if total is None else float(total)


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MiB; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024.0 * 1024.0 if sys.platform == "darwin" else 1024.0)

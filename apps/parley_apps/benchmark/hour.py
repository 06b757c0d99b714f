"""`parley bench BUNDLE --hours N`: whether a long conversation stays as cheap as it began.

Virtual time: the steps follow each other as fast as they can. Per minute of the conversation it
keeps the cost of a chunk and the memory, and fits a line to each.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from parley_apps import machine, options
from parley_apps.benchmark import step as one_step
from parley_apps.progress import Progress

MINUTE_S = 60.0
SETTLED = 2  # minutes until caches and rings have their size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("a long conversation")
    group.add_argument(
        "--hours",
        type=options.positive,
        metavar="N",
        help="hours of conversation, as fast as they go: cost and memory of every minute",
    )
    group.add_argument("--plot", type=Path, metavar="PNG", help="draw them (with --hours)")


@dataclass
class Minute:
    """Costs of the chunks of one minute, milliseconds; `cpu_ms` is of all threads, per chunk."""

    chunks: int
    speaking_chunks: int
    median_ms: float
    p99_ms: float
    speaking_median_ms: float
    cpu_ms: float
    memory_mb: float
    positions: int


@dataclass
class Log:
    """Gathers steps into minutes."""

    chunk_s: float
    minutes: list[Minute] = field(default_factory=list)
    _all: list[float] = field(default_factory=list)
    _speaking: list[float] = field(default_factory=list)
    _cpu_s: float = field(default_factory=time.process_time)

    def add(self, total_ms: float, speaking: bool, positions: int) -> None:
        self._all.append(total_ms)
        if speaking:
            self._speaking.append(total_ms)
        if len(self._all) * self.chunk_s >= MINUTE_S - self.chunk_s / 2:
            self._close(positions)

    def _close(self, positions: int) -> None:
        cpu_s = time.process_time()
        self.minutes.append(
            Minute(
                chunks=len(self._all),
                speaking_chunks=len(self._speaking),
                median_ms=float(np.median(self._all)),
                p99_ms=float(np.percentile(self._all, 99)),
                speaking_median_ms=float(np.median(self._speaking)) if self._speaking else 0.0,
                cpu_ms=1000 * (cpu_s - self._cpu_s) / len(self._all),
                memory_mb=resident_mb(),
                positions=positions,
            )
        )
        self._all, self._speaking, self._cpu_s = [], [], cpu_s


def run(args: argparse.Namespace) -> int:
    import parley
    from parley.metrics import step_total
    from parley_apps import plot
    from parley_apps.interrupt import cancel_on_interrupt

    if args.plot is not None:
        plot.check_installed()
    recording = parley.read_audio(args.recording or one_step.RECORDING)
    progress = Progress()
    with options.open_bundle(args) as bundle:
        samples = bundle.resample(*recording)
        log = Log(bundle.chunk_samples / bundle.rate)
        n_minutes = max(1, round(60 * args.hours))
        with bundle.session(args.mode, seed=args.seed) as session, cancel_on_interrupt(session):
            for step in one_step.steps(session, samples):
                log.add(step_total(step.timing_ms), step.state == "speaking", session.position)
                if len(log.minutes) >= n_minutes:
                    break
                progress.update(f"minute {len(log.minutes) + 1} of {n_minutes}  {step.state}")
            progress.done()
        name, mode = bundle.name, session.mode
    result: dict[str, Any] = {
        "bundle": name,
        "mode": mode,
        "hours": n_minutes / 60,
        **summary(log.minutes),
        "minutes": [vars(minute) for minute in log.minutes],
        "machine": machine.describe(),
        "versions": machine.versions(),
        "command": shlex.join(["parley", *sys.argv[1:]]),
    }
    if args.plot is not None:
        from parley_apps.benchmark import hour_plot

        args.plot.write_bytes(hour_plot.to_png(result))
    print(json.dumps(result) if args.json else "\n".join(lines(result)))
    return 0


def summary(minutes: list[Minute]) -> dict[str, Any]:
    """Medians over the settled minutes, and lines through them: change per hour."""
    settled = minutes[SETTLED:] if len(minutes) > 2 * SETTLED else minutes

    def told(name: str) -> dict[str, float]:
        values = [float(getattr(minute, name)) for minute in settled]
        typical, slope = float(np.median(values)), slope_per_hour(values)
        percent = 100 * slope / typical if typical else 0.0
        return {"median": typical, "per_hour": slope, "percent_per_hour": percent}

    names = ("median_ms", "p99_ms", "speaking_median_ms", "cpu_ms", "memory_mb")
    return {
        "settled_minutes": len(settled),
        "speaking_share": sum(m.speaking_chunks for m in minutes) / sum(m.chunks for m in minutes),
        "lines": {name: told(name) for name in names},
    }


def slope_per_hour(values: list[float]) -> float:
    """Of the line of least squares through one value per minute; 0 for fewer than two."""
    if len(values) < 2:
        return 0.0
    return 60.0 * float(np.polyfit(np.arange(len(values)), values, 1)[0])


def resident_mb() -> float:
    """Memory of this process that is in RAM now, in MiB; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


ROWS = {
    "median_ms": "median of all chunks, ms",
    "p99_ms": "99 % of all chunks, ms",
    "speaking_median_ms": "median of speaking chunks, ms",
    "cpu_ms": "processor time per chunk, ms",
    "memory_mb": "resident memory, MiB",
}


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The summary for people."""
    share = 100 * result["speaking_share"]
    yield f"{result['bundle']}, mode {result['mode']}: {result['hours']:g} h of conversation"
    yield f"the model speaks {share:.0f} % of it; lines through {result['settled_minutes']} minutes"
    yield f"{'':32s}{'typical':>10s}{'per hour':>11s}"
    for name, words in ROWS.items():
        line = result["lines"][name]
        yield (
            f"{words:32s}{line['median']:10.2f}{line['per_hour']:+11.2f}  "
            f"({line['percent_per_hour']:+.1f} %)"
        )

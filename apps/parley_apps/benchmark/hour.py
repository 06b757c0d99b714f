"""`parley bench hour`: whether a long conversation stays as cheap as it began.

Virtual time: the steps follow each other as fast as they can. Per minute of the conversation it
keeps the cost of a chunk and the memory, and fits a line to each.
"""

from __future__ import annotations

import argparse
import json
import os
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
FEW_MINUTES = 10  # too few for a line
SETTLED = 2  # minutes until caches and rings have their size


ROWS = {
    "median_ms": "median of all chunks, ms",
    "p99_ms": "99 % of all chunks, ms",
    "speaking_median_ms": "median of speaking chunks, ms",
    "cpu_p99_ms": "99 %, processor time, ms",
    "cpu_speaking_median_ms": "speaking, processor time, ms",
    "memory_mb": "resident memory, MiB",
}


EXAMPLES = """\
Holds a long conversation as fast as it goes, and tells for every minute what a chunk costs and how
much memory there is: what begins cheap should stay so.

examples:
  parley bench hour nano --plot flat.png
  parley bench hour my.bundle --hours 0.2 --overlap --json | jq .lines

JSON: hours, speaking_share, settled_minutes; lines {name: {median, per_hour, percent_per_hour}};
minutes [{chunks, median_ms, p99_ms, memory_mb, ...}]; bundle, mode, overlap, device; machine,
versions, command.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = EXAMPLES
    add = parser.add_argument
    add("--hours", type=options.positive, default=1.0, metavar="N", help="default: 1")
    add("--plot", type=Path, metavar="PNG", help="draw the minutes")
    one_step.add_session(parser)


@dataclass
class Minute:
    """Costs of the chunks of one minute in milliseconds: by the clock, and by processor time.

    A busy neighbour shows in the clock's alone.
    """

    chunks: int
    speaking_chunks: int
    median_ms: float
    p99_ms: float
    speaking_median_ms: float
    cpu_p99_ms: float
    cpu_speaking_median_ms: float
    memory_mb: float
    positions: int


@dataclass
class Log:
    """Gathers steps into minutes."""

    chunk_s: float
    minutes: list[Minute] = field(default_factory=list)
    _rows: list[tuple[float, float, bool]] = field(default_factory=list)

    def add(self, total_ms: float, cpu_ms: float, speaking: bool, positions: int) -> None:
        self._rows.append((total_ms, cpu_ms, speaking))
        if len(self._rows) * self.chunk_s < MINUTE_S - self.chunk_s / 2:
            return
        total, cpu, spoke = (np.array(column) for column in zip(*self._rows, strict=True))
        self._rows = []
        self.minutes.append(
            Minute(
                chunks=len(total),
                speaking_chunks=int(spoke.sum()),
                median_ms=float(np.median(total)),
                p99_ms=float(np.percentile(total, 99)),
                speaking_median_ms=float(np.median(total[spoke])) if spoke.any() else 0.0,
                cpu_p99_ms=float(np.percentile(cpu, 99)),
                cpu_speaking_median_ms=float(np.median(cpu[spoke])) if spoke.any() else 0.0,
                memory_mb=resident_mb(),
                positions=positions,
            )
        )


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
        session = bundle.session(args.mode, seed=args.seed, overlap=args.overlap)
        with session, cancel_on_interrupt(session):
            before_s = time.process_time()
            for step in one_step.steps(session, samples):
                after_s = time.process_time()
                cpu_ms = 1000 * (after_s - before_s)
                speaking = step.floor == "speaking"
                log.add(step_total(step.timing_ms), cpu_ms, speaking, session.position)
                if len(log.minutes) >= n_minutes:
                    break
                progress.update(f"minute {len(log.minutes) + 1} of {n_minutes}  {step.floor}")
                before_s = time.process_time()
            progress.done()
        name, mode = bundle.name, session.mode
    result: dict[str, Any] = {
        "bundle": name,
        "mode": mode,
        "overlap": args.overlap,
        "device": args.device,
        "hours": n_minutes / 60,
        **summary(log.minutes),
        "minutes": [vars(minute) for minute in log.minutes],
        **machine.circumstances(),
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

    return {
        "settled_minutes": len(settled),
        "speaking_share": sum(m.speaking_chunks for m in minutes) / sum(m.chunks for m in minutes),
        "lines": {name: told(name) for name in ROWS},
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


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The summary for people."""
    share = 100 * result["speaking_share"]
    overlap = ", overlap" if result.get("overlap") else ""
    what = f"{result['bundle']}, mode {result['mode']}{overlap}"
    yield f"{what}: {result['hours']:g} h of conversation"
    yield f"the model speaks {share:.0f} % of it; lines through {result['settled_minutes']} minutes"
    yield f"{'':32s}{'typical':>10s}{'per hour':>11s}"
    for name, words in ROWS.items():
        line = result["lines"][name]
        slope = f"{line['per_hour']:+11.2f}  ({line['percent_per_hour']:+.1f} %)"
        if result["settled_minutes"] < FEW_MINUTES:
            slope = "  too few minutes"
        yield f"{words:32s}{line['median']:10.2f}{slope}"

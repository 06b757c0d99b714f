"""Measures one stage of a bundle, and upstream's way of doing it; runs as a process of its own.

Both are interleaved, so that a busy machine slows both. As a program it takes one JSON object and
prints one; run.py is its only caller.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from parley.metrics import step_total
from parley_apps.benchmark.model.cost import FRAMES_PER_CHUNK

if TYPE_CHECKING:
    import parley
    from parley.bundle import CacheType, Device

WARM_UP_CHUNKS = 2
PROMPT_AND_CHUNK = 1183  # latent frames: the published voice and one chunk
VOCODER_WINDOW = 61  # latent frames that upstream's loop decodes for each chunk
SEGMENT_MEL_FRAMES = 3000
EVALUATIONS = 18
BRANCHES = 2


@dataclass(frozen=True)
class Task:
    """What to measure; `tries` is how often upstream's way runs.

    plain: the folder of a second bundle whose graphs have no fused operator; upstream's way then
    runs on both. flow: settings instead of the bundle's. lookahead: the vocoder's, instead of the
    bundle's, in latent frames. device, kv: as parley.open takes them.
    """

    folder: str
    stage: str
    threads: int
    chunks: int
    tries: int
    plain: str = ""
    flow: dict[str, Any] = field(default_factory=dict)
    lookahead: int | None = None
    device: Device = "cpu"
    kv: CacheType = "f16"


def measure(task: Task) -> dict[str, Any]:
    """Milliseconds of `stage` in every step, of upstream's way, and what it took to begin."""
    from parley.metrics import peak_memory_mb, percentiles

    begin = time.perf_counter()
    with ExitStack() as stack:
        folders = [task.folder, task.plain] if task.plain else [task.folder]
        bundles = [stack.enter_context(_opened(folder, task)) for folder in folders]
        opened = time.perf_counter()
        # Random weights: likeliest ids could repeat one kind for ever, drawn ones do not.
        session = stack.enter_context(bundles[0].session("duplex", system="", temperature=1.0))
        prepared = time.perf_counter()
        step: Callable[[], Spent] = _Stepper(session, task.stage)
        if task.lookahead is not None:
            step = partial(clocked, _VocoderStepper(bundles[0], task.lookahead))
        for _ in range(WARM_UP_CHUNKS):
            step()
        others = [partial(clocked, _upstream(task.stage, bundle)) for bundle in bundles]
        own, *theirs = _interleave(step, others, task.chunks, task.tries)
        return {
            "open_s": opened - begin,
            "session_s": prepared - opened,
            "chunks": len(own.wall_ms),
            "position": session.position,
            "flow": bundles[0].manifest["flow"],
            "ms": percentiles(own.wall_ms),
            "cpu_ms": percentiles(own.cpu_ms),
            "upstream_runs_ms": theirs[0].wall_ms,
            "upstream_runs_cpu_ms": theirs[0].cpu_ms,
            "plain_runs_ms": theirs[1].wall_ms if task.plain else [],
            "plain_runs_cpu_ms": theirs[1].cpu_ms if task.plain else [],
            "peak_memory_mb": peak_memory_mb(),
        }


def _opened(folder: str, task: Task) -> parley.Bundle:
    import parley

    return parley.open(
        folder,
        device=task.device,
        threads=task.threads,
        verify=False,
        kv=task.kv,
        flow=task.flow,
    )


class Spent(NamedTuple):
    """Milliseconds of one run: by the clock, and processor time of all threads."""

    wall_ms: float
    cpu_ms: float


def clocked(run: Callable[[], object]) -> Spent:
    """What one run takes."""
    begin, cpu = time.perf_counter(), time.process_time()
    run()
    cpu_ms = 1000 * (time.process_time() - cpu)
    return Spent(1000 * (time.perf_counter() - begin), cpu_ms)


@dataclass
class Times:
    """Milliseconds of several runs."""

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def add(self, spent: Spent) -> None:
        self.wall_ms.append(spent.wall_ms)
        self.cpu_ms.append(spent.cpu_ms)


def _interleave(
    step: Callable[[], Spent], others: Sequence[Callable[[], Spent]], chunks: int, tries: int
) -> list[Times]:
    """Own chunks in `tries` portions; after each of them every other way once."""
    own, theirs = Times(), [Times() for _ in others]
    for k in range(tries):
        while len(own.wall_ms) < chunks * (k + 1) // tries:
            own.add(step())
        for run, times in zip(others, theirs, strict=True):
            times.add(run())
    return [own, *theirs]


class _Stepper:
    """Steps until the stage has worked; gives its milliseconds."""

    def __init__(self, session: Any, stage: str) -> None:
        self._session, self._stage = session, stage
        self._draw = np.random.default_rng(0)

    def __call__(self) -> Spent:
        """The stage's milliseconds, and its share of the step's processor time."""
        while True:
            noise = 0.1 * self._draw.standard_normal(self._session.chunk_samples)
            cpu = time.process_time()
            step = self._session.step(noise.astype(np.float32))
            cpu_ms = 1000 * (time.process_time() - cpu)
            ms = step.timing_ms.get(self._stage, 0.0)
            wanted = self._stage == "encoder" or step.floor == "speaking"
            if wanted and ms > 0.0:
                return Spent(float(ms), cpu_ms * ms / step_total(step.timing_ms))


class _VocoderStepper:
    """Chunks of latent frames with another look-ahead than the bundle's."""

    def __init__(self, bundle: Any, lookahead: int) -> None:
        self._stream = bundle.workbench().vocoder_stream(lookahead)
        draw, z = np.random.default_rng(2), bundle.manifest["flow"]["z"]
        self._latents = draw.standard_normal((FRAMES_PER_CHUNK, z)).astype(np.float32)

    def __call__(self) -> None:
        self._stream.push(self._latents)


def _upstream(stage: str, bundle: Any) -> Callable[[], object]:
    """One run of what upstream's loop does; run.py says how many of them a chunk needs."""
    bench, draw = bundle.workbench(), np.random.default_rng(1)
    flow = bundle.manifest["flow"]
    if stage == "encoder":
        mels = bundle.manifest["front_end"]["n_mels"]
        log_mel = draw.standard_normal((mels, SEGMENT_MEL_FRAMES)).astype(np.float32)
        return lambda: bench.encode_segment(log_mel)
    if stage == "backbone":
        bench.feed([0])
        return lambda: bench.feed([1])
    if stage == "flow":
        shape = (BRANCHES, PROMPT_AND_CHUNK, flow["hidden"] + 2 * flow["z"])
        inputs = draw.standard_normal(shape).astype(np.float32)
        return lambda: bench.flow_field(inputs, 0.5)
    latents = draw.standard_normal((VOCODER_WINDOW, flow["z"])).astype(np.float32)
    # All frames that a chunk's samples depend on, from silence.
    voice = bench.vocoder_stream(bundle.manifest["vocoder"]["full_lookahead_frames"])

    def window() -> None:
        voice.begin()
        voice.push(latents)

    return window


if __name__ == "__main__":
    print(json.dumps(measure(Task(**json.loads(sys.argv[1])))))

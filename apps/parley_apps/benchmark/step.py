"""`parley bench BUNDLE`: what a step costs on this machine; loops over the step everyone uses."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parley_apps import machine, options
from parley_apps.progress import Progress

if TYPE_CHECKING:
    import parley
    from parley.metrics import Costs

WARM_UP_S = 1.0
TURN_S = 2.0  # of made-up sound, before the model may answer

EXAMPLES = """\
Measures what steps cost: milliseconds per chunk of 160 ms, in all and by stage, the real-time
factor (seconds of work per second of audio: below 1 keeps up) and the peak of memory. The input is
a made-up sound, or a recording by --in. In turns, every turn is followed by its reply.

examples:
  parley bench my.bundle
  parley bench my.bundle --seconds 60 --mode turns --threads 2
  parley bench my.bundle --json | jq .step.p95_ms

JSON: rtf; step {p50_ms, p95_ms, p99_ms}; stages {name: the same, of the steps in which it ran};
peak_memory_mb; seconds, speaking_seconds, mode, bundle, device; machine, versions, command.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from parley_apps import errors

    parser.description = EXAMPLES
    parser.epilog = errors.EXIT_CODES_HELP
    options.add_bundle(parser)
    parser.add_argument(
        "--seconds",
        type=options.positive,
        default=20.0,
        metavar="N",
        help="seconds of audio to run (default: 20)",
    )
    parser.add_argument("--in", dest="recording", type=Path, metavar="WAV", help="a recording")
    parser.add_argument("--mode", choices=["duplex", "turns"], help="default: the bundle's")
    parser.add_argument("--seed", type=options.natural, default=0, metavar="N", help="default: 0")
    options.add_machine(parser)
    options.add_json(parser, "the result")


def run(args: argparse.Namespace) -> int:
    import parley
    from parley.metrics import Costs, peak_memory_mb
    from parley_apps.interrupt import cancel_on_interrupt

    recording = None if args.recording is None else parley.read_audio(args.recording)
    progress = Progress()
    progress.say(f"opening {args.bundle}")
    with options.open_bundle(args) as bundle:
        samples = sound(bundle.rate, args.seed)
        if recording is not None:
            samples = bundle.resample(*recording)
        chunk_s = bundle.chunk_samples / bundle.rate
        with bundle.session(args.mode, seed=args.seed) as session, cancel_on_interrupt(session):
            mode = session.mode
            _measure(session, samples, WARM_UP_S, Costs(chunk_s), progress)
            session.reset()
            costs = Costs(chunk_s)
            speaking_s = _measure(session, samples, args.seconds, costs, progress)
        name = bundle.name
    result: dict[str, Any] = {
        **costs.report(),
        "peak_memory_mb": peak_memory_mb(),
        "seconds": len(costs) * chunk_s,
        "speaking_seconds": speaking_s,
        "mode": mode,
        "bundle": name,
        "device": args.device,
        "machine": machine.describe(),
        "versions": machine.versions(),
        "command": shlex.join(["parley", *sys.argv[1:]]),
    }
    if args.json:
        print(json.dumps(result))
    else:
        print("\n".join(_lines(result, 1000.0 * chunk_s)))
    return 0


def sound(rate: int, seed: int) -> Any:
    """Made-up user [n] float32: noise in the rhythm of syllables, the same for the same seed."""
    n = round(TURN_S * rate)
    time_s = np.arange(n) / rate
    noise = np.random.default_rng(seed).standard_normal(n)
    syllables = np.clip(np.sin(2 * np.pi * 4.0 * time_s), 0.0, None)
    return (0.1 * noise * syllables).astype(np.float32)


def _measure(
    session: parley.Session, samples: Any, seconds: float, costs: Costs, progress: Progress
) -> float:
    """Runs steps until `seconds` of audio have passed; returns how many the model spoke."""
    chunk_s = session.chunk_samples / session.rate
    speaking = 0
    for step in _steps(session, samples):
        costs.add(step.timing_ms)
        speaking += step.state == "speaking"
        done_s = len(costs) * chunk_s
        progress.update(f"{done_s:6.1f} s of {seconds:g} s  {step.state}")
        if done_s >= seconds:
            break
    progress.done()
    return speaking * chunk_s


def _steps(session: parley.Session, samples: Any) -> Iterator[parley.Step]:
    from parley import ContextError

    while True:
        if session.mode == "duplex":
            yield from session.feed(samples)
            continue
        empty = session.position == 0
        try:
            yield from session.play(samples)
        except ContextError:
            if empty:
                raise  # the turn alone is too long
            session.reset()  # turns fill the context; the next one begins a conversation


def _lines(result: dict[str, Any], budget_ms: float) -> Iterator[str]:
    what = result["machine"]
    yield f"{result['bundle']}, mode {result['mode']}, on {result['device']}"
    yield f"{what['cpu']}, {what['cores']} cores, {what['memory_gb']} GiB"
    yield (
        f"{result['seconds']:.1f} s of audio, {result['speaking_seconds']:.1f} s of it speaking; "
        f"real-time factor {result['rtf']:.3f}, peak memory {result['peak_memory_mb']:.0f} MiB"
    )
    yield f"ms per chunk (budget {budget_ms:.0f} ms)"
    yield f"  {'':10s} {'median':>9s} {'95 %':>9s} {'99 %':>9s}"
    for name, row in (("step", result["step"]), *result["stages"].items()):
        values = " ".join(f"{row[key]:9.2f}" for key in ("p50_ms", "p95_ms", "p99_ms"))
        yield f"  {name.replace('_', ' '):10s} {values}"

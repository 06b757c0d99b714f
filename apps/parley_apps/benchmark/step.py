"""`parley bench step`: what a step costs on this machine; loops over the step everyone uses."""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parley_apps import errors, machine, options
from parley_apps.progress import Progress

if TYPE_CHECKING:
    import parley
    from parley.metrics import Costs

WARM_UP_S = 1.0
# A process that keeps a core busy until its parent ends, however that ends.
BUSY = "import os\np = os.getppid()\nwhile os.getppid() == p: sum(range(1000000))"
RECORDING = Path(__file__).parents[1] / "data" / "conversation.wav"


EXAMPLES = """\
Measures what steps cost: milliseconds per chunk of 160 ms, in all and by stage, the real-time
factor (seconds of work per second of audio: below 1 keeps up) and the peak of memory. The input is
a recorded user, over and over, or a recording by --in. In turns, every turn is followed by its
reply. --beside 2 shows what a machine gives that is busy with something else.

examples:
  parley bench nano
  parley bench step my.bundle --seconds 60 --mode turns --threads 2
  parley bench step nano --threads 2 --beside 2
  parley bench step my.bundle --json | jq .speaking.p95_ms

JSON: rtf; step, speaking, speaking_cpu (processor time) {p50_ms, p95_ms, p99_ms}; stages {name:
the same, of the steps in which it ran}; bottleneck {name: share of the steps that it bounded};
peak_memory_mb; seconds, speaking_seconds, mode, overlap, beside, bundle, device; machine, versions,
command.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = EXAMPLES
    parser.add_argument(
        "--seconds",
        type=options.positive,
        default=60.0,
        metavar="N",
        help="seconds of audio to run (default: 60)",
    )
    parser.add_argument(
        "--beside",
        type=options.natural,
        default=0,
        metavar="N",
        help="so many other processes compute meanwhile (default: 0)",
    )
    add_session(parser)


def add_session(parser: argparse.ArgumentParser) -> None:
    """What decides over a conversation: the bundle, the user, the session, the machine."""
    parser.epilog = errors.EXIT_CODES_HELP
    options.add_bundle(parser, default="nano")
    parser.add_argument("--in", dest="recording", type=Path, metavar="WAV", help="a recording")
    parser.add_argument("--mode", choices=["duplex", "turns"], help="default: the bundle's")
    parser.add_argument("--seed", type=options.natural, default=0, metavar="N", help="default: 0")
    parser.add_argument(
        "--overlap",
        action="store_true",
        help="make a chunk's sound beside the next chunk's thinking, one chunk later; in turns, "
        "encode full segments (30 s) beside the chunks that follow",
    )
    options.add_machine(parser)
    options.add_cache(parser)
    options.add_json(parser, "the result")


def run(args: argparse.Namespace) -> int:
    import parley
    from parley.metrics import peak_memory_mb, percentiles
    from parley_apps.interrupt import cancel_on_interrupt

    recording = parley.read_audio(args.recording or RECORDING)
    progress = Progress()
    progress.say(f"opening {args.bundle}")
    with options.open_bundle(args) as bundle:
        samples = bundle.resample(*recording)
        chunk_s = bundle.chunk_samples / bundle.rate
        session = bundle.session(args.mode, seed=args.seed, overlap=args.overlap)
        with session, cancel_on_interrupt(session), _others(args.beside):
            mode = session.mode
            _measure(session, samples, WARM_UP_S, progress)
            session.reset()
            costs, speaking, cpu_ms = _measure(session, samples, args.seconds, progress)
        name = bundle.name
    result: dict[str, Any] = {
        **costs.report(),
        "speaking": speaking.report()["step"],
        "speaking_cpu": percentiles(cpu_ms),
        "peak_memory_mb": peak_memory_mb(),
        "seconds": len(costs) * chunk_s,
        "chunk_ms": 1000.0 * chunk_s,
        "speaking_seconds": len(speaking) * chunk_s,
        "mode": mode,
        "overlap": args.overlap,
        "beside": args.beside,
        "bundle": name,
        "device": args.device,
        **machine.circumstances(),
    }
    if args.json:
        print(json.dumps(result))
    else:
        print("\n".join(lines(result)))
    return 0


@contextlib.contextmanager
def _others(count: int) -> Iterator[None]:
    """So many processes that do nothing but compute, as long as the block runs."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            other = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY]))
            stack.callback(other.kill)
        yield


def _measure(
    session: parley.Session, samples: Any, seconds: float, progress: Progress
) -> tuple[Costs, Costs, list[float]]:
    """Costs of all steps until `seconds` of audio have passed, and of those in which it spoke.

    Of these also the milliseconds of processor time, all threads together.
    """
    from parley.metrics import Costs

    chunk_s = session.chunk_samples / session.rate
    every, speaking = Costs(chunk_s), Costs(chunk_s)
    cpu_ms: list[float] = []
    before_s = time.process_time()
    for step in steps(session, samples):
        every.add(step.timing_ms, step.bottleneck)
        if step.floor == "speaking":
            speaking.add(step.timing_ms, step.bottleneck)
            cpu_ms.append(1000 * (time.process_time() - before_s))
        done_s = len(every) * chunk_s
        progress.update(f"{done_s:6.1f} s of {seconds:g} s  {step.floor}")
        if done_s >= seconds:
            break
        before_s = time.process_time()
    progress.done()
    return every, speaking, cpu_ms


def steps(session: parley.Session, samples: Any) -> Iterator[parley.Step]:
    """A conversation without end: the recording again and again."""
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


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The table for people."""
    what = result["machine"]
    overlap = ", overlap" if result["overlap"] else ""
    beside = f", beside {result['beside']} busy processes" if result.get("beside") else ""
    yield f"{result['bundle']}, mode {result['mode']}, on {result['device']}{overlap}{beside}"
    yield f"{what['cpu']}, {what['cores']} cores, {what['memory_gb']} GiB"
    yield (
        f"{result['seconds']:.1f} s of audio, {result['speaking_seconds']:.1f} s of it speaking; "
        f"real-time factor {result['rtf']:.3f}, peak memory {result['peak_memory_mb']:.0f} MiB"
    )
    yield f"ms per chunk (budget {result['chunk_ms']:.0f} ms)"
    yield f"  {'':12s} {'median':>9s} {'95 %':>9s} {'99 %':>9s}"
    rows = {name: result[name] for name in ("step", "speaking", "speaking_cpu")}
    rows |= result["stages"]
    for name, row in rows.items():
        values = " ".join(f"{row[key]:9.2f}" for key in ("p50_ms", "p95_ms", "p99_ms"))
        yield f"  {name.replace('_', ' '):12s} {values}"
    shares = (f"{name} {share:.0%}" for name, share in result["bottleneck"].items())
    yield f"which stage bounded a step: {', '.join(shares)}"

"""`parley bench`: what a chunk costs; picks the measurement, knows no model."""

from __future__ import annotations

import argparse
import importlib.util
from typing import Any

from parley_apps import errors, options
from parley_apps.benchmark import full, hour, simulate, step

# Word after `parley bench` -> what it measures. Each is a module of this package with
# add_arguments(parser) and run(args) -> exit code; any other word is a bundle.
SUMMARIES = {
    "flow": "the flow decoder: cost and distance of its settings",
    "encoder": "the encoder in turns: cost and distance of segments without their silence",
    "vocoder": "the vocoder: cost and error of its look-ahead",
    "backbone": "the backbone: tokens per second beside llama.cpp's own loop",
    "kernels": "single operations beside the graphs that they replace",
    "report": "all of it, into BENCHMARKS.md",
}
PARTS = {
    name: f"{__name__}.{name}"
    for name in SUMMARIES
    if importlib.util.find_spec(f"{__name__}.{name}") is not None
}

# What `parley bench` without a part measures, in the words of its messages.
STEP, HOURS, SHAPES, SIMULATE = "a BUNDLE alone", "--hours", "--shapes", "--simulate"
CHOOSERS = (SIMULATE, SHAPES, HOURS)  # also the option that picks it; STEP where there is none
SESSIONS, RUNS = (STEP, HOURS), (STEP, HOURS, SHAPES)
# Option -> the measurements that it changes; the others refuse it.
APPLIES: dict[str, tuple[str, ...]] = {
    "BUNDLE": (STEP, HOURS, SIMULATE),
    "--seconds": (STEP,),
    "--in": SESSIONS,
    "--mode": SESSIONS,
    "--seed": SESSIONS,
    "--overlap": SESSIONS,
    "--hours": (HOURS,),
    "--plot": (HOURS,),
    "--shapes": (SHAPES,),
    "--backbone": (SHAPES,),
    "--graphs": (SHAPES,),
    "--stages": (SHAPES,),
    "--chunks": (SHAPES,),
    "--tries": (SHAPES,),
    "--cache": (SHAPES,),
    "--simulate": (SIMULATE,),
    "--device": RUNS,
    "--threads": RUNS,
    "--kv": RUNS,
}
NANO = "nano"  # the BUNDLE where none is named
DESTINATIONS = {"BUNDLE": "bundle", "--in": "recording"}

EXAMPLES = """\
Measures what steps cost: milliseconds per chunk of 160 ms, in all and by stage, the real-time
factor (seconds of work per second of audio: below 1 keeps up) and the peak of memory. The input is
a recorded user, over and over, or a recording by --in. In turns, every turn is followed by its
reply.

examples:
  parley bench nano
  parley bench my.bundle --seconds 60 --mode turns --threads 2
  parley bench my.bundle --json | jq .speaking.p95_ms
  parley bench nano --hours 1 --plot flat.png
  parley bench --shapes full --backbone q4_k_m
  parley bench --simulate all
  parley bench my.bundle --simulate 200GB/s,20TF

JSON: rtf; step, speaking, speaking_cpu (processor time) {p50_ms, p95_ms, p99_ms}; stages {name:
the same, of the steps in which it ran}; bottleneck {name: share of the steps that it bounded};
peak_memory_mb; seconds, speaking_seconds, mode, overlap, bundle, device; machine, versions,
command.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = EXAMPLES
    rows = [f"  parley bench {name:9s} {SUMMARIES[name]}" for name in PARTS]
    told = "\n".join(["measurements of one part (--help after the word explains it):", *rows])
    parser.epilog = f"{told}\n\n{errors.EXIT_CODES_HELP}"
    parser.add_argument(
        "bundle",
        metavar="BUNDLE",
        nargs="?",
        help="folder that `parley export` wrote, or a name (see PARLEY_BUNDLES); default: nano, "
        "for --simulate the published sizes",
    )
    step.add_arguments(parser)
    hour.add_arguments(parser)
    full.add_arguments(parser)
    simulate.add_arguments(parser)
    options.add_machine(parser)
    options.add_cache(parser)
    options.add_json(parser, "the result")
    # An option that is not given stays None until settle() knows that it was not.
    names = [_destination(option) for option in APPLIES]
    defaults: dict[str, Any] = {name: parser.get_default(name) for name in names}
    parser.set_defaults(defaults=defaults, usage=parser.error, **dict.fromkeys(names))


def run(args: argparse.Namespace) -> int:
    measurement = settle(args)
    if measurement == SIMULATE:
        return simulate.run(args)
    if measurement == SHAPES:
        return full.run(args)
    args.bundle = args.bundle or NANO
    return step.run(args) if measurement == STEP else hour.run(args)


def settle(args: argparse.Namespace) -> str:
    """What to measure; ends with wrong usage where an option is not for it, fills in the rest."""
    given = [option for option in APPLIES if getattr(args, _destination(option)) is not None]
    chosen = next((one for one in CHOOSERS if one in given), STEP)
    for option in given:
        if chosen in APPLIES[option]:
            continue
        if option in (*CHOOSERS, "BUNDLE"):
            args.usage(f"expected {option} or {chosen}, got both")
        args.usage(f"expected {option} with {' or '.join(APPLIES[option])}, got it with {chosen}")
    for name, value in args.defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return chosen


def _destination(option: str) -> str:
    return DESTINATIONS.get(option, option.removeprefix("--"))

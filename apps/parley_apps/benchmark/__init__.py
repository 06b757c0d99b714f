"""`parley bench`: what a chunk costs; picks the measurement, knows no model."""

from __future__ import annotations

import argparse
import importlib.util

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
the same, of the steps in which it ran}; binding {name: share of the steps that it bounded};
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
        help="folder that `parley export` wrote, or a name (see PARLEY_BUNDLES)",
    )
    step.add_arguments(parser)
    hour.add_arguments(parser)
    full.add_arguments(parser)
    simulate.add_arguments(parser)
    options.add_machine(parser)
    options.add_cache(parser)
    options.add_json(parser, "the result")
    parser.set_defaults(usage=parser.error)


def run(args: argparse.Namespace) -> int:
    if args.simulate is not None:
        return simulate.run(args)
    if args.shapes is not None:
        if args.bundle is not None:
            args.usage("expected --shapes or a BUNDLE, got both")
        return full.run(args)
    if args.bundle is None:
        args.usage("expected a BUNDLE, --shapes or --simulate, got none of them")
    return step.run(args) if args.hours is None else hour.run(args)

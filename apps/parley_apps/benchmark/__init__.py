"""`parley bench`: what a chunk costs; picks the measurement, knows no model."""

from __future__ import annotations

import argparse
import importlib.util

from parley_apps.benchmark import step

# Word after `parley bench` -> what it measures. Each is a module of this package with
# add_arguments(parser) and run(args) -> exit code; any other word is a bundle.
SUMMARIES = {
    "flow": "the flow decoder: cost and distance of its settings",
    "vocoder": "the vocoder: cost and error of its look-ahead",
    "backbone": "the backbone: tokens per second beside llama.cpp's own loop",
    "kernels": "single operations beside the graphs that they replace",
}
PARTS = {
    name: f"{__name__}.{name}"
    for name in SUMMARIES
    if importlib.util.find_spec(f"{__name__}.{name}") is not None
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    step.add_arguments(parser)
    if PARTS:
        rows = [f"  parley bench {name:9s} {SUMMARIES[name]}" for name in PARTS]
        told = "\n".join(["measurements of one part (--help after the word explains it):", *rows])
        parser.epilog = f"{told}\n\n{parser.epilog}"


run = step.run

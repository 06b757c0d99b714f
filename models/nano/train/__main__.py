"""`python -m train STEP`, from models/nano: one step of the recipe; knows no step's work."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# Step -> its module in this package, which has add_arguments(parser) and run(args).
STEPS = {
    "recipe": "everything below that makes the bundle, in order",
    "assets": "other people's weights and recordings, by package, version and hash",
    "bank": "the recordings and labels that all trainings read",
    "check": "minutes of checks before hours of training",
    "distill": "a published Whisper encoder becomes chunk-streaming",
    "read_check": "what tiny.en's decoder reads from an encoder's frames",
    "listen": "encoder, adapter and backbone (--stage A, B, C)",
    "whole_turns": "a half-duplex sister of the shipped weights",
    "rollout": "a quick look at a listening model, without teacher",
    "vocoder": "latents to samples",
    "flow": "audio codes to latents",
    "scenarios": "held-out scenarios for `parley eval duplex`",
    "demo": "the recording that `make demo` answers",
    "assemble": "the checkpoint that `parley export` reads",
}


def main(arguments: list[str] | None = None) -> int:
    """Parse and run one step."""
    words = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="python -m train")
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    for name, text in STEPS.items():
        steps.add_parser(name, help=text, add_help=name not in words)
    if not words or words[0] not in STEPS:
        parser.parse_args(words)
    sys.path.insert(0, str(ROOT / "export"))  # where parley is not installed
    step = importlib.import_module(f"train.{words[0]}")
    if not hasattr(step, "add_arguments"):
        return step.main(words[1:])
    inner = argparse.ArgumentParser(prog=f"python -m train {words[0]}", description=step.__doc__)
    step.add_arguments(inner)
    step.run(inner.parse_args(words[1:]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The whole recipe, from synthesizers to bundle: runs the other steps in order; trains nothing.

What is finished is not done again, so after a stop the same command goes on. Two trainings run at a
time, each on one core: what hears and thinks (distill, listen A, B, C) beside the voice (flow,
vocoder).
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from train.synthesis import Espeak, Flite, SynthesisError

NANO = Path(__file__).resolve().parent.parent
ROOT = NANO.parents[1]
CHECKPOINT = ROOT / "build/nano/checkpoint"
BUNDLE = NANO / "bundle"
PACKAGES = "espeak-ng libflite1"
PLAN = """\
nano: packages with weights and voices (200 MB), the bank (two hours on a free core, nearly all of
them the neural voices'), then two trainings at a time, {minutes:.0f} minutes on two free cores,
then the export. Every training says how long it has left and saves every two minutes; stop whenever
you like, and run the same command to go on."""

Command = list[str]


def step(*words: str) -> Command:
    """One step of this package."""
    return [sys.executable, "-u", "-m", "train", *words]


def chains(
    distill: float, listen: dict[str, float], flow: float, vocoder: float
) -> tuple[list[Command], ...]:
    """The trainings, for so many minutes each; those of one list need one another."""
    stages = [step("distill", "--minutes", f"{distill:g}")]
    stages += [
        step("listen", "--stage", name, "--minutes", f"{minutes:g}")
        for name, minutes in listen.items()
    ]
    # Half of what the vocoder hears are latents of the finished flow.
    voice = [
        step("flow", "--minutes", f"{flow:g}"),
        step("vocoder", "--minutes", f"{vocoder:g}", "--predict"),
    ]
    return stages, voice


def export_commands(bundle: Path) -> list[Command]:
    """From the trainings to the bundle."""
    export = [sys.executable, "-m", "parley_apps", "export", str(CHECKPOINT), "--duplex"]
    export += ["--backbone", "q8_0", "--graphs", "f16", "--out", str(bundle), "--force"]
    return [step("assemble", "--out", str(CHECKPOINT)), export]


def run_all(commands: Iterable[Command]) -> None:
    """Runs commands one after the other; raises CalledProcessError for the first that fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for command in commands:
        subprocess.run(command, cwd=NANO, env=environment, check=True)


def check_synthesizers() -> None:
    """Raises SynthesisError that ends with a line to paste."""
    try:
        Espeak()
        Flite()
    except SynthesisError as error:
        raise SynthesisError(
            f"{error}. Paste this line, then run the command again:\n"
            f"  sudo apt-get update && sudo apt-get install -y {PACKAGES}"
        ) from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `python -m train recipe`."""
    parser.add_argument(
        "--share", type=float, default=1.0, help="of the usual minutes, to try the way (0.02)"
    )
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help="the bundle to write")


def run(args: argparse.Namespace) -> None:
    """The step `recipe`."""
    from train.distill import MINUTES as DISTILL
    from train.listen import STAGES

    try:
        check_synthesizers()
    except SynthesisError as error:
        sys.exit(str(error))
    share = args.share
    listen = {name: stage.minutes * share for name, stage in STAGES.items()}
    distill, flow, vocoder = (minutes * share for minutes in (DISTILL, 30, 55))
    longest = max(distill + sum(listen.values()), flow + vocoder)
    print(PLAN.format(minutes=longest), flush=True)
    try:
        run_all([step("assets"), step("bank"), step("check")])
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(run_all, chains(distill, listen, flow, vocoder)))
        run_all(export_commands(args.bundle))
    except subprocess.CalledProcessError as error:
        sys.exit(f"[recipe.run] expected success, got: {error}; mend what it says, then run again")

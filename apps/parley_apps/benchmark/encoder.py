"""`parley bench encoder`: turns encoded without their silence, beside whole segments."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parley_apps import errors, machine, options
from parley_apps.benchmark.shapes.stage import Times, clocked
from parley_apps.benchmark.step import RECORDING
from parley_apps.progress import Progress

if TYPE_CHECKING:
    import parley
    from parley.events import Floats

LENGTHS_S = (2.0, 5.0, 10.0, 20.0)
FORMS = {"whole": False, "short": True}  # -> short_segments

EXAMPLES = """\
Measures what the setting short_segments does to a turn that fills no segment (30 s as published):
encoded without the silence that fills it up, beside the whole segment.
  ms         from the turn's end to its features: front end and encoder, median
  ratio      processor time of the whole segment over that of the short one
  distance   root mean square of the features' difference over that of the whole segment's features
  variation  the same over their deviation from their mean over time, which is what tells words
The user is a recording, over and over, cut to each length. Both forms take turns, so that a busy
machine slows both. The bundle's own setting does not matter; it must hold the mode turns.

Log-mel frames are the same in both forms, so features differ only because attention sees no silence
behind the turn. How much that changes depends on the weights: random ones tell nothing of others.

examples:
  parley bench encoder my.bundle
  parley bench encoder my.bundle --seconds 3,8 --in user.wav --tries 9 --threads 1
  parley bench encoder my.bundle --json | jq '.lengths[] | {seconds, distance}'

JSON: lengths [{seconds, features, distance, variation, ratio, whole, short {ms, cpu_ms}}]; tries,
bundle, device, machine, versions, command.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = EXAMPLES
    parser.epilog = errors.EXIT_CODES_HELP
    options.add_bundle(parser)
    add = parser.add_argument
    add(
        "--seconds",
        type=_lengths,
        default=LENGTHS_S,
        metavar="LIST",
        help=f"lengths of the turn (default: {','.join(f'{s:g}' for s in LENGTHS_S)})",
    )
    add("--in", dest="recording", type=Path, metavar="WAV", help="a recording of the user")
    add(
        "--tries",
        type=options.count,
        default=5,
        metavar="N",
        help="of each form and length (default: 5)",
    )
    options.add_machine(parser)
    options.add_json(parser, "the result")


def _lengths(text: str) -> tuple[float, ...]:
    try:
        return tuple(options.positive(part) for part in text.split(","))
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, in {text}") from error


def run(args: argparse.Namespace) -> int:
    import parley

    recording = parley.read_audio(args.recording or RECORDING)
    with options.open_bundle(args) as bundle:
        check(bundle, args.seconds)
        samples = bundle.resample(*recording)
        result = measure(bundle, samples, args.seconds, args.tries)
    result |= {
        "device": args.device,
        **machine.circumstances(),
    }
    print(json.dumps(result) if args.json else "\n".join(lines(result)))
    return 0


def check(bundle: parley.Bundle, lengths: tuple[float, ...]) -> None:
    """Raises InputError where the bundle takes no turns, or a turn is longer than a segment."""
    import parley

    if bundle.manifest["turns"] is None:
        raise parley.InputError(
            f"[bench.encoder] expected a bundle that takes turns, got {bundle.name}, which is for "
            "duplex alone: it hears chunk by chunk and has no segments; measure one with mode "
            "turns, such as an export of the published weights"
        )
    segment_s = bundle.manifest["front_end"]["segment_samples"] / bundle.rate
    if max(lengths) > segment_s:
        raise parley.InputError(
            f"[bench.encoder] expected --seconds up to {segment_s:g}, a whole segment, got "
            f"{max(lengths):g}; leave it out, since only the last segment of a turn is shorter"
        )


def measure(
    bundle: parley.Bundle, samples: Floats, lengths: tuple[float, ...], tries: int
) -> dict[str, Any]:
    """One row per length, from turns that are `samples` over and over."""
    bench, progress = bundle.workbench(), Progress()
    rows = []
    for seconds in lengths:
        turn = np.resize(samples, round(seconds * bundle.rate))
        encode = {
            form: partial(bench.turn_features, turn, short_segments=short)
            for form, short in FORMS.items()
        }
        features = {form: run() for form, run in encode.items()}  # warms up, too
        times = {form: Times() for form in FORMS}
        for n in range(tries):
            progress.update(f"{seconds:g} s: try {n + 1} of {tries}")
            for form, run in encode.items():
                times[form].add(clocked(run))
        rows.append({"seconds": seconds, **compare(**features), **costs(times)})
    progress.done()
    return {"bundle": bundle.name, "tries": tries, "lengths": rows}


def compare(whole: Floats, short: Floats) -> dict[str, float]:
    """Distances of features [n, width]."""
    wanted = whole.astype(np.float64)
    off = rms(short - wanted)
    still = rms(wanted - wanted.mean(0))
    return {
        "features": len(wanted),
        "distance": off / rms(wanted),
        "variation": off / still if still > 0 else 0.0,
    }


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean()))


def costs(times: dict[str, Times]) -> dict[str, Any]:
    rows = {
        form: {"ms": float(np.median(t.wall_ms)), "cpu_ms": float(np.median(t.cpu_ms))}
        for form, t in times.items()
    }
    return {**rows, "ratio": rows["whole"]["cpu_ms"] / rows["short"]["cpu_ms"]}


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The table for people."""
    what = result["machine"]
    yield f"{result['bundle']}: {what['cpu']}, {what['cores']} cores, on {result['device']}"
    yield f"turns encoded with the silence behind them and without; median of {result['tries']}"
    yield f"{'turn':>6s}{'ms whole':>11s}{'ms short':>11s}{'ratio':>8s}{'distance':>11s}" + (
        f"{'variation':>11s}"
    )
    for row in result["lengths"]:
        yield (
            f"{row['seconds']:4g} s{row['whole']['ms']:11.1f}{row['short']['ms']:11.1f}"
            f"{row['ratio']:8.1f}{row['distance']:11.3f}{row['variation']:11.3f}"
        )

"""`parley verify`: every stage of the engine against golden numbers; knows none of their keys."""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from parley_apps import errors, inside, options
from parley_apps.golden import Row
from parley_apps.golden_stages import compare_all
from parley_apps.progress import Progress

RECORDINGS = ("question_a.wav", "question_b.wav")
# what NumPy raises for files that are damaged or something else
_UNREADABLE = (OSError, ValueError, EOFError, AttributeError, TypeError, BadZipFile, zlib.error)

EXAMPLES = """\
Runs every stage through the engine and compares it with golden numbers that the published code
gave. The ids of the prompts are the golden file's. The recordings are looked for beside the golden
file (question_a.wav and question_b.wav there or in ../audio), or given by --audio. Numbers that
need a recording which is not there are skipped and said so. Use a bundle in float32 (`parley
export --backbone f32`): a quantized one differs, and how much is what this command then tells.

examples:
  parley verify my.bundle --golden golden.npz
  parley verify my.bundle --golden golden.npz --audio a.wav b.wav --json

With --golden and --checkpoint the bundle's files run outside of the engine, in ONNX Runtime and
llama.cpp, for a family that has no engine side yet or to tell the exporter's doing from the
engine's. The checkpoint's modules give what no file of the bundle gives out.

  parley verify my.bundle --golden golden.npz --checkpoint CHECKPOINT

With --inside STAGE, the stage's graphs run on made-up inputs instead, and every value that a layer
of them gives is compared with what the checkpoint's PyTorch module gives there: the table says
where the two part first. Needs parley[export] and the checkpoint.

  parley verify my.bundle --inside vocoder --checkpoint CHECKPOINT
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = EXAMPLES
    parser.epilog = errors.EXIT_CODES_HELP
    options.add_bundle(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--golden", type=Path, metavar="F.NPZ", help="the golden numbers")
    what.add_argument(
        "--inside",
        metavar="STAGE",
        help="look into a graph, or into all whose names begin so: encoder, flow, vocoder, ...",
    )
    parser.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="what the bundle was made from"
    )
    parser.add_argument(
        "--audio",
        nargs="+",
        type=Path,
        default=None,
        metavar="WAV",
        help="recordings of the first and the second turn",
    )
    options.add_machine(parser)
    options.add_json(parser, "the table")
    parser.set_defaults(usage=parser.error)


def run(args: argparse.Namespace) -> int:
    if args.inside is not None and args.checkpoint is None:
        args.usage("expected --checkpoint with --inside, got none")
    if args.inside is not None:
        return inside.run(args)
    progress = Progress()
    golden = load_golden(args.golden)
    if args.checkpoint is not None:
        rows = _told(progress, inside.compare_files(args.bundle, args.checkpoint, golden))
    else:
        recordings = find_recordings(args.golden, args.audio)
        progress.say(f"opening {args.bundle}")
        with options.open_bundle(args, kv="f32") as bundle:
            rows = _told(progress, compare_all(bundle, golden, recordings))
    compared = [row for row in rows if row.figure is not None]
    if not compared:
        _nothing_compared(args.golden)
    passed = all(row.passed for row in compared)
    worst = max(compared, key=lambda row: (not row.passed, row.strain))
    _print(rows, worst, passed, args)
    return errors.OK if passed else errors.DIFFERS


def _told(progress: Progress, rows: Iterator[Row]) -> list[Row]:
    """All of them, each told as it comes."""
    told = []
    for row in rows:
        progress.update(f"compared {row.stage}")
        told.append(row)
    progress.done()
    return told


def load_golden(path: Path) -> dict[str, Any]:
    """Arrays of a golden file by key. Raises InputError for any other file; runs no pickle."""
    from parley import InputError

    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except _UNREADABLE as error:
        raise InputError(
            f"[verify.read] expected a golden .npz file, got {path}: {error}; check the path"
        ) from error


def find_recordings(golden: Path, given: list[Path] | None) -> list[Path | None]:
    """The recordings of turn 1 and 2, None where there is none."""
    if given is not None:
        return [*given, None, None][:2]
    folders = (golden.parent, golden.parent / ".." / "audio", golden.parent / "audio")
    return [
        next((folder / name for folder in folders if (folder / name).is_file()), None)
        for name in RECORDINGS
    ]


def _nothing_compared(path: Path) -> None:
    from parley import InputError

    raise InputError(
        f"[verify.compare] expected at least one key to compare in {path}, got none that could "
        "be; give the recordings with --audio, or another golden file"
    )


def _print(rows: list[Row], worst: Row, passed: bool, args: argparse.Namespace) -> None:
    if args.json:
        table = [
            {
                "stage": row.stage,
                "metric": row.metric,
                "figure": _finite(row.figure),
                "tolerance": row.tolerance,
                "pass": None if row.figure is None else row.passed,
                "note": row.note,
            }
            for row in rows
        ]
        figure = _finite(worst.figure)
        worst_row = {"stage": worst.stage, "figure": figure, "tolerance": worst.tolerance}
        print(json.dumps({"pass": passed, "worst": worst_row, "rows": table}))
        return
    print(f"{'stage':24s} {'metric':10s} {'figure':>10s} {'tolerance':>10s}")
    for row in rows:
        shown = "-" if row.figure is None else f"{row.figure:.3g}"
        verdict = "skipped" if row.figure is None else "pass" if row.passed else "FAIL"
        note = f"  ({row.note})" if row.note else ""
        figures = f"{shown:>10s} {row.tolerance:>10g}"
        print(f"{row.stage:24s} {row.metric:10s} {figures}  {verdict}{note}")
    failed = sum(not row.passed for row in rows)
    print(f"worst: {worst.stage}, {worst.metric} {worst.figure:.3g} of {worst.tolerance:g}")
    print("all within the tolerances" if passed else f"{failed} of {len(rows)} differ")


def _finite(figure: float | None) -> float | None:
    """JSON knows neither infinity nor NaN; 999 dB stands for equal waves."""
    if figure is None or np.isnan(figure):
        return None
    return float(np.clip(figure, -999.0, 999.0)) if np.isinf(figure) else float(figure)

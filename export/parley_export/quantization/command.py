"""The command `parley quantize`: arguments and words; the work is quantizer.py's."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from parley_export.progress import size
from parley_export.quantization.quantizer import Mix, Report, quantize_bundle
from parley_export.quantization.types import DECODERS, DESCRIPTION, KEEP, STAGES, TYPES
from parley_export.quantize import FILE_TYPES

EXAMPLES = f"""\
Makes a smaller bundle from a bundle; needs no checkpoint and no torch.

{DESCRIPTION}
types of the backbone, and of a head's decoder: {", ".join(FILE_TYPES)},
from f32, f16 or q8_0

RUNS is a recording or a folder of recordings of what users say to the model. They are played to
the bundle through its own chunk loop; nothing of them is kept but their number and hash. --imatrix
gives llama.cpp's quantizer the importance of the backbone's columns in these conversations.

examples:
  parley quantize my.bundle --out small.bundle --encoder int8 --flow int8 --backbone q4_k_m
  parley quantize my.bundle --out small.bundle --vocoder int8_static --calibrate recordings
  parley quantize my.bundle --out small.bundle --backbone q3_k_m --imatrix recordings

`parley eval quantization` says what it costs.

JSON: bundle, source, mix, bytes, source_bytes, seconds, stages {{stage: {{type, bytes,
source_bytes}}}}, nodes {{graph: {{what: count}}}}, weakest_weight {{graph: [name, dB]}},
calibration."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments and help texts to a parser."""
    parser.description = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's folder, or its name")
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="to create")
    for stage in STAGES:
        parser.add_argument(
            f"--{stage}", default=KEEP, metavar="TYPE", help=f"one of {', '.join(TYPES)}"
        )
    for decoder in DECODERS:
        parser.add_argument(f"--{decoder}", default=KEEP, metavar="TYPE", help="of llama.cpp's")
    parser.add_argument("--calibrate", type=Path, metavar="RUNS", help="recordings for graphs")
    parser.add_argument("--imatrix", type=Path, metavar="RUNS", help="recordings for the backbone")
    parser.add_argument("--force", action="store_true", help="replace an existing bundle")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Quantizes as `args` say; raises what quantize_bundle raises."""
    from parley.bundle_folders import find_bundle

    mix = Mix(
        **{stage: getattr(args, stage) for stage in (*STAGES, *DECODERS)},
        calibrate=args.calibrate,
        imatrix=args.imatrix,
    )
    report = quantize_bundle(find_bundle(args.bundle), args.out, mix, force=args.force)
    if args.json:
        print(json.dumps(report.as_dict(), indent=1))
    else:
        print("\n".join(lines(report)), file=sys.stderr)
    return 0


def lines(report: Report) -> Iterator[str]:
    """The report for people."""
    share = 100 * report.bytes / report.source_bytes
    yield (
        f"wrote {report.bundle}: {size(report.bytes)}, {share:.0f} % of "
        f"{size(report.source_bytes)}, in {report.seconds:.0f} s"
    )
    for stage, told in report.stages.items():
        was, now = told["source_bytes"], told["bytes"]
        larger = ", larger than before" if now > was else ""
        yield f"  {stage:9s} {told['type']:12s} {size(now):>9s} (was {size(was)}{larger})"
    for graph, counts in report.nodes.items():
        yield f"  {graph}: " + ", ".join(f"{n} {what}" for what, n in counts.items())
    if report.calibration:
        yield f"  recordings: {report.calibration}"

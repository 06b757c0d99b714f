"""`parley eval quantization`: one checkpoint in several precisions, judged by its behaviour."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parley_apps import machine, options
from parley_apps.evaluation import comparison, runs
from parley_apps.evaluation.scenarios import Scenario, load_scenarios
from parley_apps.progress import Progress

TYPES = "f32,f16,q8_0,q6_k,q5_k_m,q4_k_m,q4_0,q3_k_m,q2_k"  # parley_export.quantize.PRECISIONS
GRAPHS = ("f32", "f16")
CACHES = ("f16", "q8_0", "f32")
LIMIT = 100  # scenarios per kind and split

EXAMPLES = f"""\
Exports a checkpoint once per type of its backbone's weights, holds the same conversations with
each, and prints one Markdown table: what quantization breaks, turn-taking or text, and when. The
first type is what the others are compared with, scenario by scenario.

Bundles and results stay in the work folder: what is there is not done again, so a run that was
stopped goes on, and types can be added later. Empty it after a change of checkpoint or scenarios.

types of the backbone's weights: {TYPES}
A name may add the type of the other models: q8_0+f16 (default: +f32), and of the KV cache:
q8_0+f32+q8_0 (default: +f16).

examples:
  parley eval quantization CHECKPOINT --scenarios scenarios --work quantized
  parley eval quantization CHECKPOINT --scenarios scenarios --work quantized \\
      --types f32,q8_0,q4_k_m,q4_k_m+f16,q4_k_m+f32+q8_0 --limit 300

JSON: reference; rows: [{{name, megabytes, behaviour, exact, word_error_rate, decisions {{worse,
better, p}}, replies}}]; broken; machine, versions, command."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = EXAMPLES
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="what `parley export` reads")
    parser.add_argument("--scenarios", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--work", type=Path, required=True, metavar="DIR", help="for bundles and results"
    )
    parser.add_argument(
        "--types", type=_types, default=_types(TYPES), metavar="A,B,...", help="see above"
    )
    parser.add_argument(
        "--limit",
        type=options.natural,
        default=LIMIT,
        metavar="N",
        help=f"at most N scenarios per kind and split, by chance (default: {LIMIT})",
    )
    parser.add_argument("--seed", type=options.natural, default=0, metavar="N", help="default: 0")
    parser.add_argument(
        "--workers", type=options.natural, default=2, metavar="N", help="default: 2"
    )
    options.add_json(parser, "the table")


def run(args: argparse.Namespace) -> int:
    _check_checkpoint(args.checkpoint)
    scenarios = [s for s in load_scenarios(args.scenarios) if s.kind not in ("noise", "long")]
    scenarios = runs.choose(scenarios, max(1, args.limit), args.seed)
    args.work.mkdir(parents=True, exist_ok=True)
    progress = Progress()
    results, sizes = {}, {}
    for name in args.types:
        bundle = _export(args, name, progress)
        results[name] = _result(args, name, bundle, scenarios, progress)
        sizes[name] = (bundle / "backbone.gguf").stat().st_size
    table = comparison.compare(results, sizes)
    about = {
        **machine.circumstances(),
    }
    if args.json:
        print(json.dumps({**table, **about}))
    else:
        print("\n".join(comparison.lines(table)))
    return 0


def _check_checkpoint(checkpoint: str) -> None:
    """Tells at once, and once, what every export would tell; a repository is for them to fetch."""
    from parley_export import hub
    from parley_export.folder import check_folder

    if not hub.is_repository(checkpoint):
        check_folder(Path(checkpoint))


def _export(args: argparse.Namespace, name: str, progress: Progress) -> Path:
    """The bundle of this name, made where it is not there. Its KV cache is no part of it."""
    backbone, graphs, _ = _parts(name)
    bundle = Path(args.work) / f"{backbone}+{graphs}"
    if (bundle / "manifest.json").is_file():
        return bundle
    progress.say(f"exporting {bundle}")
    command = [sys.executable, "-m", "parley_export", args.checkpoint, "--out", str(bundle)]
    command += ["--backbone", backbone, "--graphs", graphs, "--duplex", "--force", "--yes"]
    # A process of its own: the memory of an export goes with it.
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        from parley import BundleError

        raise BundleError(
            f"[quantization.export] expected a bundle of type {name}, got: "
            f"{done.stderr.strip()[-500:]}; leave this type out, or mend what it says"
        )
    return bundle


def _result(
    args: argparse.Namespace,
    name: str,
    bundle: Path,
    scenarios: Sequence[Scenario],
    progress: Progress,
) -> dict[str, Any]:
    """What `evaluate` gives for a type, from its file where it was already held."""
    import parley
    from parley.files import write_atomically

    path = Path(args.work) / f"{name}.json"
    asked = {"scenarios": [s.name for s in scenarios], "seed": args.seed}
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if found["asked"] == asked:
            return found
    progress.say(f"conversations with {name}")
    with parley.open(bundle, threads=1, kv=_parts(name)[2]) as opened:
        result = runs.evaluate(
            opened, scenarios, seed=args.seed, workers=max(1, args.workers), tell=progress.update
        )
    progress.done()
    result = {**result, "asked": asked}
    write_atomically({path: json.dumps(result).encode()})
    return result


def _parts(name: str) -> list[Any]:
    """Types of backbone, of the other models and of the KV cache."""
    parts = name.split("+")
    return parts + [TYPES, GRAPHS[0], CACHES[0]][len(parts) :]


def _types(value: str) -> list[str]:
    """An argparse type: names of TYPES, separated by commas."""
    names = value.split(",")
    for name in names:
        parts = _parts(name)
        choices = (TYPES.split(","), GRAPHS, CACHES)
        if len(parts) != 3 or any(p not in c for p, c in zip(parts, choices, strict=True)):
            raise argparse.ArgumentTypeError(
                f"expected types such as q8_0, q8_0+f16 or q8_0+f32+q8_0, got {name!r}"
            )
    return names

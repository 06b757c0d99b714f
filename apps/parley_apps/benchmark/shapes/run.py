"""`parley bench shapes`: the published shapes with random weights, stage by stage.

Each stage runs in a process of its own, on a bundle that holds that stage in full and the others
small. Upstream's way is done by the same engine with the same kernels.
"""

from __future__ import annotations

import argparse
import errno
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from parley_apps import errors, machine, options
from parley_apps.benchmark.model import bound, cost, sizes
from parley_apps.benchmark.model.cost import CHUNK_S, Cost, Way
from parley_apps.benchmark.shapes.stage import (
    BRANCHES,
    EVALUATIONS,
    PROMPT_AND_CHUNK,
    VOCODER_WINDOW,
    Task,
)
from parley_apps.benchmark.shapes.table import lines
from parley_export.work import Works

CACHE = Path("~/.cache/parley/shapes")
STAGES = ("encoder", "backbone", "flow", "vocoder")
# Runs of upstream's way that one chunk needs, and what a run is.
UPSTREAM_RUNS = {"encoder": 1, "backbone": cost.POSITIONS, "flow": EVALUATIONS, "vocoder": 1}
# What else a stage is measured with: the settings that the design promises ratios for.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "flow": (
        "flow, look-ahead 0",
        {
            "flow": {
                "mode": "cached",
                "solver": "midpoint",
                "spacing": "linear",
                "points": EVALUATIONS // 2 + 1,
                "guided_evaluations": EVALUATIONS,
                "prompt_codes": 0,
                "lookahead_codes": 0,
            }
        },
    ),
    "vocoder": ("vocoder, exact", {"lookahead": 13}),
}
# Stages whose upstream's way also runs on a bundle without fused operators.
PLAIN = {"vocoder": "vocoder-plain"}
UPSTREAM_WORDS = {
    "encoder": "a fresh 30 s window",
    "backbone": f"{cost.POSITIONS} passes, one per position",
    "flow": f"prompt and chunk anew: {PROMPT_AND_CHUNK} latent frames, {BRANCHES} branches, "
    f"{EVALUATIONS} evaluations",
    "vocoder": f"its window of {VOCODER_WINDOW} latent frames anew",
}


EXAMPLES = """\
Measures each stage of the published shapes with random weights, in a process of its own, beside
what this machine's memory and arithmetic allow, and beside upstream's way of doing it on the same
engine with the same kernels. Needs parley[export]; keeps its bundles.

examples:
  parley bench shapes --backbone q4_k_m
  parley bench shapes --stages flow,vocoder --chunks 12 --threads 1

JSON: stages {name: {ms, cpu_ms, bytes, flops, bound_ms, percent_of_bound, upstream, ratio, ...}};
sum_ms, rtf, upstream_sum_ms, ratio; bound; family, backbone, graphs, device, kv, threads; machine,
versions, command.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = EXAMPLES
    parser.epilog = errors.EXIT_CODES_HELP
    add = parser.add_argument
    add("--family", metavar="NAME", help="whose shapes (default: the first that is known)")
    add(
        "--backbone",
        choices=["q4_k_m"],
        default="q4_k_m",
        help="type of the backbone's weights (default: q4_k_m)",
    )
    add("--graphs", choices=["f32", "f16"], default="f32", help="of the others (default: f32)")
    add(
        "--stages",
        metavar="LIST",
        type=_stages,
        default=STAGES,
        help=f"some of {','.join(STAGES)} (default: all)",
    )
    add("--chunks", type=options.count, default=24, metavar="N", help="per stage (default: 24)")
    add(
        "--tries",
        type=options.count,
        default=3,
        metavar="N",
        help="runs of upstream's way, which for the flow decoder is one evaluation (default: 3)",
    )
    add(
        "--cache",
        type=Path,
        default=CACHE,
        metavar="DIR",
        help=f"where the bundles are kept, 12 GB (default: {CACHE})",
    )
    options.add_machine(parser)
    options.add_cache(parser)
    options.add_json(parser, "the result")


def _stages(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if not set(names) <= set(STAGES):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(STAGES)}, got {text}")
    return names


def run(args: argparse.Namespace) -> int:
    threads = args.threads or machine.usable_cores()
    limits = None
    if args.device == "cpu":
        _say("measuring memory and arithmetic of this machine")
        limits = bound.measure(threads)
    folders = make_bundles(args, limits)
    rows = {}
    for label, stage, task in tasks(args, folders, threads):
        _say(f"measuring {label}: {args.chunks} chunks")
        rows[label] = row(stage, folders[stage], measure_apart(task), limits, task)
    result = {
        "family": args.family,
        "backbone": args.backbone,
        "graphs": args.graphs,
        "device": args.device,
        "kv": args.kv,
        "threads": threads,
        "bound": limits,
        "stages": rows,
        **total({label: row for label, row in rows.items() if label in STAGES}),
        **machine.circumstances(),
    }
    print(json.dumps(result) if args.json else "\n".join(lines(result)))
    return 0


def tasks(
    args: argparse.Namespace, folders: dict[str, Path], threads: int
) -> Iterator[tuple[str, str, Task]]:
    """Label, stage and task of every row, a stage's own settings first."""
    for stage in args.stages:
        plain = str(folders[PLAIN[stage]]) if stage in PLAIN else ""
        task = Task(
            str(folders[stage]),
            stage,
            threads,
            args.chunks,
            args.tries,
            plain,
            device=args.device,
            kv=args.kv,
        )
        yield stage, stage, task
        if stage in VARIANTS:
            label, changed = VARIANTS[stage]
            yield label, stage, replace(task, **changed)


def make_bundles(args: argparse.Namespace, limits: dict[str, Any] | None) -> dict[str, Path]:
    """Stage -> folder of its bundle; says what making and measuring takes, then makes them.

    `limits` of this machine are what the time of measuring is guessed from; None for no guess.
    Raises OSError before anything is made where all of them together don't fit on the disk.
    """
    try:
        from parley_export import families, shapes
        from parley_export.exporter import SPARE_BYTES
        from parley_export.progress import MemoryWatch, clock, size
    except ImportError as error:
        raise ImportError(
            f"[bench.shapes] expected the packages of the exporter, got no {error.name}; "
            "run `pip install 'parley[export]'`"
        ) from error
    cache = args.cache.expanduser()
    wanted = [*args.stages, *(PLAIN[stage] for stage in args.stages if stage in PLAIN)]
    args.family = args.family or next(iter(families.FAMILIES))
    if args.family not in families.FAMILIES:
        from parley import InputError

        raise InputError(
            f"[bench.shapes] expected one of the families {', '.join(families.FAMILIES)}, got "
            f"{args.family}; give --family another"
        )
    family = families.named(args.family)
    plans = shapes.plan(
        family, cache, wanted, family.settings(), backbone=args.backbone, graphs=args.graphs
    )
    _say(f"bundles in {cache}, one per stage; what is finished is kept:")
    for line in shapes.describe(plans):
        _say(line)
    for old in shapes.left_over(family, cache):
        _say(f"  {old} is of another version and may be deleted")
    missing = [plan for plan in plans if not plan.done]
    took = f"making: {size(sum(p.bytes for p in missing))}, "
    took += f"about {clock(sum(p.seconds for p in missing))} minutes"
    if limits is not None:
        works = {plan.stage: plan.works for plan in plans}
        took += f"; measuring: about {clock(guess_seconds(args, limits, works))} minutes"
    _say(took)
    check_space(cache, sum(int(1.05 * p.bytes) + SPARE_BYTES for p in missing))
    for plan in plans:
        with MemoryWatch() as memory:
            shapes.make(plan, memory)
    return {plan.stage: plan.folder for plan in plans}


def check_space(cache: Path, needed: int) -> None:
    """Raises OSError (ENOSPC) where the disk of `cache` has less than `needed` bytes free."""
    there = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"[bench.shapes] expected {needed / 1e9:.1f} GB free on the disk of {cache} for all "
            f"bundles together, got {free / 1e9:.1f} GB; free space, name a folder on another "
            "disk with --cache, or measure fewer stages with --stages",
        )


def guess_seconds(
    args: argparse.Namespace, limits: dict[str, Any], works: Mapping[str, Works]
) -> float:
    """What measuring takes, roughly: half more than the machine's limits allow at least."""
    seconds = 0.0
    for stage in args.stages:
        found = sizes.of(works[stage])
        own, theirs = (cost.costs(found, way) for way in (cost.FAITHFUL, cost.UPSTREAM))
        runs = args.tries / UPSTREAM_RUNS[stage] * (2 if stage in PLAIN else 1)
        runs += stage == "flow"  # its voice is set up, which computes the prompt as often
        one = args.chunks * own[stage].seconds(*_rates(limits))
        one += runs * theirs[stage].seconds(*_rates(limits))
        seconds += one * (2 if stage in VARIANTS else 1)
    return 1.5 * seconds


def measure_apart(task: Task) -> dict[str, Any]:
    """stage.measure in a process of its own; raises LibraryError with its last words."""
    from parley import LibraryError

    command = [sys.executable, "-m", "parley_apps.benchmark.shapes.stage", json.dumps(asdict(task))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        words = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise LibraryError(
            f"[bench.measure] expected the {task.stage} to be measured, got exit code "
            f"{done.returncode} and: {words}; look whether memory suffices, or leave the stage "
            "out with --stages"
        )
    return dict(json.loads(done.stdout))


def row(
    stage: str, folder: Path, measured: dict[str, Any], limits: dict[str, Any] | None, task: Task
) -> dict[str, Any]:
    """What was measured, beside what the machine allows and what upstream's way costs."""
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    found = sizes.of_bundle(manifest)
    manifest["flow"] = measured.pop("flow")
    if task.lookahead is not None:
        manifest["vocoder"]["lookahead_frames"] = task.lookahead
    way = replace(cost.own_way(manifest), context=measured["position"], kv=task.kv)
    own = cost.costs(found, way)[stage]
    on_cpu = task.device == "cpu"
    compared = against_upstream(stage, measured, "upstream", on_cpu)
    theirs = cost.costs(found, upstream_way(way))[stage]
    plain = {}
    if measured["plain_runs_ms"]:
        plain = {"plain": against_upstream(stage, measured, "plain", on_cpu)}
    return {
        **measured,
        **plain,
        "settings": settings_of(stage, manifest),
        **against_bound(own, measured["ms"]["p50_ms"], limits),
        "upstream": {
            "what": UPSTREAM_WORDS[stage],
            "measured": f"median of {len(measured['upstream_runs_ms'])} x {UPSTREAM_RUNS[stage]}",
            "ms": compared["ms"],
            **against_bound(theirs, compared["ms"], limits),
        },
        "ratio": compared["ratio"],
        "cpu_ratio": compared["cpu_ratio"],
    }


def against_upstream(
    stage: str, measured: dict[str, Any], way: str, on_cpu: bool
) -> dict[str, Any]:
    """Milliseconds of a chunk done in another `way`, and ratios to ours: clock and processor.

    Processor time of a chunk is the step's, by the stage's share of its milliseconds. It tells
    nothing where another device does the work.
    """
    runs = UPSTREAM_RUNS[stage]
    ms = float(runs * statistics.median(measured[f"{way}_runs_ms"]))
    ratio: dict[str, Any] = {
        "ms": ms,
        "ratio": ms / measured["ms"]["p50_ms"],
        "cpu_ratio": None,
    }
    if on_cpu:
        cpu_ms = runs * statistics.median(measured[f"{way}_runs_cpu_ms"])
        ratio["cpu_ratio"] = cpu_ms / measured["cpu_ms"]["p50_ms"]
    return ratio


def settings_of(stage: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest's numbers that the cost of this stage depends on."""
    section = manifest.get(stage, {}) if stage in ("flow", "vocoder") else {}
    return {name: v for name, v in section.items() if isinstance(v, int | float | str)}


def upstream_way(own: Way) -> Way:
    """Upstream's loop with the bundle's own precisions and context."""
    return replace(
        own,
        encoder_frames=cost.SEGMENT_FRAMES,
        encoder_keys=0,
        passes=cost.POSITIONS,
        flow_frames=PROMPT_AND_CHUNK,
        flow_keys=0,
        evaluations=EVALUATIONS,
        guided=EVALUATIONS,
        modulation=True,
        vocoder_frames=VOCODER_WINDOW,
    )


def _rates(limits: dict[str, Any]) -> tuple[float, float]:
    """Bytes and FLOPs per second."""
    bandwidth = max(limits["read_gb_per_s"], limits["triad_gb_per_s"])
    return 1e9 * bandwidth, 1e9 * limits["gemm_gflops"]


def against_bound(moved: Cost, ms: float, limits: dict[str, Any] | None) -> dict[str, Any]:
    """Bytes, FLOPs; where limits are known, the least milliseconds, and how near `ms` comes."""
    sums = {"bytes": moved.n_bytes, "flops": moved.flops}
    if limits is None:
        return {**sums, "bound_ms": None, "binds": None, "percent_of_bound": None}
    rates = _rates(limits)
    least_ms = 1000 * moved.seconds(*rates)
    return {
        **sums,
        "bound_ms": least_ms,
        "binds": moved.binds(*rates),
        "percent_of_bound": 100 * least_ms / ms if ms > 0 else 0.0,
    }


def total(rows: dict[str, Any]) -> dict[str, Any]:
    """Sums over the measured stages, which run one after another."""
    own = sum(row["ms"]["p50_ms"] for row in rows.values())
    theirs = sum(row["upstream"]["ms"] for row in rows.values())
    return {
        "sum_ms": own,
        "rtf": own / 1000 / CHUNK_S,
        "upstream_sum_ms": theirs,
        "ratio": theirs / own if own else 0.0,
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

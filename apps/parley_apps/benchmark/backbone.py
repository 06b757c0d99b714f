"""`parley bench backbone`: our stage beside llama.cpp's own loop, draws, embedding rows, window."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from parley_apps import machine, options
from parley_apps.progress import Progress

EXAMPLES = """\
Measures the backbone on its own, by the engine's code, in one run:
- tokens per second of our stage (embedding row, pass, a draw with top-k, top-p and penalties) and
  of llama.cpp's own loop (llama_decode, nothing drawn) over the same file, in alternating blocks;
- what a draw costs, over this vocabulary and over the published one of 168,055 ids, and what the
  look-up of an embedding row costs, both as a share of a pass;
- with --window: what a chunk costs while old chunks are forgotten and while positions start over.
BUNDLE may be a GGUF file too. Processor time is what is compared where --threads is 1: a busy
machine disturbs it less than the clock on the wall.

examples:
  parley bench backbone nano
  parley bench backbone nano --kv q8_0 --json
  parley bench backbone nano --window
  parley bench backbone my.gguf --window --window-positions 2048 --prompt 100

JSON: ours, llama {wall_tokens_s, cpu_tokens_s}; ratio {wall, cpu} (ours over llama.cpp's);
draw {vocabulary, ms, share_of_pass} of three slots; embed {ms, share_of_pass}; window {listening,
speaking: {plain, evict, rebase: {n, p50_ms, p99_ms, over: {p50, p99}}}}, over being the ratio to
chunks of that state without; machine, versions, command.
"""

BLOCK = 8  # passes of one loop before the other's turn
PUBLISHED = 168_055
DRAWS = 300
FEWEST_NEIGHBOURS = 10  # to be compared with
PUBLISHED_TEXT = 151_643  # ids of text, the largest slot of a duplex plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from parley_apps import errors

    parser.description = EXAMPLES
    parser.epilog = errors.EXIT_CODES_HELP
    told = "a bundle's folder or name, or a .gguf; default: nano"
    parser.add_argument("bundle", metavar="BUNDLE", nargs="?", default="nano", help=told)
    for flag, default, what in (
        ("--passes", 400, "passes of each loop"),
        ("--depth", 128, "positions read before"),
        ("--chunks", 600, "chunks of the window"),
        ("--window-positions", None, "positions kept (default: the bundle's, else 1024)"),
        ("--context", None, "positions in all (default: the bundle's, else 2 windows)"),
        ("--prompt", None, "positions that stay (default: the bundle's, else 64)"),
    ):
        told = what if default is None else f"{what} (default: {default})"
        parser.add_argument(flag, type=options.natural, default=default, metavar="N", help=told)
    parser.add_argument("--window", action="store_true", help="measure the window policy too")
    options.add_machine(parser)
    parser.set_defaults(threads=1)
    options.add_cache(parser)
    options.add_json(parser, "the result")


def run(args: argparse.Namespace) -> int:
    from parley.backbone import open_bench

    gguf, label, shape = _file_and_window(args)
    progress = Progress()
    progress.say(f"opening {gguf}")
    bench = open_bench(
        gguf,
        device=args.device,
        kv=args.kv,
        threads=args.threads,
        n_cells=args.depth + args.passes,
    )
    result = tokens_per_second(bench, args.passes, args.depth, progress)
    if args.window:
        result["window"] = window(bench, shape, args.chunks, progress)
    progress.done()
    result |= {
        "file": label,
        "kv": args.kv,
        "threads": args.threads,
        **machine.circumstances(),
    }
    print(json.dumps(result) if args.json else "\n".join(lines(result)))
    return 0


def _file_and_window(args: argparse.Namespace) -> tuple[Path, str, dict[str, int]]:
    """The GGUF file, its name for people, and {"prompt", "window", "context"} in positions."""
    from parley.bundle import read_manifest
    from parley.bundle_folders import find_bundle

    size, context, prompt = 1024, None, 64
    path = Path(args.bundle)
    label = path.name
    if path.suffix != ".gguf":
        folder = find_bundle(args.bundle)
        manifest = read_manifest(folder)
        path = folder / manifest["backbone"]["file"]
        label = f"{manifest['name']}/{path.name}"
        if manifest["duplex"] is not None:
            size, context = manifest["duplex"]["window_positions"], manifest["limits"]["context"]
            prompt = 64 if manifest["duplex"]["prompt"] else 0
    size = args.window_positions or size
    shape = {
        "prompt": prompt if args.prompt is None else args.prompt,
        "window": size,
        "context": args.context or context or 2 * size,
    }
    return path, label, shape


def tokens_per_second(bench: Any, passes: int, depth: int, progress: Progress) -> dict[str, Any]:
    """Both loops in alternating blocks, then draws and embedding rows as shares of a pass."""
    vocabulary = bench.vocab_size
    rng = np.random.default_rng(0)
    slot = (0, vocabulary)

    def ids(n: int) -> list[int]:
        return [int(i) for i in rng.integers(0, vocabulary, n)]

    start = ids(depth)
    bench.ours(start, slot)
    bench.plain(start)
    loops: dict[str, list[tuple[float, float]]] = {"ours": [], "llama": []}
    for done in range(0, passes, BLOCK):
        block = ids(min(BLOCK, passes - done))
        order = [("ours", lambda b: bench.ours(b, slot)), ("llama", bench.plain)]
        for name, loop in order if done // BLOCK % 2 else reversed(order):
            loops[name].append(tuple(ms / len(block) for ms in loop(block)))
        progress.update(f"{done} of {passes} passes")
    wall, cpu = ({n: np.median([r[k] for r in rows]) for n, rows in loops.items()} for k in (0, 1))
    rows = ids(20_000)
    embed_ms = bench.embed(rows)[1] / len(rows)
    slots = {
        "this one": (vocabulary, slot),
        f"published, any of {PUBLISHED}": (PUBLISHED, (0, PUBLISHED)),
        f"published, text of {PUBLISHED_TEXT}": (PUBLISHED, (0, PUBLISHED_TEXT)),
    }
    draws = {
        name: bench.draws(size, range_, DRAWS)[1] / DRAWS for name, (size, range_) in slots.items()
    }
    return {
        **{
            n: {"wall_tokens_s": 1e3 / float(wall[n]), "cpu_tokens_s": 1e3 / float(cpu[n])}
            for n in loops
        },
        "ratio": {
            "wall": float(wall["llama"] / wall["ours"]),
            "cpu": float(cpu["llama"] / cpu["ours"]),
        },
        "embed": {"ms": embed_ms, "share_of_pass": embed_ms / float(cpu["llama"])},
        "draw": {
            name: {"ms": ms, "share_of_pass": ms / float(cpu["llama"])}
            for name, ms in draws.items()
        },
    }


def window(bench: Any, shape: dict[str, int], chunks: int, progress: Progress) -> dict[str, Any]:
    """Milliseconds of processor time per chunk: plain, with eviction, with a rebase."""
    progress.update(f"a conversation of {chunks} chunks beyond a window of {shape['window']}")
    pattern = [0] * 12 + [1] * 12
    warm = len(pattern)
    rows = bench.converse(**shape, pattern=pattern, n_chunks=warm + chunks)[warm:]
    told: dict[str, Any] = {**shape}
    for state in ("listening", "speaking"):
        mine = [r for r in rows if r[2] == (state == "speaking")]
        kinds = {
            "plain": [r[1] for r in mine if not r[3] and not r[4]],
            "evict": [r[1] for r in mine if r[3] and not r[4]],
            "rebase": [r[1] for r in mine if r[4]],
        }
        told[state] = {kind: _percentiles(values) for kind, values in kinds.items() if values}
        for kind, neighbours in (
            ("evict", kinds["plain"]),
            ("rebase", kinds["plain"] + kinds["evict"]),
        ):
            if kinds[kind] and len(neighbours) >= FEWEST_NEIGHBOURS:
                told[state][kind]["over"] = _over(told[state][kind], _percentiles(neighbours))
    return told


def _over(row: dict[str, Any], neighbours: dict[str, Any]) -> dict[str, float]:
    return {key: row[f"{key}_ms"] / neighbours[f"{key}_ms"] for key in ("p50", "p99")}


def _percentiles(values: list[float]) -> dict[str, Any]:
    p50, p99 = np.percentile(values, (50, 99))
    return {"n": len(values), "p50_ms": float(p50), "p99_ms": float(p99)}


def lines(result: dict[str, Any]) -> Iterator[str]:
    what = result["machine"]
    yield f"{result['file']}, keys and values {result['kv']}, {result['threads']} threads"
    yield f"{what['cpu']}, {what['cores']} cores, {what['memory_gb']} GiB"
    yield f"{'tokens per second':44s} {'wall':>9s} {'processor':>9s}"
    for name, key in (("our stage, draws included", "ours"), ("llama.cpp's own loop", "llama")):
        row = result[key]
        yield f"  {name:42s} {row['wall_tokens_s']:9.1f} {row['cpu_tokens_s']:9.1f}"
    ratio = result["ratio"]
    yield f"  {'ratio':42s} {ratio['wall']:9.3f} {ratio['cpu']:9.3f}"
    yield f"{'beside a pass':44s} {'ms':>9s} {'share':>9s}"
    rows = {"an embedding row": result["embed"]}
    rows |= {f"a draw, vocabulary: {name}": row for name, row in result["draw"].items()}
    for name, row in rows.items():
        yield f"  {name:42s} {row['ms']:9.4f} {row['share_of_pass']:9.2%}"
    if "window" in result:
        yield from _window_lines(result["window"])


def _window_lines(told: dict[str, Any]) -> Iterator[str]:
    yield (
        f"ms of processor time per chunk; prompt {told['prompt']}, window {told['window']}, "
        f"context {told['context']} positions"
    )
    yield f"  {'':30s} {'chunks':>9s} {'median':>9s} {'99 %':>9s}  over neighbours'"
    for state in ("listening", "speaking"):
        for kind, row in told[state].items():
            values = f"{row['n']:9d} {row['p50_ms']:9.2f} {row['p99_ms']:9.2f}"
            over = [f"{row['over'][key]:9.2f}" for key in ("p50", "p99") if "over" in row]
            yield f"  {state + ', ' + kind:30s} {' '.join([values, *over])}"

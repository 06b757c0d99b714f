"""`parley bench vocoder`: what a chunk costs, and what a shorter look-ahead changes."""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parley_apps import errors, machine, options
from parley_apps.benchmark import sound_distance
from parley_apps.benchmark.shapes.stage import VOCODER_WINDOW
from parley_apps.benchmark.step import RECORDING, steps
from parley_apps.progress import Progress

if TYPE_CHECKING:
    import parley

WARM_UP = 3
SWEEP_CODES = 400  # 16 s of speech
MOST_S = 120.0  # of conversation to wait for them

EXAMPLES = """\
Measures the vocoder alone, milliseconds per chunk of 160 ms: the stream with all the look-ahead
that the samples depend on, the stream with the bundle's own look-ahead, and upstream's way, a
window of 61 latent frames anew for every chunk. All of them take turns, so that a busy machine
slows all.

--sweep takes what the model says to a recorded user through every look-ahead, in chunks, and
compares the samples with the whole run's: signal-to-noise ratio; log-spectral distance (root mean
square over the bins of 512-sample windows in dB, mean over windows); click, which is the largest
second difference over a border between chunks in relation to the second differences 10 ms around
it (root mean square over the borders in speech), beside the same of the whole run.

examples:
  parley bench vocoder nano
  parley bench vocoder nano --sweep --plot lookahead.png
  parley bench vocoder full.bundle --unfused plain.bundle --chunks 20 --threads 1
  parley bench vocoder nano --sweep --json | jq '.sweep[] | {lookahead, snr_db}'

JSON: cost {way: {p50_ms, p95_ms, p99_ms}}; ratio {way: its median over that of the full stream};
sweep [{lookahead, snr_db, log_spectral_db, click, whole_click, p50_ms}]; lookahead, full_lookahead
(latent frames); bundle, machine, versions, command.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = EXAMPLES
    parser.epilog = errors.EXIT_CODES_HELP
    options.add_bundle(parser, default="nano")
    add = parser.add_argument
    add("--chunks", type=options.count, default=40, metavar="N", help="to measure (default: 40)")
    add("--unfused", metavar="BUNDLE", help="the same one, exported with --no-fused, to compare")
    add("--sweep", action="store_true", help="also every look-ahead against the whole run")
    add("--plot", type=Path, metavar="PNG", help="a picture of the sweep")
    options.add_machine(parser)
    options.add_json(parser, "the result")
    parser.set_defaults(usage=parser.error)


def run(args: argparse.Namespace) -> int:
    if args.plot is not None:
        from parley_apps import plot

        plot.check_installed()
        if not args.sweep:
            args.usage("expected --sweep with --plot, got --plot alone")
    with contextlib.ExitStack() as opened:
        bundle = opened.enter_context(options.open_bundle(args))
        plain = None
        if args.unfused is not None:
            other = argparse.Namespace(**{**vars(args), "bundle": args.unfused})
            plain = opened.enter_context(options.open_bundle(other))
        result = measure(bundle, plain, args.chunks)
        if args.sweep:
            result["sweep"] = sweep(bundle, spoken_latents(bundle))
    result |= {
        "device": args.device,
        **machine.circumstances(),
    }
    if args.plot is not None:
        from parley_apps.benchmark import vocoder_plot

        args.plot.write_bytes(vocoder_plot.to_png(result))
    print(json.dumps(result) if args.json else "\n".join(lines(result)))
    return 0


def measure(bundle: parley.Bundle, plain: parley.Bundle | None, chunks: int) -> dict[str, Any]:
    """Cost of a chunk in every way; random latents, since cost doesn't depend on them."""
    from parley.metrics import percentiles

    section = bundle.manifest["vocoder"]
    full, own = section["full_lookahead_frames"], section["lookahead_frames"]
    ways = {f"stream, look-ahead {full}": stream(bundle, full)}
    if own != full:
        ways[f"stream, look-ahead {own}"] = stream(bundle, own)
    ways[f"window of {VOCODER_WINDOW}"] = window(bundle)
    if plain is not None:
        ways["unfused stream"] = stream(plain, full)
        ways[f"unfused window of {VOCODER_WINDOW}"] = window(plain)
    spent: dict[str, list[float]] = {name: [] for name in ways}
    progress = Progress()
    for n in range(-WARM_UP, chunks):
        progress.update(f"chunk {max(n, 0)} of {chunks}")
        for name, way in ways.items():
            ms = timed(way)
            if n >= 0:
                spent[name].append(ms)
    progress.done()
    cost = {name: percentiles(values) for name, values in spent.items()}
    base = next(iter(cost.values()))["p50_ms"]
    return {
        "bundle": bundle.name,
        "lookahead": own,
        "full_lookahead": full,
        "chunks": chunks,
        "cost": cost,
        "ratio": {name: row["p50_ms"] / base for name, row in cost.items()},
    }


def timed(way: Callable[[], object]) -> float:
    begin = time.perf_counter()
    way()
    return 1000.0 * (time.perf_counter() - begin)


def frames_per_chunk(bundle: parley.Bundle) -> int:
    per_latent = bundle.manifest["vocoder"]["samples_per_latent"]
    rates = bundle.manifest["rates"]
    return int(rates["output_hz"] * rates["chunk_ms"]) // (1000 * int(per_latent))


def random_latents(bundle: parley.Bundle, n: int) -> np.ndarray:
    shape = (n, bundle.manifest["flow"]["z"])
    return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)


def stream(bundle: parley.Bundle, lookahead: int) -> Callable[[], object]:
    """A chunk of one long reply."""
    voice = bundle.workbench().vocoder_stream(lookahead)
    latents = random_latents(bundle, frames_per_chunk(bundle))
    return lambda: voice.push(latents)


def window(bundle: parley.Bundle) -> Callable[[], object]:
    """Upstream's way for one chunk: all frames that its samples depend on, from silence."""
    voice = bundle.workbench().vocoder_stream(bundle.manifest["vocoder"]["full_lookahead_frames"])
    latents = random_latents(bundle, VOCODER_WINDOW)

    def again() -> None:
        voice.begin()
        voice.push(latents)

    return again


def spoken_latents(bundle: parley.Bundle) -> np.ndarray:
    """What the model says to a recorded user, as latents `[n, z]`.

    Raises InputError where it says nothing.
    """
    import parley

    samples = bundle.resample(*parley.read_audio(RECORDING))
    codes: list[int] = []
    with bundle.session(seed=0) as session:
        most = MOST_S * session.rate / session.chunk_samples
        for n, step in enumerate(steps(session, samples)):
            codes += [code for event in step.events for code in event.codes]
            if n >= most or len(codes) >= SWEEP_CODES:
                break
    if not codes:
        raise parley.InputError(
            f"[bench.vocoder] expected {bundle.name} to answer the recorded user, got silence; "
            "leave out --sweep, which is for a model that speaks"
        )
    latents, *_ = bundle.workbench().flow_decode(codes[:SWEEP_CODES], seed=0)
    return np.asarray(latents)


def sweep(bundle: parley.Bundle, latents: np.ndarray) -> list[dict[str, float]]:
    """Every look-ahead: its distance from the whole run, and its cost."""
    section, bench = bundle.manifest["vocoder"], bundle.workbench()
    full, chunk = section["full_lookahead_frames"], frames_per_chunk(bundle)
    whole = bench.vocode(latents)
    voices = [bench.vocoder_stream(lookahead) for lookahead in range(full + 1)]
    made: list[list[np.ndarray]] = [[] for _ in voices]
    spent: list[list[float]] = [[] for _ in voices]
    for at in range(0, len(latents), chunk):
        last = at + chunk >= len(latents)
        for voice, parts, ms in zip(voices, made, spent, strict=True):
            begin = time.perf_counter()
            parts.append(voice.push(latents[at : at + chunk], last))
            ms.append(1000.0 * (time.perf_counter() - begin))
    rows = []
    for lookahead, parts in enumerate(made):
        borders = np.cumsum([len(part) for part in parts])[:-1]
        rows.append(
            {
                "lookahead": lookahead,
                **sound_distance.compare(
                    np.concatenate(parts), whole, borders, rate=bundle.out_rate
                ),
                "p50_ms": float(np.median(spent[lookahead])),
            }
        )
    return rows


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The tables for people."""
    what = result["machine"]
    yield f"{result['bundle']}: {what['cpu']}, {what['cores']} cores, on {result['device']}"
    yield (
        f"look-ahead {result['lookahead']} of the {result['full_lookahead']} latent frames that "
        f"samples depend on; {result['chunks']} chunks, all ways in turn"
    )
    yield f"{'ms per chunk':24s}{'median':>9s}{'95 %':>9s}{'times the first':>17s}"
    for name, row in result["cost"].items():
        ratio = result["ratio"][name]
        yield f"{name:24s}{row['p50_ms']:9.2f}{row['p95_ms']:9.2f}{ratio:17.2f}"
    if "sweep" not in result:
        return
    yield ""
    yield "look-ahead   SNR dB   log-spectral dB   click (whole run)   ms per chunk"
    for row in result["sweep"]:
        yield (
            f"{row['lookahead']:10d}{row['snr_db']:9.1f}{row['log_spectral_db']:18.3f}"
            f"{row['click']:12.2f} ({row['whole_click']:.2f}){row['p50_ms']:18.2f}"
        )

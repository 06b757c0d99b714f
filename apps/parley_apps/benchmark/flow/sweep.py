"""`parley bench flow`: cost and distance of the flow decoder's settings; knows no graph.

Everything is measured on the same codes and the same noise, against the whole utterance at once.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parley_apps import machine, options
from parley_apps.benchmark.flow import replies as flow_replies
from parley_apps.benchmark.flow import settings as flow_settings
from parley_apps.benchmark.flow.distance import Distance
from parley_apps.progress import Progress

if TYPE_CHECKING:
    import parley

SEED = 1
CHUNK_CODES = 4
UPSTREAM_FRAMES = 16  # of one chunk, behind the voice prompt

EXAMPLES = """\
Without --sweep: what a chunk costs in the modes window and cached with the bundle's own settings,
what a voice takes in memory and time to set up, and one evaluation of the field beside upstream's
way (voice prompt and chunk computed anew, both branches).

With --sweep: for many settings the cost of a chunk, and how far its latents and its sound are from
a reference on the same codes and the same noise: the whole utterance at once (mode exact), solved
in 64 evaluations or more, all of them guided where the bundle has guidance.
  latent     root mean square of the difference, in standard deviations of a latent
  by_solver  the same between the whole utterance with the setting's own solver and the reference:
             what fewer evaluations, less guidance or another solver cost
  by_stream  the same between the stream and the whole utterance with the setting's own solver:
             what cutting into chunks, a bounded past and a shorter voice prompt cost
  mel_db     root mean square of the difference of log-mel spectra, in dB, from the reference
  seam       mean jump between latent frames at chunk borders over that elsewhere; the reference
             has its own
  heard      share of the replies that an independent recogniser hears (with parley[eval])
A setting is named by mode, codes of the voice prompt, of the past and +look-ahead, then solver,
spacing, evaluations and on how many of them guidance runs. The replies are the model's answers to
recordings, or those of --replies.

examples:
  parley bench flow nano
  parley bench flow nano --sweep --plot sweep.png
  parley bench flow my.bundle --sweep --in user.wav --json
  parley bench flow my.bundle --sweep --replies replies.json

Costs are processor time of all threads, which a busy machine changes little.
JSON: modes or settings, a list of rows with the settings' keys beside the measures; reference, such
a row; guidance; replies; bundle, device, machine, versions, command.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from parley_apps import errors

    parser.description = EXAMPLES
    parser.epilog = errors.EXIT_CODES_HELP
    options.add_bundle(parser, default="nano")
    parser.add_argument("--sweep", action="store_true", help="compare settings")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="with --sweep: draw them")
    parser.add_argument(
        "--in",
        dest="recordings",
        type=Path,
        metavar="WAV",
        action="append",
        help="with --sweep: a recording of a user to answer; may be repeated (default: the "
        "built-in ones)",
    )
    parser.add_argument(
        "--replies",
        type=Path,
        metavar="JSON",
        help='with --sweep: replies instead, a list of {"text": ..., "codes": [...]}',
    )
    options.add_machine(parser)
    options.add_json(parser, "the result")
    parser.set_defaults(usage=parser.error)


def run(args: argparse.Namespace) -> int:
    given = {"--plot": args.plot, "--in": args.recordings, "--replies": args.replies}
    for option, value in given.items():
        if value is not None and not args.sweep:
            args.usage(f"expected {option} together with --sweep, got it alone")
    if args.recordings and args.replies is not None:
        args.usage("expected --in or --replies, got both")
    progress = Progress()
    progress.say(f"opening {args.bundle}")
    with options.open_bundle(args) as bundle:
        result = sweep(bundle, args, progress) if args.sweep else modes(bundle, progress)
        result |= {
            "bundle": bundle.name,
            "device": args.device,
            "threads": args.threads,
            **machine.circumstances(),
        }
    if args.plot is not None:
        from parley_apps.benchmark.flow import plot as flow_plot

        args.plot.write_bytes(flow_plot.to_png(result))
        progress.say(f"drew {args.plot}")
    print(json.dumps(result) if args.json else "\n".join(lines(result)))
    return 0


def modes(bundle: parley.Bundle, progress: Progress) -> dict[str, Any]:
    """The bundle's settings in both streaming modes, and an evaluation beside upstream's way."""
    flow = bundle.manifest["flow"]
    codes = np.random.default_rng(0).integers(0, bundle.manifest["vocabulary"]["audio_codes"], 40)
    rows = []
    for mode in ("window", "cached"):
        progress.update(f"mode {mode}")
        bench = bundle.workbench(flow={"mode": mode})
        begin = time.process_time()
        bench.flow_begin(SEED)
        setup_s = time.process_time() - begin
        _, ms = stream(bench, codes.tolist())
        rows.append({"mode": mode, "cpu_ms": ms, "setup_cpu_s": setup_s, **bench.flow_costs()})
    progress.done()
    return {"modes": rows, "evaluation": against_upstream(bundle, flow)}


def against_upstream(bundle: parley.Bundle, flow: dict[str, Any]) -> dict[str, float]:
    """Processor milliseconds of one evaluation, both branches: prompt and chunk anew, and a chunk
    that recalls the prompt. A past and a look-ahead are left out, since upstream's way has none."""
    pure = {"mode": "cached", "solver": "midpoint", "points": 2, "past_codes": 0}
    pure |= {"lookahead_codes": 0, "guidance": 1.0, "guided_evaluations": 2, "prompt_codes": 0}
    bench = bundle.workbench(flow=pure)
    bench.flow_begin(SEED)
    frames = bench.flow_costs()["prompt_frames"] + UPSTREAM_FRAMES
    shape = (2, frames, flow["hidden"] + 2 * flow["z"])
    inputs = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    own, theirs = [], []
    for _ in range(3):
        for _ in range(4):
            begin = time.process_time()
            bench.flow_push([1] * CHUNK_CODES)
            own.append(1000 * (time.process_time() - begin) / 2)
        begin = time.process_time()
        bench.flow_field(inputs, 0.5)
        theirs.append(1000 * (time.process_time() - begin))
    cpu_ms, upstream_ms = float(np.median(own)), float(np.median(theirs))
    return {
        "frames": frames,
        "cpu_ms": cpu_ms,
        "upstream_cpu_ms": upstream_ms,
        "ratio": upstream_ms / cpu_ms,
    }


def stream(bench: Any, codes: list[int]) -> tuple[Any, float]:
    """Latents [n, z] of a reply chunk by chunk, and the median processor ms of a chunk."""
    bench.flow_begin(SEED)
    parts, costs = [], []
    for at in range(0, len(codes), CHUNK_CODES):
        last = at + CHUNK_CODES >= len(codes)
        begin = time.process_time()
        parts.append(bench.flow_push(codes[at : at + CHUNK_CODES], last))
        if not last and len(parts[-1]):
            costs.append(1000 * (time.process_time() - begin))
    return np.concatenate(parts), float(np.median(costs)) if costs else 0.0


def sweep(bundle: parley.Bundle, args: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    flow = bundle.manifest["flow"]
    table = flow_settings.variants(flow)
    # So that a chunk in the middle is decoded with every look-ahead, and can be timed.
    shortest = CHUNK_CODES + flow_settings.longest_wait(flow) + 1
    if args.replies is not None:
        n_codes = bundle.manifest["vocabulary"]["audio_codes"]
        replies = flow_replies.read_replies(args.replies, n_codes, shortest)
    else:
        replies = flow_replies.answers(bundle, args.recordings, seed=SEED, shortest=shortest)
    progress.update("the reference")
    distance = Distance(bundle, replies)
    rows = []
    for n, settings in enumerate(table, 1):
        progress.update(f"setting {n} of {len(table)}: {flow_settings.name(settings)}")
        bench = bundle.workbench(flow=settings)
        latents, costs = zip(*(stream(bench, reply["codes"]) for reply in replies), strict=True)
        rows.append(
            {
                **settings,
                "name": flow_settings.name(settings),
                "cpu_ms": float(np.median([ms for ms in costs if ms])),
                **bench.flow_costs(),
                **distance.of(latents, settings),
            }
        )
    progress.done()
    return {
        "settings": rows,
        "reference": distance.settings
        | {"name": f"exact: the whole utterance, {flow_settings.solver_name(distance.settings)}"}
        | distance.of(distance.reference, distance.settings),
        "replies": [reply["text"] for reply in replies],
        "own": flow_settings.own(flow),
        "guidance": flow["guidance"],
    }


def lines(result: dict[str, Any]) -> Iterator[str]:
    what = result["machine"]
    yield f"{result['bundle']} on {result['device']}, {what['cpu']}, {what['cores']} cores"
    if "modes" in result:
        for row in result["modes"]:
            yield (
                f"{row['mode']:7s} {row['cpu_ms']:9.2f} ms per chunk; a voice "
                f"{row['voice_bytes'] / 2**20:.1f} MiB, set up in {row['setup_cpu_s']:.2f} s; "
                f"a session {row['state_bytes'] / 2**20:.1f} MiB"
            )
        one = result["evaluation"]
        yield (
            f"an evaluation of both branches: {one['upstream_cpu_ms']:.2f} ms for "
            f"{one['frames']} latent frames anew, {one['cpu_ms']:.2f} ms for a chunk that recalls "
            f"the voice prompt, {one['ratio']:.1f} times less"
        )
        return
    if result["guidance"]:
        yield f"guidance {result['guidance']:g}, on as many evaluations as stand behind the slash"
    else:
        yield f"{result['bundle']} has no guidance (0), so no setting runs it on any evaluation"
    heads = f"{'ms/chunk':>8s} {'latent':>7s} {'by_solver':>9s} {'by_stream':>9s} {'mel_db':>7s}"
    yield f"{'setting':44s} {heads} {'seam':>6s} {'heard':>6s}"
    for row in [result["reference"], *result["settings"]]:
        heard = "" if row["heard"] is None else f"{row['heard']:.2f}"
        cost = f"{row['cpu_ms']:8.2f}" if "cpu_ms" in row else " " * 8
        yield (
            f"{row['name']:44s} {cost} {row['latent']:7.3f} {row['by_solver']:9.3f} "
            f"{row['by_stream']:9.3f} {row['mel_db']:7.2f} {row['seam']:6.2f} {heard:>6s}"
        )

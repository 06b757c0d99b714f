"""`parley eval duplex`: how a bundle behaves in known conversations; judges no sound."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parley_apps import machine, options
from parley_apps.progress import Progress

if TYPE_CHECKING:
    from parley_apps.evaluation.scenarios import Rendering, Scenario

SAMPLE_SPEECH = 100  # replies that the recogniser hears

EXAMPLES = """\
Holds the conversations of a folder of scenarios with a bundle, in full duplex, through the same
steps as everything else, and tells how often the right thing is done: takes its turn, waits in a
pause, talks on over a backchannel, stops for an interruption, stays silent in noise. The clock
counts samples, so a slow machine gives the same result. --mode managed is for models of whole
turns: there the engine decides.

examples:
  parley eval duplex my.bundle --scenarios scenarios
  parley eval duplex my.bundle --scenarios scenarios --no-speech --plot behaviour.png
  parley eval duplex my.bundle --scenarios scenarios --mode managed --timer commit_plain=500
  parley eval duplex my.bundle --scenarios scenarios --limit 20 --json | jq .summary.groups
"""

JSON_HELP = """\
JSON: summary {groups: [{kind, split, n, dropped, success {n, k, rate, low, high}, exact, ...}],
false_starts, long}; speech; scenarios: [{name, kind, rows: [{item, start_s, success, why, expected,
said, exact, shift_ms, sound_ms, stop_ms, ...}]}]; bundle, seed, machine, versions, command."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from parley_apps import errors
    from parley_apps.evaluation import judge, scenarios

    parser.description = EXAMPLES
    told = (scenarios.FORMAT, judge.DEFINITIONS, JSON_HELP, errors.EXIT_CODES_HELP)
    parser.epilog = "\n\n".join((options.timers_help(), *told))
    options.add_bundle(parser)
    parser.add_argument(
        "--scenarios", type=Path, required=True, metavar="DIR", help="the folder, see below"
    )
    parser.add_argument("--plot", type=Path, metavar="F.PNG", help="the result as a picture")
    parser.add_argument("--save", type=Path, metavar="F.JSON", help="what --json prints, as a file")
    speech = parser.add_mutually_exclusive_group()
    speech.add_argument(
        "--no-speech", action="store_true", help="behaviour alone, without the recogniser"
    )
    speech.add_argument(
        "--sample-speech",
        type=options.natural,
        default=SAMPLE_SPEECH,
        metavar="N",
        help=f"replies that the recogniser hears (default: {SAMPLE_SPEECH})",
    )
    parser.add_argument(
        "--limit", type=options.natural, metavar="N", help="at most N per kind and split, by chance"
    )
    parser.add_argument(
        "--by", default="split", metavar="TAG", help="tag by which kinds are split (default: split)"
    )
    parser.add_argument(
        "--mode",
        choices=["duplex", "managed"],
        default="duplex",
        help="who decides over turns: the model (duplex) or the engine (default: duplex)",
    )
    options.add_timers(parser)
    parser.add_argument("--seed", type=options.natural, default=0, metavar="N", help="default: 0")
    parser.add_argument("--voice", metavar="V", help="one of those that `parley show` lists")
    options.add_json(parser, "everything")
    _add_machine(parser)


def _add_machine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("machine")
    group.add_argument(
        "--device", choices=["cpu", "cuda", "tensorrt"], default="cpu", help="default: cpu"
    )
    group.add_argument(
        "--workers",
        type=_workers,
        default=2,
        metavar="N",
        help="conversations at the same time, each on one thread (default: 2)",
    )
    parser.set_defaults(threads=1)


def run(args: argparse.Namespace) -> int:
    from parley.files import check_writable, write_atomically
    from parley.turns import turns_line
    from parley_apps.evaluation import evaluate, table

    progress = Progress()
    if args.plot:
        from parley_apps import plot

        plot.check_installed()
    for path in filter(None, (args.plot, args.save)):
        check_writable(path)
    scenarios, renderings = _read(args)
    sample = _speech_sample(args, progress)
    progress.say(f"opening {args.bundle}")
    with options.open_bundle(args) as bundle:
        result = evaluate(
            bundle,
            scenarios,
            seed=args.seed,
            workers=args.workers,
            by=args.by,
            mode=args.mode,
            timers=args.timers,
            sample_speech=sample,
            renderings=renderings,
            tell=progress.update,
        )
        name = bundle.name
    progress.done()
    if args.plot:
        from parley_apps.evaluation import picture

        title = f"{name}: behaviour in {len(scenarios)} scenarios"
        write_atomically({args.plot: picture.to_png(result, title)})
    told = json.dumps({**result, **_about(args, name)})
    if args.save:
        write_atomically({args.save: told.encode()})
    if args.json:
        print(told)
    else:
        print(f"{name}: {len(scenarios)} scenarios, real-time factor {_factor(result)}")
        print("\n".join(table.lines(result)))
        print(turns_line(result["turns"]))
    return 0


def _read(args: argparse.Namespace) -> tuple[list[Scenario], list[Rendering]]:
    from parley_apps.evaluation import load_scenarios, runs
    from parley_apps.evaluation.scenarios import load_renderings

    scenarios = load_scenarios(args.scenarios)
    if args.limit is not None:
        scenarios = runs.choose(scenarios, max(1, args.limit), args.seed)
    return scenarios, load_renderings(args.scenarios)


def _speech_sample(args: argparse.Namespace, progress: Progress) -> int:
    """How many replies the recogniser shall hear; none, said aloud, where it is not installed."""
    from parley_apps.evaluation import speech

    if args.no_speech or not args.sample_speech:
        return 0
    if not speech.is_installed():
        progress.say(
            "no speech check: it needs pocketsphinx, do `pip install 'parley[eval]'` "
            "(--no-speech leaves it out silently)"
        )
        return 0
    return int(args.sample_speech)


def _about(args: argparse.Namespace, name: str) -> dict[str, Any]:
    return {
        "bundle": name,
        "mode": args.mode,
        "timers": args.timers,
        "seed": args.seed,
        "device": args.device,
        **machine.circumstances(),
    }


def _factor(result: dict[str, Any]) -> str:
    return f"{result['real_time_factor']:.2f} per conversation"


def _workers(value: str) -> int:
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {number}")
    return number

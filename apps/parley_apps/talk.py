"""`parley talk`: a conversation, live or with recordings into files, whose clock counts samples."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parley_apps import options
from parley_apps.progress import Progress

if TYPE_CHECKING:
    import parley
    from parley_apps.conversation import Conversation, Floats

EXAMPLES = """\
With recordings, it plays them to a model and writes what it answers. The output has the input's
timeline: silence while the model listens, its voice where it speaks. After a recording, silence
follows until the model listens again, 30 s at most. The clock counts samples and all chance comes
from --seed, so the same command gives the same recording on a slow machine too.

examples:
  a conversation through microphone and loudspeaker:
    parley talk nano
  one question, one answer, and a picture of who spoke when:
    parley talk my.bundle --in question.wav --out answer.wav --plot answer.png
  two turns of one conversation, with transcript and trace (open it in chrome://tracing or
  ui.perfetto.dev):
    parley talk my.bundle --mode turns --in a.wav --in b.wav --out bot.wav --text bot.jsonl \\
      --trace bot.json
  another seed, another voice, always the likeliest token:
    parley talk my.bundle --in a.wav --out bot.wav --seed 7 --voice warm --temperature 0
  a model of whole turns in full duplex, which answers after 0.5 s of silence:
    parley talk my.bundle --mode managed --timer commit_plain=500 --in user.wav --out bot.wav
  a typed question:
    parley talk my.bundle --mode turns --say "What is a fugue?" --out bot.wav
"""


class _Turn(argparse.Action):
    """Keeps --in and --say in the order in which they were given."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        kind = "say" if option_string == "--say" else "in"
        namespace.turns = [*(namespace.turns or []), (kind, values)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from parley_apps import errors, live, transcript

    parser.description = f"{live.HELP}\n\n{EXAMPLES}"
    parser.epilog = f"{options.timers_help()}\n\n{transcript.HELP}\n\n{errors.EXIT_CODES_HELP}"
    options.add_bundle(parser)
    what = parser.add_argument_group("what is said (several times: several turns)")
    what.add_argument(
        "--in", action=_Turn, dest="turns", metavar="USER.WAV", help="a recording, WAV or FLAC"
    )
    what.add_argument("--say", action=_Turn, dest="turns", metavar="TEXT", help="a typed turn")
    _add_outputs(parser)
    _add_session(parser)
    live.add_arguments(parser)
    options.add_machine(parser)
    options.add_cache(parser)
    options.add_json(parser, "a summary")
    parser.set_defaults(usage_error=parser.error)


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("outputs (written at the end, each whole or not at all)")
    for flag, metavar, what in (
        ("--out", "BOT.WAV", "the model's side, 16 bit mono"),
        ("--text", "F.JSONL", "the transcript, see below"),
        ("--trace", "F.JSON", "what happened when and what it cost, in Chrome's trace format"),
        ("--plot", "F.PNG", "the timeline as a picture (needs `pip install 'parley[plot]'`)"),
    ):
        group.add_argument(flag, metavar=metavar, type=Path, help=what)


def _add_session(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the conversation (default: what the bundle says)")
    group.add_argument(
        "--mode",
        choices=["duplex", "turns", "managed"],
        help="duplex: listens and speaks at the same time; turns: answers whole recordings; "
        "managed: full duplex by a model of whole turns, as the engine decides when one is over "
        "(default: duplex where the bundle has it)",
    )
    options.add_timers(group)
    group.add_argument("--seed", type=options.natural, default=0, metavar="N", help="default: 0")
    group.add_argument("--voice", metavar="V", help="one of those that `parley show` lists")
    group.add_argument("--system", metavar="TEXT", help="the system prompt; @FILE reads a file")
    group.add_argument("--temperature", type=float, metavar="T", help="0: the likeliest token")
    group.add_argument("--top-k", type=options.natural, metavar="K", help="0: all tokens")
    group.add_argument("--top-p", type=float, metavar="P", help="above 0, at most 1")
    group.add_argument("--max-new-tokens", type=options.natural, metavar="N", help="of one reply")


def run(args: argparse.Namespace) -> int:
    if not args.turns:
        return _live(args)
    if args.out is None:
        args.usage_error("expected --out BOT.WAV beside --in and --say")
    progress = Progress()
    _check_outputs(args)
    session = options.session_options(args)
    turns = _read_turns(args.turns)
    progress.say(f"opening {args.bundle}")
    with options.open_bundle(args) as bundle:
        if bundle.notice:
            progress.say(f"notice of the model's licence: {bundle.notice}")
        conversation = _hold(bundle, session, turns, progress)
        _write(_outputs(conversation, bundle, args))
    _print_summary(conversation, args)
    return 0


def _live(args: argparse.Namespace) -> int:
    """Live; refuses what only recordings have, rather than leave it unwritten."""
    from parley_apps import live

    for flag in ("out", "text", "trace", "plot"):
        if getattr(args, flag) is not None and not (flag == "out" and args.replay):
            args.usage_error(f"expected --in or --say beside --{flag}; live has --record FOLDER")
    return live.run(args)


def _check_outputs(args: argparse.Namespace) -> None:
    from parley import InputError
    from parley.files import check_writable

    if args.out.suffix.lower() != ".wav" and (args.out.is_file() or not args.out.exists()):
        raise InputError(
            f"[talk.check] expected a name that ends in .wav for --out, got {args.out}; sound is "
            f"written as WAV, so write --out {args.out.with_suffix('.wav')} and convert that"
        )
    if args.plot:
        from parley_apps import plot

        plot.check_installed()
    taken = {os.path.realpath(value): "--in" for kind, value in args.turns if kind == "in"}
    for flag in ("out", "text", "trace", "plot"):
        path = getattr(args, flag)
        if path is None:
            continue
        check_writable(path)
        if (other := taken.setdefault(os.path.realpath(path), f"--{flag}")) != f"--{flag}":
            raise InputError(
                f"[talk.check] expected a file of its own for --{flag}, got {path}, which is "
                f"also {other}; choose another name"
            )


def _read_turns(turns: list[tuple[str, str]]) -> list[tuple[str, Any, int]]:
    """(name, samples, rate) of each recording and ("", text, 0) of each text."""
    import parley

    found: list[tuple[str, Any, int]] = []
    for kind, value in turns:
        if kind == "say":
            found.append(("", value, 0))
        else:
            samples, rate = parley.read_audio(value)
            found.append((value, samples, rate))
    return found


def _hold(
    bundle: parley.Bundle,
    asked: dict[str, Any],
    turns: list[tuple[str, Any, int]],
    progress: Progress,
) -> Conversation:
    from parley_apps.conversation import Conversation
    from parley_apps.interrupt import cancel_on_interrupt

    with bundle.session(
        **asked,
        progress=lambda done, n: progress.update(
            f"setting the voice up: {done} of {n} evaluations"
        ),
    ) as session:
        conversation = Conversation(
            session.mode, session.rate, session.chunk_samples, session.out_rate
        )
        with cancel_on_interrupt(session):
            for steps in _all_turns(conversation, session, bundle, turns):
                for step in steps:
                    progress.update(f"{conversation.duration_s:6.1f} s  {step.floor}")
        progress.done()
    return conversation


def _all_turns(
    conversation: Conversation,
    session: parley.Session,
    bundle: parley.Bundle,
    turns: list[tuple[str, Any, int]],
) -> Iterator[Iterator[parley.Step]]:
    prepared: list[tuple[str, str | Floats]] = []
    for name, content, rate in turns:
        if name:
            session.check_turn_length(content.size / rate)
            content = bundle.resample(content, rate)
        prepared.append((name, content))
    for name, content in prepared:
        if isinstance(content, str):
            yield conversation.say(session, content)
        else:
            yield conversation.play(session, content, name)


def _outputs(
    conversation: Conversation, bundle: parley.Bundle, args: argparse.Namespace
) -> Iterator[tuple[Path, Callable[[], bytes]]]:
    """Every file that was asked for and what makes it; the sound first."""
    import numpy as np

    from parley.audio import wav_bytes
    from parley_apps import plot, trace, transcript

    sound = np.clip(conversation.model(), -1.0, 1.0)
    yield args.out, lambda: wav_bytes(sound, conversation.out_rate)
    if args.text:
        yield args.text, lambda: transcript.to_bytes(conversation)
    if args.trace:
        about = {"bundle": bundle.name, "mode": conversation.mode, "seed": args.seed}
        yield args.trace, lambda: trace.to_bytes(conversation, about)
    if args.plot:
        yield args.plot, lambda: plot.to_png(conversation, title=bundle.name)


def _write(files: Iterable[tuple[Path, Callable[[], bytes]]]) -> None:
    """Writes all that can be written, then raises what went wrong with the first that could not."""
    from parley.files import write_atomically

    failed: Exception | None = None
    for path, content in files:
        try:
            write_atomically({path: content()})
        except Exception as error:
            failed = failed or error
    if failed is not None:
        raise failed


def _print_summary(conversation: Conversation, args: argparse.Namespace) -> None:
    from parley import summarize_turns
    from parley.metrics import peak_memory_mb
    from parley.turns import turns_line

    report = conversation.costs().report()
    replies = conversation.replies()
    if args.json:
        paths = {f: str(p) for f in ("out", "text", "trace", "plot") if (p := getattr(args, f))}
        summary = {
            "mode": conversation.mode,
            "seed": args.seed,
            "seconds": conversation.duration_s,
            "replies": [asdict(reply) for reply in replies],
            "files": paths,
            **report,
            "peak_memory_mb": peak_memory_mb(),
        }
        if conversation.turns:
            summary["turns"] = summarize_turns(conversation.turns)
            summary["turn_reports"] = [asdict(turn) for turn in conversation.turns]
        print(json.dumps(summary))
        return
    for reply in replies:
        print(reply)
    if not replies:
        print("the model did not answer")
    step: Any = report["step"]
    print(
        f"{conversation.duration_s:.1f} s in mode {conversation.mode}, real-time factor "
        f"{report['rtf']:.2f}; a step of {1000 * conversation.chunk_s:.0f} ms took "
        f"{step['p50_ms']:.1f} ms (median), {step['p99_ms']:.1f} ms (99 %)"
    )
    if conversation.turns:
        print(turns_line(summarize_turns(conversation.turns)))
    for flag in ("out", "text", "trace", "plot"):
        if path := getattr(args, flag):
            print(f"{flag:5s}  {path}")

"""`parley talk` without recordings: a person talks, through microphone and loudspeaker."""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parley_apps import options
from parley_apps.progress import Progress

if TYPE_CHECKING:
    import parley
    from parley_apps.live.record import Recording

PATIENCE_S = 0.05  # between looks at the keyboard and the clock

HELP = """\
Without --in and --say it is live: the microphone is open, the model answers through the
loudspeaker, and both may speak at any time. Keys: space interrupts, m mutes the microphone, q ends.
Where the output is no terminal, it is lines."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("live (without --in and --say)")
    group.add_argument(
        "--input", metavar="DEVICE", default="", help="microphone: an index or a part of a name"
    )
    group.add_argument("--output", metavar="DEVICE", default="", help="loudspeaker, likewise")
    group.add_argument(
        "--headphones", action="store_true", help="no echo to take out of the microphone"
    )
    group.add_argument(
        "--record",
        metavar="FOLDER",
        type=Path,
        help="keep the microphone, what the model heard and said, and all events",
    )
    group.add_argument(
        "--replay", metavar="FOLDER", type=Path, help="hold a recorded conversation once more"
    )
    group.add_argument(
        "--seconds", metavar="S", type=options.positive, help="end after so long (default: never)"
    )
    group.add_argument(
        "--wait",
        metavar="S",
        type=options.positive,
        default=0.0,
        help="wait so long for a device that is not there yet (default: 0)",
    )


def run(args: argparse.Namespace) -> int:
    """Holds the conversation until q, Ctrl-C, --seconds or a failure."""
    from parley_apps.live import replay
    from parley_apps.live.record import Recording

    progress = Progress()
    session = options.session_options(args)
    progress.say(f"opening {args.bundle}")
    with options.open_bundle(args) as bundle:
        if bundle.notice:
            progress.say(f"notice of the model's licence: {bundle.notice}")
        if args.replay:
            return replay.run(bundle, args, progress)
        with contextlib.ExitStack() as stack:
            recording = None
            if args.record:
                recording = Recording(args.record, bundle, session)
                stack.callback(recording.close)
            live = stack.enter_context(_open(bundle, args, session))
            return _converse(live, bundle, args, recording)


def _open(bundle: parley.Bundle, args: argparse.Namespace, session: dict[str, Any]) -> parley.Live:
    from parley import InputError

    until = time.monotonic() + args.wait
    while True:
        try:
            return bundle.live(
                input=args.input,
                output=args.output,
                cancel_echo=not args.headphones,
                record=args.record is not None,
                **session,
            )
        except InputError as error:
            if "[live.devices]" not in str(error) or time.monotonic() >= until:
                raise
            time.sleep(0.2)


def _converse(
    live: parley.Live, bundle: parley.Bundle, args: argparse.Namespace, recording: Recording | None
) -> int:
    from parley_apps.live.keys import Keys
    from parley_apps.live.screen import Screen

    chunk_ms = 1000 * bundle.chunk_samples / bundle.rate
    screen = Screen(chunk_ms, quiet=args.json)
    screen.say(f"microphone: {live.input_name}; loudspeaker: {live.output_name}")
    screen.say("talk; space interrupts, m mutes, q ends")
    muted = False
    ends = time.monotonic() + args.seconds if args.seconds else float("inf")
    failed = ""
    try:
        with Keys() as keys:
            while time.monotonic() < ends:
                event = live.wait(PATIENCE_S)
                if event is not None:
                    screen.show(event)
                    if recording:
                        recording.event(event)
                    if event.kind == "failed":
                        failed = event.text
                elif not live.running:
                    break
                key = keys.pressed()
                if key == "q":
                    break
                if key == " ":
                    live.interrupt()
                elif key == "m":
                    muted = not muted
                    live.mute(muted)
                screen.status(live.statistics, muted)
                if recording:
                    recording.take(live.recorded())
    except KeyboardInterrupt:
        pass
    live.stop()
    if recording:
        recording.take(live.recorded())
    screen.end(live.statistics(), args.json)
    if failed:
        from parley import Error

        raise Error(failed)
    return 0

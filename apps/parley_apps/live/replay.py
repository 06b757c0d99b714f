"""A recorded conversation once more, without devices: the same samples in give the same out."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parley_apps import errors, options
from parley_apps.conversation import Conversation
from parley_apps.live.record import EVENTS, OPTIONS

if TYPE_CHECKING:
    import parley
    from parley.events import Floats
    from parley_apps.progress import Progress


def run(bundle: parley.Bundle, args: argparse.Namespace, progress: Progress) -> int:
    """Steps through what the model heard, prints its replies and whether it said the same.

    Raises InputError for a folder that holds no recorded conversation, or one of another bundle.
    """
    from parley.files import check_writable

    if args.out:
        check_writable(args.out)
    asked, interrupted = _read_about(args.replay, bundle.chunk_samples / bundle.rate)
    heard = _read_sound(args.replay / "heard.wav", bundle.rate)
    said = _read_sound(args.replay / "said.wav", bundle.out_rate)
    chunk = bundle.chunk_samples
    with bundle.session(**asked) as session:
        conversation = Conversation(session.mode, bundle.rate, chunk, bundle.out_rate)
        for at in range(0, heard.size - chunk + 1, chunk):
            if at // chunk in interrupted:
                session.interrupt()
            for step in conversation.keep(session, session.feed(heard[at : at + chunk])):
                progress.update(f"{conversation.duration_s:6.1f} s  {step.floor}")
    progress.done()
    again = conversation.model()
    n = min(again.size, said.size)
    same = n > 0 and bool(np.array_equal(again[:n], said[:n]))
    if args.out:
        from parley import write_wav

        write_wav(args.out, again, bundle.out_rate)
    _tell(conversation, n / bundle.out_rate, same, args.json)
    return errors.OK if same else errors.DIFFERS


def _tell(conversation: Conversation, seconds: float, same: bool, as_json: bool) -> None:
    replies = conversation.replies()
    if as_json:
        told = {"seconds": seconds, "same": same, "replies": [asdict(reply) for reply in replies]}
        print(json.dumps(told))
        return
    for reply in replies:
        print(reply)
    print(f"{seconds:.1f} s again: {'the same samples' if same else 'other samples'}")


def _read_about(folder: Path, chunk_s: float) -> tuple[dict[str, Any], set[int]]:
    """The session's options, and the steps before which the user's key cut a reply off."""
    try:
        session = json.loads((folder / OPTIONS).read_text(encoding="utf-8"))["session"]
        if session["mode"] == "managed":
            raise ValueError("managed turns, whose samples hang on when a loudspeaker fell silent")
        asked = {name: session[name] for name in options.SESSION if name in session}
        lines = (folder / EVENTS).read_text(encoding="utf-8").splitlines(keepends=True)
        # The last line has no end where the conversation was killed.
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        cut = [event for event in events if event.get("reason") == "interrupted"]
        return asked, {round(event["time_s"] / chunk_s) for event in cut}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        from parley import InputError

        raise InputError(
            f"[replay.read] expected a conversation of `parley talk --record` in {folder}, got "
            f"{type(error).__name__}: {error}; name the folder of one"
        ) from error


def _read_sound(path: Path, rate: int) -> Floats:
    from parley import InputError, read_audio

    samples, found = read_audio(path)
    if found != rate:
        raise InputError(
            f"[replay.read] expected {path} at {rate} Hz, got {found} Hz; "
            "replay it with the bundle that it was recorded with"
        )
    return samples

"""A recorded conversation once more, without devices: the same samples in give the same out."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parley_apps.live.record import EVENTS, OPTIONS

if TYPE_CHECKING:
    import parley
    from parley.events import Floats

DIFFERENT = 1  # the exit code of numbers that differ


def run(bundle: parley.Bundle, args: argparse.Namespace) -> int:
    """Steps through what the model heard, prints its replies and whether it said the same."""
    about = json.loads((args.replay / OPTIONS).read_text(encoding="utf-8"))
    heard = _read(args.replay / "heard.wav", bundle.rate)
    said = _read(args.replay / "said.wav", bundle.out_rate)
    chunk = bundle.chunk_samples
    interrupted = _interrupted(args.replay / EVENTS, chunk / bundle.rate)
    made: list[Floats] = []
    text = ""
    with bundle.session(**about["session"]) as session:
        for at in range(0, heard.size - chunk + 1, chunk):
            if at // chunk in interrupted:
                session.interrupt()
            for step in session.feed(heard[at : at + chunk]):
                made.append(step.samples)
                for event in step.events:
                    text = _tell(event, text)
    again = np.concatenate(made) if made else np.zeros(0, np.float32)
    n = min(again.size, said.size)
    same = bool(np.array_equal(again[:n], said[:n]))
    if args.out:
        from parley import write_wav

        write_wav(args.out, again, bundle.out_rate)
    print(f"{n / bundle.out_rate:.1f} s again: {'the same samples' if same else 'other samples'}")
    return 0 if same else DIFFERENT


def _tell(event: Any, text: str) -> str:
    if event.kind == "text":
        return text + str(event.text)
    if event.kind == "reply_ended":
        print(f"{event.time_s:7.2f} s  {text.strip() or '(no words)'}  [{event.reason}]")
        return ""
    return text


def _interrupted(path: Path, chunk_s: float) -> set[int]:
    """The steps before which the user's key cut a reply off."""
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    cut = [event for event in events if event.get("reason") == "interrupted"]
    return {round(event["time_s"] / chunk_s) for event in cut}


def _read(path: Path, rate: int) -> Floats:
    import soundfile

    from parley import InputError

    samples, found = soundfile.read(path, dtype="float32")
    if found != rate or samples.ndim != 1:
        raise InputError(
            f"[replay.read] expected {path} with one channel at {rate} Hz, got {found} Hz; "
            "replay it with the bundle that it was recorded with"
        )
    return np.asarray(samples, np.float32)

"""A live conversation in a folder: both sides as float WAV, events as JSON lines, the options."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

if TYPE_CHECKING:
    import parley
    from parley import LiveEvent
    from parley.events import Floats

OPTIONS = "conversation.json"
EVENTS = "events.jsonl"


class Recording:
    """Written as it goes, so that what was said before a failure is there."""

    def __init__(self, folder: Path, bundle: parley.Bundle, session: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        about = {"bundle": bundle.name, "session": session, "rate": bundle.rate}
        about |= {"out_rate": bundle.out_rate}
        (folder / OPTIONS).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        rates = {"microphone": bundle.rate, "heard": bundle.rate, "said": bundle.out_rate}
        self._sounds = {
            name: soundfile.SoundFile(
                folder / f"{name}.wav", "w", samplerate=rate, channels=1, subtype="FLOAT"
            )
            for name, rate in rates.items()
        }
        self._events = (folder / EVENTS).open("w", buffering=1, encoding="utf-8")  # whole lines

    def take(self, sounds: dict[str, Floats]) -> None:
        """What `Live.recorded` gave."""
        for name, samples in sounds.items():
            if np.size(samples):
                self._sounds[name].write(samples)

    def event(self, event: LiveEvent) -> None:
        """One line."""
        line: dict[str, Any] = {"kind": event.kind, "time_s": round(event.time_s, 3)}
        for name in ("text", "count", "stage"):
            if value := getattr(event, name):
                line[name] = value
        if event.kind == "step":
            line |= {"floor": event.floor, "lag_s": round(event.lag_s, 4)}
            line["timing_ms"] = {k: round(v, 3) for k, v in event.timing_ms.items()}
        if event.turn is not None:
            line["turn"] = asdict(event.turn)
        if event.event is not None and event.event.reason:
            line["reason"] = event.event.reason
        self._events.write(json.dumps(line, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Ends the files; twice does no harm."""
        for sound in self._sounds.values():
            sound.close()
        self._events.close()

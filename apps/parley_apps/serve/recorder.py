"""Keeps a served conversation in a folder, as `parley talk --record` does; knows no protocol."""

from __future__ import annotations

import logging
from pathlib import Path

import parley
from parley import LiveEvent
from parley.events import Floats
from parley_apps.live.record import Recording

log = logging.getLogger("parley.serve")


class Recorder:
    """options: what the session was opened with."""

    def __init__(self, folder: Path, bundle: parley.Bundle, options: dict[str, object]) -> None:
        self._name = folder.name
        self._rate, self._chunk = bundle.out_rate, bundle.out_chunk_samples
        self._recording: Recording | None = None
        try:
            self._recording = Recording(folder, bundle, options)
        except OSError as error:
            self._failed(error)

    def step(self, heard: Floats, step: parley.Step) -> None:
        """A chunk [n] of the user's side and what it gave."""
        if self._recording is None:
            return
        try:
            self._recording.take({"microphone": heard, "heard": heard, "said": step.samples})
            for event in step.events:
                if event.kind not in ("audio", "think"):
                    told = LiveEvent(
                        event.kind, event.sample, event.time_s, event.text, event.count, event=event
                    )
                    self._recording.event(told)
            at = step.index * self._chunk
            self._recording.event(
                LiveEvent("step", at, at / self._rate, floor=step.floor, timing_ms=step.timing_ms)
            )
        except (OSError, RuntimeError) as error:  # soundfile's own error is a RuntimeError
            self._failed(error)

    def close(self) -> None:
        """Ends the files; twice does no harm."""
        recording, self._recording = self._recording, None
        if recording is not None:
            try:
                recording.close()
            except (OSError, RuntimeError) as error:
                self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._recording = None
        log.error("recording ended", extra={"session": self._name, "why": str(error)})

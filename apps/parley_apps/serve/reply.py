"""A reply while it comes: what was drawn of it, and when the last of its sound is out."""

from __future__ import annotations

import parley
from parley.events import Floats
from parley_apps.serve.timeline import ReplyEnded, Sound


class Reply:
    """start: the place of its first chunk."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.reason = ""  # once all of it is drawn
        self._end = start
        self._text_tokens = self._audio_tokens = 0
        self._tail = 0

    @property
    def drawn(self) -> bool:
        return bool(self.reason)

    def count(self, event: parley.Event) -> None:
        """An event of the reply."""
        if event.kind == "text" and event.token >= 0:
            self._text_tokens += 1
        elif event.kind == "audio":
            self._audio_tokens += len(event.codes)
        elif event.kind == "reply_ended":
            self.reason = event.reason

    def sound(self, at: int, samples: Floats) -> Sound | None:
        """The sound of a chunk; None for the silence after all is drawn."""
        if self.drawn and not samples.any():
            return None
        self._end = at + samples.size
        return Sound(at, samples)

    def over(self, step: parley.Step, delay: int, out_chunk: int) -> bool:
        """After each step: whether nothing more is to be heard."""
        if not self.drawn or step.floor == "speaking":
            return False
        self._tail += 1
        return self._tail > -(-delay // out_chunk) or not step.samples.any()

    def ended(self, reason: str, overlapped: bool) -> ReplyEnded:
        """What is told of its end."""
        return ReplyEnded(self._end, reason, overlapped, self._text_tokens, self._audio_tokens)

"""One scenario played to a session: what the model did and when; judges nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from parley.metrics import step_total

if TYPE_CHECKING:
    import parley
    from parley.events import Floats

SOUND_LEVEL = 0.0056  # -45 dBFS: a vocoder's silence lies far below, the weakest speech above


@dataclass
class Reply:
    """A reply: steps in which it began and ended (None: not by the end), its text and sound.

    Times are seconds on the session's timeline, on which what step n returns is heard in chunk
    n + 1. `audio` [n] int16 is kept on demand, from the step in which the reply began.
    """

    start: int
    end: int | None = None
    text: str = ""
    reason: str = ""
    first_sound_s: float | None = None
    last_sound_s: float | None = None
    audio: list[npt.NDArray[np.int16]] = field(default_factory=list)

    def spoke_at(self, step: int) -> bool:
        """Whether it was heard in that chunk, or stopped in it."""
        return self.start < step and (self.end is None or self.end >= step)


@dataclass
class Take:
    """What came of one scenario: replies by time, steps up to the recording's end, their cost."""

    chunk_s: float
    steps: int
    replies: list[Reply]
    cost_ms: float = 0.0
    audio_s: float = 0.0
    turns: list[parley.Turn] = field(default_factory=list)

    def speaking(self, step: int) -> bool:
        """Whether a reply is under way in that step."""
        return any(r.start <= step and (r.end is None or step < r.end) for r in self.replies)


def play(session: parley.Session, samples: Floats, keep_audio: bool = False) -> Take:
    """Plays a recording [n] at the session's rate, then silence until the model listens again."""
    chunk_s = session.chunk_samples / session.rate
    take = Take(chunk_s, -(-samples.size // session.chunk_samples), [])
    for step in session.play(samples):
        for event in step.events:
            _note(take.replies, event, step.index)
        if take.replies:
            _listen(take.replies[-1], step, chunk_s, keep_audio)
        take.cost_ms += step_total(step.timing_ms)
        take.audio_s += chunk_s
        take.turns += session.take_turns()
    return take


def _note(replies: list[Reply], event: parley.Event, index: int) -> None:
    if event.kind == "reply_started":
        replies.append(Reply(index))
    elif replies and event.kind == "text":
        replies[-1].text += event.text
    elif replies and event.kind == "reply_ended":
        replies[-1].end = index
        replies[-1].reason = event.reason


def _listen(reply: Reply, step: parley.Step, chunk_s: float, keep_audio: bool) -> None:
    samples = step.samples
    loud = np.flatnonzero(np.abs(samples) > SOUND_LEVEL)
    if loud.size:
        start_s, rate = (step.index + 1) * chunk_s, samples.size / chunk_s
        if reply.first_sound_s is None:
            reply.first_sound_s = float(start_s + loud[0] / rate)
        reply.last_sound_s = float(start_s + (loud[-1] + 1) / rate)
    if keep_audio and (reply.end is None or step.index <= reply.end + 1):
        reply.audio.append(np.rint(np.clip(samples, -1, 1) * 32767).astype(np.int16))

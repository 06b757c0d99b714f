"""What was said in a run of `talk`, on one timeline; knows how to collect it, no file format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from parley import Event, Session, Step, Turn
from parley.metrics import Costs

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Said:
    """What the user said: a recording or a text, with its place on the timeline in seconds."""

    start_s: float
    end_s: float
    name: str  # of the recording's file; empty for a text
    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model said; as a string a line for people."""

    start_s: float
    end_s: float
    text: str
    reason: str

    def __str__(self) -> str:
        return f"{self.start_s:7.2f} s  {self.text.strip() or '(no words)'}  [{self.reason}]"


@dataclass
class Conversation:
    """All steps of a session, with the user's side on the same timeline.

    Time is counted in samples, so the same run gives the same times. Chunk n lies at
    n * chunk_s; what a step returns for it is heard one chunk later in a live conversation.
    """

    mode: str
    rate: int
    chunk_samples: int
    out_rate: int  # of the model's side
    steps: list[Step] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)  # backbone positions after each step
    said: list[Said] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)  # where the engine looks after them
    _user: list[tuple[int, Floats]] = field(default_factory=list)

    @property
    def chunk_s(self) -> float:
        return self.chunk_samples / self.rate

    @property
    def duration_s(self) -> float:
        return len(self.steps) * self.chunk_s

    @property
    def events(self) -> list[Event]:
        return [event for step in self.steps for event in step.events]

    def play(self, session: Session, recording: Floats, name: str) -> Iterator[Step]:
        """Plays a recording [n] at the session's rate; iterates over the steps that it keeps."""
        start = len(self.steps) * self.chunk_samples
        self._user.append((start, recording))
        start_s = start / self.rate
        self.said.append(Said(start_s, start_s + recording.size / self.rate, name, ""))
        yield from self.keep(session, session.play(recording))

    def say(self, session: Session, text: str) -> Iterator[Step]:
        """Says a text; iterates over the steps that it keeps."""
        start_s = self.duration_s
        self.said.append(Said(start_s, start_s, "", text))
        yield from self.keep(session, session.play_text(text))

    def user(self) -> Floats:
        """The user's side [n], silence between recordings."""
        samples = np.zeros(len(self.steps) * self.chunk_samples, dtype=np.float32)
        for start, recording in self._user:
            piece = recording[: samples.size - start]
            samples[start : start + piece.size] = piece
        return samples

    def model(self) -> Floats:
        """The model's side [n] at out_rate."""
        pieces = [step.samples for step in self.steps]
        return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.float32)

    def replies(self) -> list[Reply]:
        """The model's replies; one that was still under way at the end has the reason "cut"."""
        found: list[Reply] = []
        start: float | None = None
        text = ""
        for event in self.events:
            if event.kind == "reply_started":
                start = event.time_s
            elif event.kind == "text":
                text += event.text
            elif event.kind == "reply_ended":
                begin = event.time_s if start is None else start
                found.append(Reply(begin, event.time_s, text, event.reason))
                start, text = None, ""
        if start is not None or text:
            begin = self.duration_s if start is None else start
            found.append(Reply(begin, self.duration_s, text, "cut"))
        return found

    def floor(self) -> list[tuple[float, float, str]]:
        """Who had the floor: (start_s, end_s, state), without gaps.

        A step tells the state after it; a chunk in which the last sound plays still counts as
        speaking.
        """
        found: list[tuple[float, float, str]] = []
        for n, step in enumerate(self.steps):
            spoke = bool(found) and found[-1][2] == "speaking"
            sounds = step.floor == "listening" and bool(step.samples.any())
            state = "speaking" if spoke and sounds else step.floor
            end_s = (n + 1) * self.chunk_s
            start_s = n * self.chunk_s
            if found and found[-1][2] == state:
                start_s = found.pop()[0]
            found.append((start_s, end_s, state))
        return found

    def costs(self) -> Costs:
        costs = Costs(self.chunk_s)
        for step in self.steps:
            costs.add(step.timing_ms, step.bottleneck)
        return costs

    def keep(self, session: Session, steps: Iterator[Step]) -> Iterator[Step]:
        """Iterates over steps of the session, each of which becomes part of the conversation."""
        for step in steps:
            self.steps.append(step)
            self.positions.append(session.position)
            self.turns += session.take_turns()
            yield step

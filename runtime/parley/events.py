"""What a step returns, as plain values; knows no engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from parley import _core

Floats = npt.NDArray[np.float32]
OnRun = Callable[[str, dict[str, np.ndarray]], object]  # a graph's name, and its inputs by name
OnDraw = Callable[[Floats, list[tuple[int, int]], int], int]  # logits, allowed ids, picked -> taken
Floor = Literal["listening", "preparing", "speaking", "closed"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a step.

    kind: "turn_ended" (the user's), "reply_started", "text" (`token`, `text`), "audio" (`codes`),
    "reply_ended" (`reason`: model, break, interrupted, max_tokens or context; where interrupted,
    `count` is the place on the output timeline up to which it was heard), "think", "shift", "break"
    (the model's control tokens), "window" (`count` positions forgotten), "underrun" and "muted"
    (`count` samples of silence), "call" (of the tool `name`; `text` is its arguments, JSON as the
    model wrote it).
    `sample` is the place on the session's output timeline, `time_s` the same in seconds. `text`
    holds whole characters; `token` is -1 where the event has none.
    """

    kind: str
    sample: int
    time_s: float
    token: int = -1
    text: str = ""
    codes: tuple[int, ...] = ()
    reason: str = ""
    count: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """What one chunk gave.

    samples: [out_chunk_samples] float32 at the bundle's `out_rate`, silence where nothing is said.
    floor: "listening", "preparing" or "speaking" after the step. index: steps before this one.
    timing_ms: milliseconds by stage; "total" is the whole step. bottleneck: the stage that bounds
    the step's time; where stages ran beside each other (`overlap`), the longest of the busier
    thread.
    """

    samples: Floats
    events: list[Event]
    floor: Floor
    index: int
    timing_ms: dict[str, float]
    bottleneck: str = ""

    @property
    def text(self) -> str:
        """The text of this step's events."""
        return text_of(self.events)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole exchange: `samples` [n] float32 at the bundle's `out_rate` on the timeline of the
    recording that was played (silence while the model listened), its `text` and all `events`."""

    samples: Floats
    text: str
    events: list[Event] = field(repr=False)


def event_of(raw: _core.Event) -> Event:
    """The engine's event as a plain value."""
    name, _, arguments = raw.text.partition("\n") if raw.kind == "call" else ("", "", raw.text)
    return Event(
        kind=raw.kind,
        sample=raw.sample,
        time_s=raw.time_s,
        token=raw.token,
        text=arguments,
        codes=tuple(raw.codes),
        reason=raw.reason,
        count=raw.count,
        name=name,
    )


def text_of(events: Iterable[Event]) -> str:
    """What was said in them."""
    return "".join(event.text for event in events if event.kind == "text")


def step_of(raw: _core.Step) -> Step:
    """The engine's step as a plain value."""
    events = [event_of(event) for event in raw.events]
    return Step(raw.samples, events, raw.floor, raw.index, raw.timing_ms, raw.bottleneck)

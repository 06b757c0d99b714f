"""What happens in a conversation, on the timeline of its samples; knows no protocol and no socket.

A place `at` is a sample of the session's output timeline (`Conversation.out_rate`), which input
shares: chunk n of what is heard and chunk n of what is said begin at the same place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from parley.events import Floats, Floor


@dataclass(frozen=True, slots=True)
class VoiceStarted:
    """The user's voice was heard from `at` on."""

    at: int


@dataclass(frozen=True, slots=True)
class VoiceStopped:
    """The user has been silent since `at`."""

    at: int


@dataclass(frozen=True, slots=True)
class ReplyStarted:
    """The model took the floor; its first sound is that of the chunk at `at`."""

    at: int


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of what the model says, as it was drawn."""

    at: int
    text: str


@dataclass(frozen=True, slots=True)
class Sound:
    """A chunk of a reply's sound: float32 [n] at the output rate."""

    at: int
    samples: Floats = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReplyEnded:
    """All of a reply is out. reason: as in `parley.Event`; overlapped: the user's voice was there
    when the model gave the floor back; tokens: text tokens and audio codes that were drawn."""

    at: int
    reason: str
    overlapped: bool
    text_tokens: int
    audio_tokens: int


@dataclass(frozen=True, slots=True)
class NoReply:
    """A reply was asked for, and the model went on listening."""

    at: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A step was made. decision: think, shift, break or speak; lag_ms: from the arrival of the
    chunk's last sample to now; levels in dB of full scale; said: all of its sound, silence too."""

    at: int
    index: int
    floor: Floor
    decision: str
    timing_ms: Mapping[str, float]
    bottleneck: str
    lag_ms: float
    heard_db: float
    said_db: float
    voice: bool
    said: Floats = field(repr=False)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The context was full: so many of its oldest positions are gone."""

    at: int
    positions: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The engine raised; the conversation is over."""

    at: int
    error: Exception


Happening = (
    VoiceStarted
    | VoiceStopped
    | ReplyStarted
    | Text
    | Sound
    | ReplyEnded
    | NoReply
    | Chunk
    | Forgotten
    | Failed
)

"""A live conversation: samples in and out at any time, events as they happen; names no device."""

from __future__ import annotations

import asyncio
import atexit
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from parley import _core, arguments
from parley.audio import check_samples
from parley.events import Event, Floats, Floor, event_of
from parley.turns import Turn

TICK_S = 0.1  # the longest that a wait for an event holds without looking at signals


@dataclass(frozen=True, slots=True)
class AudioDevice:
    """A microphone, a loudspeaker, or both. `inputs`, `outputs`: channels; `rate`: preferred, Hz;
    `host`: the system behind it, such as ALSA."""

    index: int
    name: str
    host: str
    inputs: int
    outputs: int
    rate: float
    default_input: bool
    default_output: bool


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """Something that happened in a live conversation.

    kind: that of a session's event (`event` holds it whole), or "step" (a chunk went through:
    `floor`, `timing_ms`, `lag_s` from the microphone's last sample to the loudspeaker), "late" (it
    took longer than a chunk; `stage` took most), "missing" (`count` samples of silence were heard
    in place of sound), "dropped" (`count` of the microphone's samples were lost), "skipped"
    (`count` samples of sound were left out to be on time), "silent_microphone" (nothing but zeros
    for 5 s), "echo_found" (`lag_s` late), "device_lost", "device_found" (`text` names it), "turn"
    (of managed turns: one came to its end, `turn`), "failed" (`text` says why; it is over).
    `sample` is the place on the session's output timeline, `time_s` the same in seconds.
    """

    kind: str
    sample: int
    time_s: float
    text: str = ""
    count: int = 0
    floor: Floor = "listening"
    stage: str = ""
    lag_s: float = 0.0
    timing_ms: Mapping[str, float] = field(default_factory=dict)
    event: Event | None = None
    turn: Turn | None = None


def audio_devices(library: str = "") -> list[AudioDevice]:
    """The sound devices that there are now; `library`: PortAudio's path where it is not installed.

    Raises LibraryError where PortAudio cannot be opened.
    """
    return [AudioDevice(**device) for device in _core.audio_devices(library)]


class Live:
    """A live conversation; made by `Bundle.live`, a context manager and an iterator of events.

    Steps run on a thread of the engine's own, sound devices on threads of theirs: none of them
    waits for Python. Any thread may call any method.

    >>> with parley.open("nano") as bundle, bundle.live() as live:  # doctest: +SKIP
    ...     for event in live:
    ...         print(event.kind, event.text)
    """

    def __init__(self, core: _core.Live) -> None:
        self._core = core
        _open.add(self)

    @property
    def input_name(self) -> str:
        """The microphone in use; empty where the samples come from `capture`."""
        return self._core.input_name

    @property
    def output_name(self) -> str:
        """The loudspeaker in use; empty where the samples go to `render`."""
        return self._core.output_name

    @property
    def running(self) -> bool:
        """Whether the conversation goes on."""
        return self._core.running

    def capture(self, samples: Floats) -> None:
        """A block of the caller's own microphone: [n] float32, mono, at `capture_rate`.

        Raises InputError for what `Session.step` refuses, such as integers: nothing is taken then.
        """
        self._core.capture(check_samples(samples, "live.capture"))

    def render(self, n: int) -> Floats:
        """The next n samples for the caller's own loudspeaker, float32 at `render_rate`."""
        return self._core.render(arguments.whole_number("live.render", "n", n, 0, 1 << 24))

    def turn(self) -> bool:
        """Without a thread: does what the captured samples allow; whether there was a step."""
        return self._core.turn()

    def interrupt(self) -> None:
        """Silence at once; the history keeps what was heard."""
        self._core.interrupt()

    def mute(self, on: bool = True) -> None:
        """The model hears silence in place of the microphone."""
        self._core.mute(arguments.flag("live.mute", "on", on))

    def wait(self, seconds: float = TICK_S) -> LiveEvent | None:
        """The next event, waiting at most so long; None where none came."""
        raw = self._core.wait(arguments.number("live.wait", "seconds", seconds))
        return None if raw is None else _event_of(raw)

    def statistics(self) -> dict[str, Any]:
        """Counts since the start, levels and queues of now, echo, drift; times in seconds."""
        return self._core.statistics()

    def recorded(self) -> dict[str, Floats]:
        """What was recorded since the last call: "microphone" and "heard" (without echo) at the
        bundle's `rate`, "said" at its `out_rate`. Empty unless opened with `record=True`."""
        return self._core.recorded()

    def stop(self) -> None:
        """Ends the conversation and lets go of the devices; twice does no harm."""
        self._core.stop()

    def __iter__(self) -> Iterator[LiveEvent]:
        while True:
            event = self.wait(TICK_S)
            if event is not None:
                yield event
            elif not self.running:
                return

    async def __aiter__(self) -> AsyncIterator[LiveEvent]:
        while True:
            event = await asyncio.to_thread(self.wait, TICK_S)
            if event is not None:
                yield event
            elif not self.running:
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _event_of(raw: dict[str, Any]) -> LiveEvent:
    kind, sample, time_s = raw["kind"], raw["sample"], raw["time_s"]
    if kind == "session":
        event = event_of(raw["event"])
        return LiveEvent(event.kind, sample, time_s, event.text, event.count, event=event)
    return LiveEvent(
        kind,
        sample,
        time_s,
        text=raw["text"].decode(errors="replace"),
        count=raw["count"],
        floor=raw["floor"],
        stage=raw["stage"],
        lag_s=raw["lag_s"],
        timing_ms=raw.get("timing_ms", {}),
        turn=Turn(**raw["turn"]) if "turn" in raw else None,
    )


def open_live(
    core: _core.Bundle,
    session: _core.Session | _core.Managed,
    *,
    devices: tuple[str, str, str] | None,
    start: bool,
    record: bool,
    **sound: Any,
) -> Live:
    """A conversation over a session of the engine, which it takes over; see `Bundle.live`.

    devices: microphone, loudspeaker and PortAudio's path; sound: what `Bundle.live` says of it.
    """
    where, rates = "bundle.live", (8000, 384000)
    options = _core.LiveOptions(
        capture_hz=arguments.whole_number(where, "capture_rate", sound["capture_rate"], *rates),
        render_hz=arguments.whole_number(where, "render_rate", sound["render_rate"], *rates),
        cancel_echo=arguments.flag(where, "cancel_echo", sound["cancel_echo"]),
        lead_s=arguments.number(where, "lead_s", sound["lead_s"]),
        render_latency_s=arguments.number(where, "render_latency_s", sound["render_latency_s"]),
    )
    engine = _core.Live(core, session, options, arguments.flag(where, "record", record))
    live = Live(engine)
    if devices is not None:
        named = zip(("input", "output", "library"), devices, strict=True)
        engine.open_devices(*[arguments.text(where, name, value) for name, value in named])
    if start:
        engine.start()
    return live


_open: weakref.WeakSet[Live] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """Threads of the engine and of devices end before the interpreter does."""
    for live in list(_open):
        live.stop()

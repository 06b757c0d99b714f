"""A conversation over the engine's session: any cut of samples in, steps out; knows no stage."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from parley import _core
from parley.arguments import text as check_text
from parley.audio import check_rate, check_recording, check_samples
from parley.errors import ContextError, InputError
from parley.events import Answer, Event, Floats, Floor, Step, step_of, text_of
from parley.tools import Calls, Tool
from parley.turns import Turn

LISTEN_AGAIN_S = 30.0  # the most silence that is played after a recording
PATIENCE_S = 2.0  # silence after which a model that has said nothing is taken to go on listening


class Session:
    """One conversation; made by `Bundle.session`, a context manager.

    Use it from one thread at a time; `interrupt`, `cancel` and `close` may come from any.

    >>> with parley.open("bundle") as bundle, bundle.session() as session:  # doctest: +SKIP
    ...     answer = session.answer(*parley.read_audio("question.wav"))
    """

    def __init__(
        self,
        core: _core.Session | _core.Managed,
        *,
        chunk_samples: int,
        rate: int,
        out_chunk_samples: int,
        out_rate: int,
        resample: Callable[[Floats, int], Floats],
        max_turn_s: float | None = None,
        made: Callable[[Session], object] | None = None,
        tools: Sequence[Tool] = (),
    ) -> None:
        self._core = core
        self._made = made  # told of each fork
        self._tools = tools
        self._calls = Calls(tools)
        self._chunk = chunk_samples
        self._rate = rate
        self._out_chunk = out_chunk_samples
        self._out_rate = out_rate
        self._resample = resample
        self._max_turn_s = max_turn_s
        self._unread = False  # whole chunks wait that nobody has begun to read the steps of

    @property
    def mode(self) -> str:
        """ "turns", "duplex" or "managed"."""
        return self._core.mode

    @property
    def floor(self) -> Floor:
        """Who has the floor: "listening", "preparing" or "speaking"; "closed" at the end."""
        return self._core.floor

    @property
    def position(self) -> int:
        """Backbone positions that the conversation holds."""
        return self._core.position

    @property
    def rate(self) -> int:
        """Samples per second, in."""
        return self._rate

    @property
    def chunk_samples(self) -> int:
        """Samples of one chunk, in."""
        return self._chunk

    @property
    def out_rate(self) -> int:
        """Samples per second, out."""
        return self._out_rate

    @property
    def out_chunk_samples(self) -> int:
        """Samples of one chunk, out; they last as long as those of one in."""
        return self._out_chunk

    @property
    def delay_samples(self) -> int:
        """Constant delay between a drawn audio code and its sound, in output samples."""
        return self._core.delay_samples

    @property
    def input_delay_samples(self) -> int:
        """Constant delay of the front end, in input samples (duplex; 0 in turns)."""
        return self._core.input_delay_samples

    def step(self, samples: npt.ArrayLike) -> Step:
        """Takes exactly one chunk [chunk_samples] of floats in -1..1 and returns what it gave.

        Raises InputError for another length, other samples than finite floats of one channel, and
        samples left over from `feed`; ContextError where the conversation is full; CancelledError
        after `cancel`. The session is then as it was before the step.
        """
        self._refuse_waiting("step")
        return self._step(check_samples(samples, "session.step"))

    def feed(self, samples: npt.ArrayLike, rate: int | None = None) -> Iterator[Step]:
        """Takes any number of samples [n] and iterates over the steps of the chunks they fill.

        rate: of the samples, where it is not the bundle's, such as a microphone's 48000; they are
        resampled as they come. The rest waits for the next call: any way of cutting the same
        samples gives the same steps. The samples are taken at once, the work is done as the
        iterator is read; InputError where nobody began to read the steps of the call before, and
        for samples that `step` refuses: nothing is taken then. Where a step fails, which raises as
        `step` does, its samples wait on: the next call begins with them, and `reset` drops them.
        """
        piece = check_samples(samples, "session.feed")
        hz = 0 if rate is None else check_rate(rate, "the samples")
        if self._unread:
            raise InputError(
                "[session.feed] expected the steps of the feed() before to be read, got "
                f"{self._core.waiting} samples that wait for it; write "
                "`for step in session.feed(samples)`"
            )
        self._core.feed(piece, hz)
        return self._steps()

    def flush(self) -> Iterator[Step]:
        """Fills the rest of a chunk with silence and iterates over what is left."""
        self._core.flush()
        return self._steps()

    def end_turn(self) -> None:
        """Says that the user's turn is over (mode "turns"), with the chunk of its last sample."""
        self._plain("end_turn").end_turn()

    def send_text(self, text: str) -> None:
        """Says a whole user turn as text (mode "turns"); the reply comes with the next steps."""
        core = self._plain("send_text")
        core.send_text(check_text("session.send_text", "text", text))

    def send_result(self, name: str, content: str) -> None:
        """Tells the model what a tool gave that it called (mode "turns"); the next reply answers.

        While a reply is under way it waits until that was heard. Tools with a `run` of their own
        need no such call. Raises InputError for a model that calls no tools.
        """
        self._plain("send_result").send_result(
            check_text("session.send_result", "name", name),
            check_text("session.send_result", "content", content),
        )

    def interrupt(self, heard_until: int | None = None) -> None:
        """Stops the reply: generation ends, queued sound is dropped with a short fade.

        heard_until: the sample of the output timeline that the loudspeaker has reached, where not
        all that the steps gave was heard; in turns the history keeps what was. The session knows
        where the last 256 chunks lie. From any thread; in a closed session it does nothing.
        """
        self._core.interrupt(heard_until)

    def cancel(self) -> None:
        """Stops the step under way, from any thread; it raises CancelledError."""
        self._core.cancel()

    def fork(self) -> Session:
        """A second conversation that goes on from here; neither learns what the other does.

        Dropping one costs the other nothing. Both draw on the same room in the context, and each
        may be used from a thread of its own. Raises InputError for samples left over from `feed`,
        ContextError where there are three forks already.
        """
        fork = copy.copy(self)
        fork._core = self._plain("fork").fork()
        fork._calls = Calls(self._tools)
        if self._made is not None:
            self._made(fork)
        return fork

    def save(self, path: str | Path) -> None:
        """Writes all that the conversation remembers to a file, whole or not at all.

        `Bundle.resume` takes it up. Raises InputError for samples left over from `feed`, Error
        where the disk says no.
        """
        self._plain("save").save(os.fsencode(path))

    def take_turns(self) -> list[Turn]:
        """Managed or observed turns that came to their end since the last call; else none."""
        if isinstance(self._core, _core.Managed):
            return [Turn(**turn) for turn in self._core.take_turns()]
        return []

    def reset(self) -> None:
        """Begins a new conversation with the same settings."""
        self._core.reset()
        self._unread = False

    def close(self) -> None:
        """Frees the conversation's memory; from any thread, twice does no harm."""
        self._calls.close()
        self._core.close()

    def play(self, recording: npt.ArrayLike, rate: int | None = None) -> Iterator[Step]:
        """Plays a whole recording [n] at `rate` (the bundle's where None), step by step.

        In mode "turns" the turn ends with it. Then silence follows until the model listens again,
        at most 30 s (a reply in turns that is longer is interrupted there). Raises InputError for
        a bad recording and for samples left over from `feed`, ContextError for a turn that is too
        long, all before the first step.
        """
        self._refuse_waiting("play")
        rate = self._rate if rate is None else rate
        samples = check_recording(recording, rate)
        self.check_turn_length(samples.size / rate)
        if rate != self._rate:
            samples = self._resample(samples, rate)
        return self._play(samples)

    def check_turn_length(self, seconds: float) -> None:
        """Raises ContextError where a recorded turn of so many seconds would not fit."""
        limit = self._max_turn_s
        if self.mode == "turns" and limit is not None and seconds > limit:
            raise ContextError(
                f"[session.check] expected a turn of at most {limit:g} s, got {seconds:.1f} s, "
                "which exceeds the model's context; cut the recording into turns, "
                "or use a bundle with mode duplex"
            )

    def play_text(self, text: str) -> Iterator[Step]:
        """Sends a text turn (mode "turns") and iterates until the model listens again."""
        self._refuse_waiting("play_text")
        self.send_text(text)
        return self._until_listening()

    def answer(self, recording: npt.ArrayLike, rate: int | None = None) -> Answer:
        """Plays a whole recording as `play` does and returns the exchange.

        Called several times it is one conversation of several turns.
        """
        return collect(self.play(recording, rate))

    def answer_text(self, text: str) -> Answer:
        """Sends a text turn (mode "turns") and returns the exchange."""
        return collect(self.play_text(text))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _plain(self, verb: str) -> _core.Session:
        """The engine's session, for what the engine does by itself where turns are managed."""
        if isinstance(self._core, _core.Managed):
            raise InputError(
                f"[session.{verb}] expected mode turns or duplex, got {self.mode} with turns that "
                "the engine looks after; open a session without, or leave this out"
            )
        return self._core

    def _steps(self) -> Iterator[Step]:
        self._unread = self._core.waiting >= self._chunk

        def read() -> Iterator[Step]:
            self._unread = False
            while (raw := self._next()) is not None:
                yield raw

        return read()

    def _step(self, samples: Floats) -> Step:
        """One step, between which results of tools come and calls of them go out."""
        self._send_results()
        step = step_of(self._core.step(samples))
        self._calls.begin(step.events)
        return step

    def _next(self) -> Step | None:
        self._send_results()
        raw = self._core.next()
        if raw is None:
            return None
        step = step_of(raw)
        self._calls.begin(step.events)
        return step

    def _send_results(self) -> None:
        for name, content in self._calls.done():
            self._plain("send_result").send_result(name, content)

    def _refuse_waiting(self, verb: str) -> None:
        if waiting := self._core.waiting:
            raise InputError(
                f"[session.{verb}] expected no samples left over from feed(), got {waiting}; "
                "iterate over flush() first, or use feed() throughout"
            )

    def _play(self, samples: Floats) -> Iterator[Step]:
        self._refuse_waiting("play")  # fed between the call and the first step
        whole = samples.size // self._chunk * self._chunk
        for start in range(0, whole, self._chunk):
            yield self._step(samples[start : start + self._chunk])
        if whole < samples.size:
            self._core.feed(samples[whole:], self._rate)
        if self.mode == "turns":
            self.end_turn()  # with the recording's last sample, not with the silence behind it
        yield from self.flush()
        yield from self._until_listening()

    def _until_listening(self) -> Iterator[Step]:
        """Silence until the model listens and its sound is out, or has listened for a while."""
        silence = np.zeros(self._chunk, dtype=np.float32)
        chunk_s = self._chunk / self._rate
        tail, patience = -(-self.delay_samples // self._out_chunk), round(PATIENCE_S / chunk_s)
        replied, quiet = False, 0
        for _ in range(int(LISTEN_AGAIN_S / chunk_s)):
            step = self._step(silence)
            replied = replied or any(event.kind == "reply_ended" for event in step.events)
            quiet = quiet + 1 if step.floor == "listening" else 0
            yield step
            # In turns the floor comes back with the last sample, and silence would be the next
            # turn's.
            enough = patience if not replied else 0 if self.mode == "turns" else tail
            if quiet > enough and not self._calls.wait():
                return
        if self.mode == "turns" and self.floor != "listening":
            self.interrupt()
            yield self._step(silence)


def collect(steps: Iterator[Step]) -> Answer:
    """Reads all steps into one Answer."""
    samples: list[Floats] = []
    events: list[Event] = []
    for step in steps:
        samples.append(step.samples)
        events.extend(step.events)
    joined = np.concatenate(samples) if samples else np.zeros(0, dtype=np.float32)
    return Answer(joined, text_of(events), events)

"""One dialogue on the chunk grid: who says what when, and its labels; knows no bank and no noise.

Labels. A command whose last sample lies in chunk k is answered from chunk k + 2 (SHIFT), with all
of the reply's chunks (SPEAK), then BREAK. Speech that interrupts brings the BREAK to the chunk
that ends BREAK_SECONDS after its onset, or to the one after its last chunk, whichever is first.
Training aids look back: an encoder frame is labelled with the phone PHONE_DELAY before its end, a
chunk with the word WORD_DELAY before its end.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

CHUNK = 2560  # samples at 16 kHz
ENCODER_FRAME = 320
THINK, SHIFT, SPEAK, BREAK = range(4)
ANSWER_CHUNKS = 2
BREAK_SECONDS = 0.64
PHONE_DELAY, WORD_DELAY = 480, 3840  # samples
USER_HZ = 16000

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Spoken:
    """An utterance to place: float wave [samples], starts of words and phones, ids of both."""

    wave: Floats
    word_ids: Ints
    word_starts: Ints
    phone_ids: Ints
    phone_starts: Ints
    text: str = ""
    pauses: tuple[tuple[int, int], ...] = ()  # their first samples and those after their last
    voice: str = ""


@dataclass(frozen=True)
class Answer:
    """A reply to place: words [C] (-1 = text-pad) and codes [C, 4]; `key` names its sound."""

    key: int
    words: npt.NDArray[np.int16]
    codes: npt.NDArray[np.int16]


@dataclass
class Event:
    """What happened, in samples at 16 kHz: `kind` is the group of what was said, or "reply"."""

    kind: str
    begin: int
    end: int
    key: int
    text: str = ""
    pauses: tuple[tuple[int, int], ...] = ()
    voice: str = ""


def with_pauses(spoken: Spoken, places: list[int], silences: list[int]) -> Spoken:
    """`spoken` with `silences` (in samples) before the words `places` (ascending), with fades."""
    waves, words, phones = [], spoken.word_starts.copy(), spoken.phone_starts.copy()
    edge, begin = 80, 0
    for place, silence in zip(places, silences, strict=True):
        cut = int(spoken.word_starts[place])
        part = spoken.wave[begin:cut].copy()
        count = min(edge, len(part))
        part[len(part) - count :] *= np.linspace(1, 0, count, dtype=np.float32)
        waves += [part, np.zeros(silence, np.float32)]
        words += np.where(spoken.word_starts >= cut, silence, 0)
        phones += np.where(spoken.phone_starts >= cut, silence, 0)
        begin = cut
    waves.append(spoken.wave[begin:])
    # In the pause there is no word and no phone (0 in both tracks).
    gaps = [
        int(spoken.word_starts[place]) + sum(silences[: places.index(place)]) for place in places
    ]
    word_ids, words = _insert_zeros(spoken.word_ids, words, gaps)
    phone_ids, phones = _insert_zeros(spoken.phone_ids, phones, gaps)
    pauses = tuple((gap, gap + silence) for gap, silence in zip(gaps, silences, strict=True))
    return replace(
        spoken,
        wave=np.concatenate(waves),
        word_ids=word_ids,
        word_starts=words,
        phone_ids=phone_ids,
        phone_starts=phones,
        pauses=pauses,
    )


def _insert_zeros(ids: Ints, starts: Ints, gaps: list[int]) -> tuple[Ints, Ints]:
    """`ids` and `starts` with an id 0 that starts at each of `gaps`, in order of time."""
    starts = np.concatenate([starts, gaps]).astype(np.int64)
    ids = np.concatenate([ids, np.zeros(len(gaps), np.int64)])
    order = np.argsort(starts, kind="stable")
    return ids[order], starts[order]


def answer_chunk(end: int) -> int:
    """The SHIFT chunk of a command that ends before sample `end`."""
    return (end - 1) // CHUNK + ANSWER_CHUNKS


def break_chunk(begin: int, end: int) -> int:
    """The BREAK chunk of speech from `begin` to `end` that interrupts a reply."""
    decided = -(-(begin + round(BREAK_SECONDS * USER_HZ)) // CHUNK) - 1
    return min(decided, (end - 1) // CHUNK + 1)


class Scene:
    """A dialogue under construction, `chunks` long; what lies beyond its end is dropped."""

    def __init__(self, chunks: int) -> None:
        self.chunks = chunks
        self.samples = chunks * CHUNK
        self.user = np.zeros(self.samples, np.float32)
        self.kinds = np.full(chunks, THINK, np.int64)
        self.text = np.full(chunks, -1, np.int64)
        self.codes = np.full((chunks, 4), -1, np.int64)
        self.phones = np.zeros(chunks * CHUNK // ENCODER_FRAME, np.int64)
        self.words = np.zeros(chunks, np.int64)
        self.events: list[Event] = []

    def say(self, kind: str, spoken: Spoken, begin: int, *, key: int = -1) -> int:
        """Places what a user says at sample `begin`; returns the sample after its end."""
        end = begin + len(spoken.wave)
        kept = max(0, min(end, self.samples) - begin)
        self.user[begin : begin + kept] += spoken.wave[:kept]
        for track, ids, starts, hop, delay in (
            (self.phones, spoken.phone_ids, spoken.phone_starts, ENCODER_FRAME, PHONE_DELAY),
            (self.words, spoken.word_ids, spoken.word_starts, CHUNK, WORD_DELAY),
        ):
            first = max(0, (begin + delay) // hop - 1)
            last = min(len(track), (end + delay) // hop + 1)
            times = np.arange(first + 1, last + 1) * hop - delay - begin
            inside = (times >= 0) & (times < len(spoken.wave))
            places = np.searchsorted(starts, times, side="right") - 1
            inside &= places >= 0
            track[first:last][inside] = ids[places[inside]]
        pauses = tuple((begin + first, begin + after) for first, after in spoken.pauses)
        self.events.append(Event(kind, begin, end, key, spoken.text, pauses, spoken.voice))
        return end

    def reply(self, answer: Answer, first: int, stop: int | None = None) -> int:
        """Places a reply from chunk `first`, with its BREAK in chunk `stop` at the latest.

        Returns the chunk of the BREAK.
        """
        length = len(answer.codes)
        last = first + length if stop is None else min(first + length, stop)
        kept = min(last, self.chunks)
        count = max(0, kept - first)
        self.kinds[first:kept] = SPEAK
        self.text[first:kept] = answer.words[:count]
        self.codes[first:kept] = answer.codes[:count]
        if first < self.chunks:
            self.kinds[first] = SHIFT
        if last < self.chunks:
            self.kinds[last] = BREAK
        self.events.append(Event("reply", first * CHUNK, last * CHUNK, answer.key))
        return last

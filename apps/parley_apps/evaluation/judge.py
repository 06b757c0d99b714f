"""What a take is worth: each turn, backchannel and interruption as a row; knows no engine.

Chunk numbers decide success, so a row does not depend on rounding; milliseconds are reported.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from parley_apps.evaluation.scenarios import Scenario, Span
from parley_apps.evaluation.take import Reply, Take

ANSWER_CHUNKS = 6  # SHIFT comes at most so long after the chunk of the user's last sample
STOP_CHUNKS = 8  # BREAK comes at most so long after the chunk of an interruption's onset
LENGTH_SLACK = 1  # chunks that a whole reply may be shorter than its expected length

DEFINITIONS = f"""\
success:
  turn          the first SHIFT since the turn began comes 0 to {ANSWER_CHUNKS} chunks after the
                chunk of the user's last sample
  pause         the same: no SHIFT in the pause, and the right one at the end
  backchannel   the reply goes on to its end: its text is a whole expected reply of this folder,
                and its length that of "reply_s" where given
  interruption  BREAK at most {STOP_CHUNKS} chunks after the onset's chunk, and no new reply before
                the interruption's end, or, after a stop word, before the next turn
  noise         no reply at all
exact reply and word error rate are told of all turns that expect a reply (also of unanswered ones);
of an interruption, of the command's answer. A false start is a SHIFT while nobody asks anything.
Delays run to the end of the chunk that decides (SHIFT), or to the first or last sample above -45
dBFS, which is heard one chunk after the step that returned it."""


@dataclass
class Row:
    """One judged thing; success is None where the scene was dropped, `why` tells the reason."""

    scenario: str
    kind: str
    item: str
    start_s: float
    end_s: float
    tags: Mapping[str, Any] = field(default_factory=dict)
    success: bool | None = None
    why: str = ""
    expected: str | None = None
    said: str | None = None
    exact: bool | None = None
    words: int = 0
    word_errors: int = 0
    shift_ms: float | None = None
    sound_ms: float | None = None
    stop_ms: float | None = None
    reply: Reply | None = field(default=None, repr=False)  # the answer, for the speech check


@dataclass
class FalseStarts:
    """How often the model began to speak in so many seconds in which it listened unasked."""

    count: int
    seconds: float


def normal(text: str) -> str:
    """A text for comparison: lower case, words with single spaces, no punctuation."""
    return " ".join(re.findall(r"\w+(?:['\N{RIGHT SINGLE QUOTATION MARK}]\w+)*", text.casefold()))


def known_replies(scenarios: Iterable[Scenario]) -> dict[str, float | None]:
    """Every expected reply (normal form) and its length in seconds where one is given."""
    known: dict[str, float | None] = {}
    for scenario in scenarios:
        for ask in scenario.asks:
            if ask.reply is not None and known.get(normal(ask.reply)) is None:
                known[normal(ask.reply)] = ask.reply_s
    return known


def judge(scenario: Scenario, take: Take, known: Mapping[str, float | None]) -> list[Row]:
    """The rows of one scenario: what its kind is about; all of it in kind long."""
    judged = _Judge(scenario, take, known)
    kind, long = scenario.kind, scenario.kind == "long"
    if kind == "noise":
        return [judged.noise()]
    rows: list[Row] = []
    if kind in ("turn", "pause") or long:
        rows += [judged.turn(span) for span in scenario.turns]
    if kind == "backchannel" or long:
        rows += [judged.backchannel(span) for span in scenario.backchannels]
    if kind.startswith("interruption") or long:
        rows += [judged.interruption(span) for span in scenario.interruptions]
    return rows


def false_starts(scenario: Scenario, take: Take) -> FalseStarts:
    """SHIFTs while nobody asks anything, and the seconds in which there could have been one.

    The first SHIFT since a turn began is that turn's (early, right or late), not a false start.
    """
    asked: set[int] = set()
    starts = [reply.start for reply in take.replies]
    theirs: set[int] = set()
    for ask in scenario.asks:
        first, last = first_chunk(ask, take.chunk_s), last_chunk(ask, take.chunk_s)
        asked.update(range(first, last + ANSWER_CHUNKS + 1))
        theirs.update([start for start in starts if start >= first][:1])
    free = [s for s in range(take.steps) if s not in asked and not take.speaking(s)]
    count = sum(s < take.steps and s not in asked and s not in theirs for s in starts)
    return FalseStarts(count, (len(free) + count) * take.chunk_s)


def first_chunk(span: Span, chunk_s: float) -> int:
    """The chunk of the first sample."""
    return math.floor(span.start_s / chunk_s + 1e-6)


def last_chunk(span: Span, chunk_s: float) -> int:
    """The chunk of the last sample."""
    return math.ceil(span.end_s / chunk_s - 1e-6) - 1


def word_errors(expected: str, said: str) -> int:
    """Insertions, deletions and substitutions of words between two normal texts."""
    said_words = said.split()
    row = list(range(len(said_words) + 1))
    for n, word in enumerate(expected.split(), 1):
        before, row[0] = row[0], n
        for m, other in enumerate(said_words, 1):
            change = before + (word != other)
            before, row[m] = row[m], min(change, row[m] + 1, row[m - 1] + 1)
    return row[-1]


class _Judge:
    """The rules over one take."""

    def __init__(self, scenario: Scenario, take: Take, known: Mapping[str, float | None]) -> None:
        self._scenario, self._take, self._known = scenario, take, known

    def turn(self, span: Span) -> Row:
        row = self._row("turn", span)
        row.success = self._answer(row, span, first_chunk(span, self._take.chunk_s))
        return row

    def backchannel(self, span: Span) -> Row:
        row = self._row("backchannel", span)
        reply = self._speaking_at(span)
        if reply is None:
            row.why = "not speaking"
            return row
        row.success = self._is_whole(reply)
        row.why = "" if row.success else "stopped"
        if self._scenario.kind == "backchannel":  # in kind long the turn's own row tells the text
            chunk_s = self._take.chunk_s
            asked = [a for a in self._scenario.asks if first_chunk(a, chunk_s) <= reply.start]
            self._compare(row, asked[-1].reply if asked else None, reply)
        return row

    def interruption(self, span: Span) -> Row:
        row = self._row("interruption", span)
        reply = self._speaking_at(span)
        onset = first_chunk(span, self._take.chunk_s)
        if reply is None:
            row.why = "not speaking"
            return row
        in_time = reply.end is not None and reply.end <= onset + STOP_CHUNKS
        if self._is_whole(reply):
            if in_time:
                row.why = "reply was over"
                return row
            row.success, row.why = False, "not stopped"
        elif not in_time:
            row.success, row.why = False, "late"
        else:
            row.success = True
        if row.why != "not stopped" and reply.last_sound_s is not None:
            row.stop_ms = 1000.0 * max(0.0, reply.last_sound_s - span.start_s)
        self._afterwards(row, span, reply)
        return row

    def noise(self) -> Row:
        seconds = self._take.steps * self._take.chunk_s
        row = self._row("noise", Span(0.0, seconds))
        row.success = not any(reply.start < self._take.steps for reply in self._take.replies)
        row.why = "" if row.success else "spoke"
        return row

    def _afterwards(self, row: Row, span: Span, stopped: Reply) -> None:
        """Silence after the interruption, and where it is a command, its answer."""
        chunk_s = self._take.chunk_s
        begin = (stopped.end if stopped.end is not None else self._take.steps) + 1
        if span.reply is None:
            quiet_until = self._next_ask(span)
        else:
            quiet_until = last_chunk(span, chunk_s)
            self._answer(row, span, begin)
        spoke = [r for r in self._take.replies if begin <= r.start < quiet_until]
        if row.success and spoke:
            row.success, row.why = False, "spoke again"

    def _answer(self, row: Row, span: Span, begin: int) -> bool:
        """Compares the first reply from chunk `begin` on; `why` tells what was wrong in time."""
        chunk_s = self._take.chunk_s
        end, until = last_chunk(span, chunk_s), self._next_ask(span)
        replies = [r for r in self._take.replies if begin <= r.start < until]
        in_time = [r for r in replies if r.start <= end + ANSWER_CHUNKS]
        # The text is that of the last attempt that came in time, so an early start costs it only
        # where it also gave the wrong answer.
        said = in_time[-1] if in_time else next(iter(replies), None)
        self._compare(row, span.reply, said)
        first = next(iter(replies), None)
        why = _timing(first, end, self._scenario.pauses, chunk_s)
        if why == "" and first is not None:
            row.shift_ms = 1000.0 * ((first.start + 1) * chunk_s - span.end_s)
            if first.first_sound_s is not None:
                row.sound_ms = 1000.0 * (first.first_sound_s - span.end_s)
        if row.item == "turn":
            row.why = why
        return why == ""

    def _compare(self, row: Row, expected: str | None, reply: Reply | None) -> None:
        row.expected = expected
        row.said = None if reply is None else reply.text.strip()
        if expected is None or (reply is not None and self._is_cut(reply)):
            return
        want, got = normal(expected), normal(row.said or "")
        row.exact = want == got
        row.words, row.word_errors = len(want.split()), word_errors(want, got)
        row.reply = reply

    def _row(self, item: str, span: Span) -> Row:
        scenario = self._scenario
        return Row(scenario.name, scenario.kind, item, span.start_s, span.end_s, scenario.tags)

    def _next_ask(self, span: Span) -> int:
        """The chunk in which the next turn or command begins."""
        chunk_s = self._take.chunk_s
        later = [first_chunk(a, chunk_s) for a in self._scenario.asks if a.start_s > span.start_s]
        return later[0] if later else self._take.steps + round(60.0 / chunk_s)

    def _speaking_at(self, span: Span) -> Reply | None:
        step = first_chunk(span, self._take.chunk_s)
        return next((r for r in self._take.replies if r.spoke_at(step)), None)

    def _is_cut(self, reply: Reply) -> bool:
        """Whether the user interrupted it, so that its text is no measure."""
        return any(
            reply.spoke_at(first_chunk(span, self._take.chunk_s))
            for span in self._scenario.interruptions
        )

    def _is_whole(self, reply: Reply) -> bool:
        """Whether it went on to its end: a whole known text, said for as long as it takes."""
        said = normal(reply.text)
        if said not in self._known or reply.reason not in ("break", "model"):
            return False
        length_s = self._known[said]
        if length_s is None or reply.end is None:
            return True
        expected = round(length_s / self._take.chunk_s)
        return reply.end - reply.start >= expected - LENGTH_SLACK


def _timing(first: Reply | None, end: int, pauses: Iterable[Span], chunk_s: float) -> str:
    """What is wrong with the time of a turn's first SHIFT; nothing where it is right."""
    if first is None:
        return "no answer"
    if first.start > end + ANSWER_CHUNKS:
        return "late"
    if first.start >= end:
        return ""
    # A SHIFT is decided some chunks after what caused it, so the pause reaches a little further.
    for pause in pauses:
        if first_chunk(pause, chunk_s) <= first.start <= last_chunk(pause, chunk_s) + 2:
            return "in the pause"
    return "early"

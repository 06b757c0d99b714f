"""Places text pieces along a time axis without overlaps; knows no drawing library."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
GAP_LETTERS = 1.5  # room between two labels in one row
LONG_LETTERS = 22.0  # from here on a label takes no more where another row is free
MOST_LETTERS = 44.0  # from here on it takes no more at all: the transcript has the rest
SENTENCE_GAP_S = 1.0  # a pause from here on begins a new label


@dataclass
class Label:
    """Pieces that are drawn as one; `row` counts from the top."""

    start_s: float
    text: str
    row: int
    last_s: float  # time of its last piece
    more: bool = False  # pieces were left out


def layout_labels(
    pieces: Iterable[tuple[float, str]], per_letter_s: float, rows: int, end_s: float
) -> list[Label]:
    """Joins pieces (seconds, text) to labels that fit.

    A label starts at its first piece and takes further ones that it would overlap until it is
    long; the next one begins in another row. Where all rows are taken it grows up to a limit.
    What is left out leaves an ellipsis, as does a text that would pass `end_s` or the next label.
    """
    labels: list[Label] = []
    in_row: list[Label | None] = [None] * rows
    for at, piece in pieces:
        piece = "".join(c if c.isprintable() else " " for c in piece)
        free = [r for r in range(rows) if _ends(in_row[r], per_letter_s) <= at]
        last = labels[-1] if labels else None
        joins = last is not None and at - last.last_s < SENTENCE_GAP_S
        crowded = last is not None and at < _ends(last, per_letter_s)
        full = last is not None and width_letters(last.text) >= LONG_LETTERS
        if last is not None and ((joins and crowded and not full) or not free):
            if width_letters(last.text) < MOST_LETTERS:
                last.text += piece
            else:
                last.more = True
            last.last_s = at
            continue
        row = free[0]
        label = Label(at, piece.lstrip(), row, at)
        in_row[row] = label
        labels.append(label)
    for label in labels:
        follower = min(
            (o.start_s for o in labels if o.row == label.row and o.start_s > label.start_s),
            default=end_s,
        )
        text = label.text.rstrip() + (ELLIPSIS if label.more else "")
        label.text = _cut(text, (follower - label.start_s) / per_letter_s)
    return [label for label in labels if label.text]


def width_letters(text: str) -> float:
    """Width in Latin letters; East Asian ones count more."""
    return sum(1.7 if unicodedata.east_asian_width(c) in "WF" else 1.0 for c in text)


def _ends(label: Label | None, per_letter_s: float) -> float:
    if label is None:
        return float("-inf")
    return label.start_s + (width_letters(label.text) + GAP_LETTERS) * per_letter_s


def _cut(text: str, letters: float) -> str:
    if width_letters(text) + 1.0 <= letters:
        return text
    kept = ""
    for c in text:
        if width_letters(kept + c) + 2.0 > letters:
            break
        kept += c
    return kept.rstrip() + ELLIPSIS if kept else ""

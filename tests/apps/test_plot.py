"""The timeline picture: it is drawn for any length, and texts do not lie on each other."""

from __future__ import annotations

import itertools
import struct

import numpy as np
import pytest

from parley_apps.conversation import Conversation
from parley_apps.plot_text import GAP_LETTERS, layout_labels, width_letters
from scripted_bundle import ScriptedBundle, two_replies
from scripted_core import CHUNK, RATE


def picture(n_chunks: int, mode: str = "duplex") -> bytes:
    pytest.importorskip("matplotlib", reason="pip install 'parley[plot]'")
    from parley_apps import plot

    made = Conversation(mode, RATE, CHUNK, RATE)
    noise = np.random.default_rng(0).uniform(-1, 1, n_chunks * CHUNK).astype(np.float32)
    made._user.append((0, noise))
    with ScriptedBundle(two_replies()).session("turns") as session:
        for step in session.feed(noise):
            made.steps.append(step)
            made.positions.append(0)
    return plot.to_png(made, title="$cost_1 \N{CJK UNIFIED IDEOGRAPH-6F22}")


@pytest.mark.parametrize("n_chunks", [0, 1, 30, 400])
def test_picture_of_any_length(n_chunks: int) -> None:
    data = picture(n_chunks)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    assert 1000 <= width <= 3000 and 500 <= height <= 1200
    assert len(data) > 10_000


WORDS = [" one", " two", " three", ".", " four", " five", " six", "!", " seven", " eight"] * 20


@pytest.mark.parametrize("per_letter_s", [0.01, 0.05, 0.3])
@pytest.mark.parametrize("rows", [1, 4])
def test_labels_do_not_overlap(per_letter_s: float, rows: int) -> None:
    pieces = [(0.16 * k, word) for k, word in enumerate(WORDS)]
    labels = layout_labels(pieces, per_letter_s, rows, end_s=40.0)
    assert labels[0].start_s == 0.0 and labels[0].text.startswith("one")
    for row in range(rows):
        ends = [
            (label.start_s, label.start_s + width_letters(label.text) * per_letter_s)
            for label in labels
            if label.row == row
        ]
        for (_, end), (start, _) in itertools.pairwise(ends):
            assert end <= start
        assert all(end <= 40.0 for _, end in ends)


def test_all_text_is_there_where_it_fits() -> None:
    pieces = [(0.5 * k, word) for k, word in enumerate(WORDS)]
    labels = layout_labels(pieces, 0.01, 2, end_s=200.0)
    assert "".join(label.text for label in labels) == "".join(WORDS).replace(" ", "")
    assert len(labels) == len(WORDS), "each at its own time"


def test_what_is_left_out_leaves_an_ellipsis() -> None:
    pieces = [(0.01 * k, word) for k, word in enumerate(WORDS)]
    labels = layout_labels(pieces, 0.05, 1, end_s=5.0)
    assert labels[-1].text.endswith("\N{HORIZONTAL ELLIPSIS}")


def test_wide_letters_count_more() -> None:
    assert width_letters("\N{CJK UNIFIED IDEOGRAPH-6F22}") > width_letters("a")
    assert GAP_LETTERS > 0

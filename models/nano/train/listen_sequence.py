"""Dialogues on the chunk grid to flat sequences, as a session reads and draws them; no model here.

A chunk is its feature and what is drawn after it: THINK | SHIFT, text, codes | text, codes | BREAK.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from train.vocabulary import (
    AUDIO_CODES,
    BREAK,
    CODES_PER_CHUNK,
    END_OF_TEXT,
    SHIFT,
    THINK,
    Vocabulary,
)

KIND_THINK, KIND_SHIFT, KIND_SPEAK, KIND_BREAK = range(4)
SLOT_NONE, SLOT_LISTEN, SLOT_TEXT, SLOT_SPEAK, SLOT_AUDIO = range(5)
# What is drawn in each kind of chunk.
DRAWS = {
    KIND_THINK: (SLOT_LISTEN,),
    KIND_SHIFT: (SLOT_LISTEN, SLOT_TEXT, *[SLOT_AUDIO] * CODES_PER_CHUNK),
    KIND_SPEAK: (SLOT_SPEAK, *[SLOT_AUDIO] * CODES_PER_CHUNK),
    KIND_BREAK: (SLOT_SPEAK,),
}


@dataclass
class Sequences:
    """Flat positions `[B, L]`; a position's slot and target are those of the id that follows it."""

    ids: Tensor  # i64, -1 for a feature
    chunk: Tensor  # i64, the chunk that a position belongs to
    keep: Tensor  # bool [B, L, L], what a position sees
    slot: Tensor  # i64, SLOT_NONE where nothing is drawn
    target: Tensor  # i64, -1 where nothing is drawn


def flatten(kinds: np.ndarray, text: np.ndarray, codes: np.ndarray, words: Vocabulary) -> tuple:
    """One dialogue `[chunks]`, `[chunks]`, `[chunks, 4]` to ids, chunk, slot, target `[L]`."""
    think, shift, stop = (words.special[name] for name in (THINK, SHIFT, BREAK))
    pad = words.special[END_OF_TEXT]
    control = {KIND_THINK: [think], KIND_SHIFT: [shift], KIND_SPEAK: [], KIND_BREAK: [stop]}
    ids: list[int] = []
    chunk: list[int] = []
    slot: list[int] = []
    for c, kind in enumerate(kinds.tolist()):
        drawn = list(control[kind])
        if kind in (KIND_SHIFT, KIND_SPEAK):
            drawn.append(pad if text[c] < 0 else words.word_id(int(text[c])))
            drawn += (words.audio_begin + codes[c]).tolist()
        ids += [-1, *drawn]
        chunk += [c] * (1 + len(drawn))
        slot += [*DRAWS[kind], SLOT_NONE]
    target = [*ids[1:], -1]
    target = [t if s else -1 for t, s in zip(target, slot, strict=True)]
    return ids, chunk, slot, target


def first_kept(chunk_lengths: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Per chunk where its step starts, and the first position that its step still sees.

    A step reads the last draw of the chunk before together with its own feature. After each step
    the oldest whole steps are forgotten until at most `window` positions remain.
    """
    features = np.concatenate([[0], np.cumsum(chunk_lengths)[:-1]])
    starts = np.maximum(features - 1, 0)
    return starts, starts[np.searchsorted(starts, starts - window)]


def build_sequences(
    kinds: np.ndarray, text: np.ndarray, codes: np.ndarray, words: Vocabulary, window: int
) -> Sequences:
    """A batch of dialogues, padded to its longest; padding sees the past and is never a target."""
    rows = [flatten(k, t, c, words) for k, t, c in zip(kinds, text, codes, strict=True)]
    n, length = len(rows), max(len(row[0]) for row in rows)
    fills = (0, kinds.shape[1] - 1, SLOT_NONE, -1)
    out = [torch.full((n, length), fill, dtype=torch.int64) for fill in fills]
    keep = torch.ones(n, length, length, dtype=torch.bool).tril_()
    positions = torch.arange(length)
    for b, row in enumerate(rows):
        for tensor, values in zip(out, row, strict=True):
            tensor[b, : len(values)] = torch.tensor(values)
        lengths = np.bincount(row[1], minlength=kinds.shape[1])
        starts, first = first_kept(lengths, window)
        step = torch.from_numpy(np.searchsorted(starts, np.arange(length), side="right") - 1)
        keep[b] &= positions >= torch.from_numpy(first)[step][:, None]
    ids, chunk, slot, target = out
    return Sequences(ids=ids, chunk=chunk, keep=keep, slot=slot, target=target)


def legal_ids(words: Vocabulary) -> Tensor:
    """`[slots, vocab]` bool: what a session lets each slot draw."""
    legal = torch.zeros(5, words.size, dtype=torch.bool)
    special = words.special
    legal[SLOT_NONE] = True
    legal[SLOT_LISTEN, [special[THINK], special[SHIFT]]] = True
    legal[SLOT_TEXT, : words.text_end] = True
    legal[SLOT_TEXT, list(special.values())] = False
    legal[SLOT_TEXT, special[END_OF_TEXT]] = True
    legal[SLOT_SPEAK] = legal[SLOT_TEXT]
    legal[SLOT_SPEAK, special[BREAK]] = True
    legal[SLOT_AUDIO, words.audio_begin : words.audio_begin + AUDIO_CODES] = True
    return legal

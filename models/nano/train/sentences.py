"""Sentences without meaning over a large vocabulary, so that ears learn sounds and not a domain.

Half of the words are frequent ones, numbers and letters, the others any of a word list.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from train.assets import fetch, read_member

MEMBER = "./usr/share/dict/american-english-small"
_COMMON = """
the a an of to and in that is was he for it with as his on be at by i this had not are but from or
have they which one you were all her she there would their we him been has when who will no more
if out so up said what its about than into them can only other time new some could these two may
first then do any like my now over such our man me even most made after also well before must
through where much your way down should because long each just those people how too little good
world very
"""
COMMON = tuple(_COMMON.split())
_NUMBERS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred
thousand first second third fourth fifth monday tuesday wednesday thursday friday saturday sunday
january february march april may june july august september october november december
"""
NUMBERS = tuple(_NUMBERS.split())
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SHARES = (0.42, 0.13, 0.03)  # of common words, numbers, letters
LENGTHS = (3, 11)  # words


@functools.cache
def word_list() -> tuple[str, ...]:
    """Plain lower-case words of two letters or more."""
    words = read_member(fetch("words"), MEMBER).decode().split()
    return tuple(word for word in words if word.isascii() and word.islower() and word.isalpha())


def sentences(count: int, rng: np.random.Generator) -> Iterator[str]:
    """`count` sentences of words in random order."""
    bounds = np.cumsum(SHARES)
    for _ in range(count):
        words = []
        for kind in np.searchsorted(bounds, rng.random(rng.integers(*LENGTHS))):
            pool = (COMMON, NUMBERS, LETTERS)[kind] if kind < len(SHARES) else word_list()
            words.append(pool[rng.integers(len(pool))])
        yield " ".join(words)

"""Setting a voice up for the cached flow decoder: told, shared, and ended at any evaluation."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import parley

EVALUATIONS = 8
SETTINGS = {"mode": "cached", "solver": "midpoint", "points": EVALUATIONS // 2 + 1}


@pytest.fixture
def bundle(tiny_bundle: Path) -> Iterator[parley.Bundle]:
    with parley.open(tiny_bundle, flow=SETTINGS) as opened:
        yield opened


def set_up(bundle: parley.Bundle) -> list[tuple[int, int]]:
    told: list[tuple[int, int]] = []
    with bundle.session(progress=lambda done, n: told.append((done, n))):
        return told


def test_it_is_told_and_then_shared(bundle: parley.Bundle) -> None:
    assert set_up(bundle) == [(i + 1, EVALUATIONS) for i in range(EVALUATIONS)]
    assert set_up(bundle) == [], "the voice is set up already"


def test_what_the_listener_raises_ends_it(bundle: parley.Bundle) -> None:
    def refuse(done: int, n: int) -> None:
        if done == 3:
            raise TimeoutError("no patience")

    with pytest.raises(TimeoutError, match="no patience"):
        bundle.session(progress=refuse)
    assert len(set_up(bundle)) == EVALUATIONS, "the next one begins anew"


def test_ctrl_c_ends_it(bundle: parley.Bundle) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            bundle.session(progress=lambda *_: signal.raise_signal(signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(set_up(bundle)) == EVALUATIONS


def test_ctrl_c_ends_it_where_nobody_listens(tiny_bundle: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    many = SETTINGS | {"points": 200}  # longer than it takes until the signal comes
    try:
        with parley.open(tiny_bundle, flow=many) as bundle:
            me = threading.get_ident()
            threading.Timer(0.1, signal.pthread_kill, (me, signal.SIGINT)).start()
            with pytest.raises(KeyboardInterrupt):
                bundle.session()
            assert len(set_up(bundle)) == 2 * 199, "it had not come to its end"
    finally:
        signal.signal(signal.SIGINT, before)

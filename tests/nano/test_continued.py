"""nano's conversation forked, saved and taken up again: the same samples as if nothing had been."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bundle_run import BUNDLE, RECORDING

import parley

pytestmark = pytest.mark.skipif(
    not (BUNDLE / "manifest.json").is_file(), reason="no models/nano/bundle; make nano makes one"
)
SPLITS_S = (1.0, 9.0, 26.0)  # listening, speaking, and with a window that has slid


@pytest.fixture(scope="module")
def bundle() -> Iterator[parley.Bundle]:
    with parley.open(BUNDLE, threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def chunks(bundle: parley.Bundle) -> list[np.ndarray]:
    samples, rate = parley.read_audio(RECORDING)
    samples = bundle.resample(samples, rate)
    n = bundle.chunk_samples
    return [samples[at : at + n] for at in range(0, samples.size - n + 1, n)]


@pytest.fixture(scope="module")
def whole(bundle: parley.Bundle, chunks: list[np.ndarray]) -> list[np.ndarray]:
    with bundle.session("duplex") as session:
        return [session.step(chunk).samples for chunk in chunks]


@pytest.mark.parametrize("split_s", SPLITS_S)
def test_a_saved_session_goes_on(
    bundle: parley.Bundle,
    chunks: list[np.ndarray],
    whole: list[np.ndarray],
    tmp_path: Path,
    split_s: float,
) -> None:
    split = round(split_s / 0.16)
    with bundle.session("duplex") as session:
        for chunk in chunks[:split]:
            session.step(chunk)
        session.save(tmp_path / "saved")
        kept = [session.step(chunk).samples for chunk in chunks[split:]]
    with bundle.resume(tmp_path / "saved") as session:
        resumed = [session.step(chunk).samples for chunk in chunks[split:]]
    np.testing.assert_array_equal(resumed, kept)
    np.testing.assert_array_equal(resumed, whole[split:])


@pytest.mark.parametrize("split_s", SPLITS_S)
def test_a_fork_goes_on_and_costs_its_parent_nothing(
    bundle: parley.Bundle, chunks: list[np.ndarray], whole: list[np.ndarray], split_s: float
) -> None:
    split = round(split_s / 0.16)
    with bundle.session("duplex") as session:
        for chunk in chunks[:split]:
            session.step(chunk)
        with session.fork() as fork, session.fork() as other:
            for chunk in chunks[:5]:
                other.step(chunk)  # hears something else
            ahead = [fork.step(chunk).samples for chunk in chunks[split : split + 10]]
        np.testing.assert_array_equal(ahead, whole[split : split + 10])
        rest = [session.step(chunk).samples for chunk in chunks[split:]]
    np.testing.assert_array_equal(rest, whole[split:])


def test_four_at_a_time(bundle: parley.Bundle) -> None:
    with bundle.session("duplex") as session:
        forks = [session.fork() for _ in range(3)]
        with pytest.raises(parley.ContextError, match="at most 3 forks"):
            session.fork()
        forks.pop().close()
        session.fork().close()


def test_it_is_taken_up_where_it_came_from(bundle: parley.Bundle, tmp_path: Path) -> None:
    with bundle.session("duplex", seed=3) as session:
        session.step(np.zeros(session.chunk_samples, np.float32))
        session.save(tmp_path / "saved")
    with (
        parley.open(BUNDLE, threads=1, kv="f32") as other,
        pytest.raises(parley.InputError, match="same settings"),
    ):
        other.resume(tmp_path / "saved")
    (tmp_path / "cut").write_bytes((tmp_path / "saved").read_bytes()[:-1000])
    with pytest.raises(parley.InputError, match="cut off or changed"):
        bundle.resume(tmp_path / "cut")

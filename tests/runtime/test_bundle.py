"""Opening bundles by path and name, and sessions on the real engine with the tiny bundle."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import parley
from parley import bundle_folders as bundles
from synthetic_signal import synthetic_signal

CHUNK, RATE = 3840, 24_000


@pytest.fixture(scope="module")
def opened(tiny_bundle: Path) -> Iterator[parley.Bundle]:
    with parley.open(tiny_bundle, threads=1) as bundle:
        yield bundle


def named(folder: Path, name: str) -> Path:
    """An empty bundle that can be found by name."""
    path = folder / name
    path.mkdir(parents=True)
    (path / "manifest.json").write_text("{}")
    return path


def test_names_are_found_and_unknown_ones_list_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built_in, own = tmp_path / "built-in", tmp_path / "own"
    monkeypatch.setattr(bundles, "BUILT_IN", built_in)
    monkeypatch.setenv("PARLEY_BUNDLES", str(own))
    shipped, mine, shadowed = named(built_in, "nano"), named(own, "mine"), named(own, "both")
    named(built_in, "both")
    assert bundles.find_bundle("nano") == shipped
    assert bundles.find_bundle("mine") == mine
    assert bundles.find_bundle("both") == shadowed, "the user's own comes first"
    assert bundles.find_bundle(mine) == mine
    with pytest.raises(parley.BundleError, match="known names: both, mine, nano"):
        bundles.find_bundle("nobody")
    with pytest.raises(parley.BundleError, match=r"folder without manifest\.json"):
        bundles.find_bundle(tmp_path)


def test_no_names_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "BUILT_IN", tmp_path)
    monkeypatch.delenv("PARLEY_BUNDLES", raising=False)
    with pytest.raises(parley.BundleError, match="known names: none"):
        parley.open("nano")


def test_facts(opened: parley.Bundle) -> None:
    assert set(opened.modes) == {"turns", "duplex", "managed"} and opened.voices
    assert (opened.rate, opened.chunk_samples) == (RATE, CHUNK)
    assert (opened.out_rate, opened.out_chunk_samples) == (RATE, CHUNK)
    assert opened.notice == opened.manifest["source"]["notice"]
    assert opened.manifest == parley.read_manifest(opened.folder)


@pytest.fixture(scope="module")
def listens_at_16_khz(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle for a microphone at the encoder's own rate."""
    folder = shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("rates") / "bundle")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["rates"]["input_hz"] = 16_000
    for key in ("trim_samples", "pad_samples", "segment_samples"):
        manifest["front_end"][key] = manifest["front_end"][key] * 16_000 // RATE
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize("mode", ["turns", "duplex"])
def test_input_and_output_may_differ_in_rate(listens_at_16_khz: Path, mode: str) -> None:
    with (
        parley.open(listens_at_16_khz, threads=1) as bundle,
        bundle.session(mode, max_new_tokens=40) as session,  # type: ignore[arg-type]
    ):
        for facts in (bundle, session):
            assert (facts.rate, facts.chunk_samples) == (16_000, 2560)
            assert (facts.out_rate, facts.out_chunk_samples) == (RATE, CHUNK)
        with pytest.raises(parley.InputError, match="expected 2560 samples in and 3840 out"):
            session.step(np.zeros(CHUNK, np.float32))
        for rate in (16_000, RATE):
            first = session.step(np.zeros(2560, np.float32)).index + 1
            steps = list(session.play(synthetic_signal(2 * rate, rate), rate))
            assert len(steps) >= 13 and all(step.samples.shape == (CHUNK,) for step in steps)
            for step in steps:
                for event in step.events:
                    assert event.sample == step.index * CHUNK
                    assert event.time_s == pytest.approx(step.index * 0.16)
            assert [step.index for step in steps] == list(range(first, first + len(steps)))


@pytest.mark.parametrize("mode", ["turns", "duplex"])
@pytest.mark.parametrize("size", [1000, CHUNK, 10_000])
def test_any_cut_gives_the_same_output(opened: parley.Bundle, mode: str, size: int) -> None:
    signal = synthetic_signal(10 * CHUNK)
    outputs = []
    for cut in (10 * CHUNK, size):
        with opened.session(mode, seed=5, max_new_tokens=40) as session:  # type: ignore[arg-type]
            steps = [
                step
                for at in range(0, signal.size, cut)
                for step in session.feed(signal[at : at + cut])
            ]
            if mode == "turns":
                session.end_turn()
            steps += list(session.feed(np.zeros(6 * CHUNK, np.float32)))
            outputs.append((steps, session.position, session.floor))
    (one, *one_end), (other, *other_end) = outputs
    assert [step.events for step in one] == [step.events for step in other]
    assert one_end == other_end
    samples = [np.concatenate([step.samples for step in steps]) for steps in (one, other)]
    np.testing.assert_array_equal(*samples)


def test_answer(opened: parley.Bundle) -> None:
    with opened.session("turns", max_new_tokens=40) as session:
        first = session.answer(synthetic_signal(2 * CHUNK))
        held = session.position
        second = session.answer(synthetic_signal(2 * 2 * CHUNK, 48_000), 48_000)
        assert session.position > held > 0, "one cache for both turns"
    for answer in (first, second):
        assert answer.samples.dtype == np.float32 and np.abs(answer.samples).max() > 0
        ends = [event for event in answer.events if event.kind == "reply_ended"]
        assert len(ends) == 1 and ends[0].reason in ("model", "max_tokens")
    assert second.events[0].time_s >= first.samples.size / RATE


def test_samples_are_not_copied_and_outlive_the_session(opened: parley.Bundle) -> None:
    with opened.session("turns") as session:
        step = session.step(np.zeros(CHUNK, np.float32))
        again = session.step(np.zeros(CHUNK, np.float32))
    assert step.samples.shape == (CHUNK,) and not np.shares_memory(step.samples, again.samples)
    assert not step.samples.any()
    assert set(step.timing_ms) >= {"encoder", "backbone", "flow", "vocoder", "engine", "total"}


@pytest.mark.parametrize(
    ("chunk", "what"),
    [
        (np.full(CHUNK, np.nan), "finite"),
        (np.full(CHUNK, np.inf), "finite"),
        (np.zeros(CHUNK - 1), "samples"),
        (np.zeros(0), "samples"),
        (np.zeros((2, CHUNK)), "samples"),
    ],
    ids=["nan", "inf", "short", "empty", "stereo"],
)
def test_bad_chunks_change_nothing(opened: parley.Bundle, chunk: np.ndarray, what: str) -> None:
    with opened.session("duplex") as session:
        before = session.position
        with pytest.raises(parley.InputError, match=what):
            session.step(chunk)
        assert session.position == before
        assert session.step(np.zeros(CHUNK, np.float32)).index == 0


def test_cancel_close_and_reset(opened: parley.Bundle) -> None:
    session = opened.session("duplex")
    chunk = synthetic_signal(CHUNK)
    first = session.step(chunk)
    session.cancel()
    with pytest.raises(parley.CancelledError):
        session.step(chunk)
    session.reset()
    again = session.step(chunk)
    assert again.events == first.events and again.index == 0
    session.close()
    session.close()
    session.interrupt()
    session.cancel()
    assert session.floor == "closed"
    with pytest.raises(parley.InputError):
        session.step(chunk)


def test_resampling_takes_samples_as_sessions_do(opened: parley.Bundle) -> None:
    with pytest.raises(parley.InputError, match=r"\[bundle\.resample\].* got int16; divide by"):
        opened.resample(np.zeros(CHUNK, np.int16), 48_000)  # type: ignore[arg-type]
    with pytest.raises(parley.InputError, match="a rate as a whole number"):
        opened.resample(np.zeros(CHUNK, np.float32), "48000")  # type: ignore[arg-type]


def test_a_bad_piece_leaves_the_engine_as_it_was(opened: parley.Bundle) -> None:
    """Regression: one NaN stayed in the queue, and every later call failed on it."""
    signal = synthetic_signal(4 * CHUNK)
    bad = signal[:1000].copy()
    bad[500] = np.nan
    with opened.session("duplex", seed=3) as whole, opened.session("duplex", seed=3) as tried:
        expected = [step.events for step in whole.feed(signal)]
        got = [step.events for step in tried.feed(signal[:5000])]
        with pytest.raises(parley.InputError, match="nan at sample 500"):
            tried.feed(bad)
        got += [step.events for step in tried.feed(signal[5000:])]
    assert got == expected


def test_sessions_share_a_bundle_across_threads(opened: parley.Bundle) -> None:
    signal = synthetic_signal(8 * CHUNK)

    def talk(seed: int) -> np.ndarray:
        with opened.session("duplex", seed=seed) as session:
            return np.concatenate([step.samples for step in session.feed(signal)])

    alone = {seed: talk(seed) for seed in (1, 2)}
    found: dict[int, np.ndarray] = {}
    threads = [
        threading.Thread(target=lambda s=seed: found.update({s: talk(s)}))  # type: ignore[misc]
        for seed in (1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, samples in alone.items():
        np.testing.assert_array_equal(found[seed], samples)


def test_a_step_lets_other_threads_run(opened: parley.Bundle) -> None:
    """Threads give way only by themselves here, so the other one runs if the step lets it."""
    ticks, stop = 0, threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not stop.wait(0.0002):
            ticks += 1

    interval = sys.getswitchinterval()
    sys.setswitchinterval(60.0)
    thread = threading.Thread(target=tick)
    thread.start()
    try:
        with opened.session("turns", max_new_tokens=40) as session:
            session.step(synthetic_signal(CHUNK))
            session.end_turn()
            before = ticks
            session.step(np.zeros(CHUNK, np.float32))  # encodes a whole segment
            during = ticks - before
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert during > 0


def test_a_closed_bundle_says_so(tiny_bundle: Path) -> None:
    bundle = parley.open(tiny_bundle, verify=False)
    session = bundle.session("turns")
    bundle.close()
    bundle.close()
    assert session.floor == "closed"
    with pytest.raises(parley.InputError, match="open bundle"):
        bundle.session("turns")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"mode": "chorus"}, "chorus"),
        ({"voice": "nobody"}, "nobody"),
        ({"temperature": -0.5}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 2.0}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": "x"}, "top_k as a whole number from 0"),
        ({"top_k": 2**31}, "top_k"),
        ({"temperature": 10**400}, "temperature as a number, got"),
        ({"temperature": float("nan")}, "temperature"),
        ({"system": "caf\udce9"}, "system as UTF-8, got 'caf"),
        ({"voice": "caf\udce9"}, "voice as UTF-8"),
        ({"temperature": "hot"}, "temperature as a number, got 'hot'"),
        ({"top_p": [0.9]}, "top_p as a number"),
        ({"seed": -1}, "seed as a whole number from 0 to 18446744073709551615, got -1"),
        ({"seed": 2**64}, "seed"),
        ({"seed": None}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"prefill_budget": "all"}, "prefill_budget"),
        ({"voice": 3}, "voice as a string, got 3"),
        ({"system": 3}, "system as a string"),
        ({"mode": 3}, "modes"),
        ({"overlap": "no"}, "overlap as True or False"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
    ],
    ids=str,
)
def test_bad_session_options(opened: parley.Bundle, options: dict[str, object], what: str) -> None:
    with pytest.raises(parley.InputError, match=what) as caught:
        opened.session(**options)  # type: ignore[arg-type]
    assert str(caught.value).startswith("[bundle.session] expected ")


def test_numbers_of_any_kind_are_options(opened: parley.Bundle) -> None:
    options = {"seed": np.uint64(2**64 - 1), "top_k": np.int32(3), "temperature": np.float32(0.5)}
    opened.session(top_p=1, max_new_tokens=np.int64(1), **options).close()  # type: ignore[arg-type]


def test_bad_open_options(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(parley.InputError, match="nobody"):
        parley.open(tiny_bundle, voice="nobody")
    with pytest.raises(parley.InputError, match="multiple of 32"):
        parley.open(tiny_bundle, kv="q8_0")
    for options in (
        {"threads": -1},
        {"threads": "few"},
        {"device": 3},
        {"kv": None},
        {"verify": "no"},
        {"flow": 3},
        {"flow": {"points": {1}}},
        {"flow": {"mode": "nix"}},
    ):
        with pytest.raises(parley.InputError, match=next(iter(options))) as caught:
            parley.open(tiny_bundle, **options)  # type: ignore[arg-type]
        assert str(caught.value).startswith("[bundle.open] expected ")
    with pytest.raises(parley.InputError, match="choose among mode, solver"):
        parley.open(tiny_bundle, flow={"nix": 1})
    with pytest.raises(parley.LibraryError):
        parley.open(tiny_bundle, onnxruntime=tmp_path / "none.so")
    with pytest.raises(parley.LibraryError):
        parley.open(tiny_bundle, llama=tmp_path / "none.so")


def test_a_bundle_by_its_name(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "mine")
    monkeypatch.setenv("PARLEY_BUNDLES", str(tmp_path))
    with parley.open("mine", verify=False) as bundle:
        assert bundle.folder == tmp_path / "mine"


@pytest.mark.parametrize("library", ["llama", "onnxruntime"])
def test_a_wrong_library_is_told_before_files_are_read(
    tiny_bundle: Path, tmp_path: Path, library: str
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_bundle, folder)
    (folder / "vocoder.onnx").write_bytes(b"")
    with pytest.raises(parley.LibraryError, match="/nowhere/"):
        parley.open(folder, **{library: "/nowhere/lib.so"})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [b"na\xefve", b"\xff\xfe", "na\u00efve".encode()])
def test_a_path_is_bytes(name: bytes, tiny_bundle: Path, tmp_path: Path) -> None:
    """Regression: one that is no UTF-8 was a TypeError."""
    place = tmp_path / os.fsdecode(name)
    shutil.copytree(tiny_bundle, place)
    with parley.open(place, threads=1) as bundle:
        assert bundle.name == parley.read_manifest(place)["name"]
    (place / "vocoder.onnx").unlink()
    with pytest.raises(parley.BundleError) as caught:
        parley.open(place)
    assert os.fsdecode(name) in str(caught.value)


@pytest.mark.parametrize("threads", [513, 2**31 - 1, 2**31, 10**30])
def test_more_threads_than_any_machine_has_are_an_error(threads: int, tiny_bundle: Path) -> None:
    with pytest.raises(parley.InputError, match="threads as a whole number from 0 to 512"):
        parley.open(tiny_bundle, threads=threads)


def test_other_threads_run_while_a_recording_is_resampled(opened: parley.Bundle) -> None:
    """Regression: it held the interpreter's lock."""
    counted, over = [0], threading.Event()

    def count() -> None:
        while not over.is_set():
            counted[0] += 1
            time.sleep(0)  # gives the lock back

    counter = threading.Thread(target=count)
    counter.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)  # nobody gets the lock who is not given it
    before = counted[0]
    opened.resample(np.zeros(60 * 48_000, np.float32), 48_000)
    after = counted[0]
    sys.setswitchinterval(interval)
    over.set()
    counter.join()
    assert after > before

"""The nano that ships: its exact tokens and how it behaves in the demo's conversation."""

import json
from pathlib import Path
from typing import Any

import bundle_run
import numpy as np
import pytest
from bundle_run import BUNDLE, GOLDEN, RECORDING, ROOT, Run

import parley
import tolerances
from parley.bundle_folders import BUILT_IN, named_bundles

pytestmark = pytest.mark.skipif(
    not (BUNDLE / "manifest.json").is_file(), reason="no models/nano/bundle; make nano makes one"
)
COURSE = json.loads(RECORDING.with_suffix(".json").read_text())
MAX_BYTES = 20_000_000
STOP_S = 9 * 0.16  # a stop word is over and understood by then, and the fade is done


@pytest.fixture(scope="module")
def run() -> Run:
    return bundle_run.converse()


def expected_replies() -> list[str]:
    asked = [*COURSE["turns"], *COURSE["interruptions"]]
    return [ask["reply"] for ask in sorted(asked, key=lambda ask: ask["start_s"]) if ask["reply"]]


def cut_replies() -> list[str]:
    """The replies that something interrupts."""
    starts = [interruption["start_s"] for interruption in COURSE["interruptions"]]
    asked = [*COURSE["turns"], *COURSE["interruptions"]]
    return [
        max((a for a in asked if a["start_s"] < start), key=lambda a: a["start_s"])["reply"]
        for start in starts
    ]


def test_the_bundle_is_small() -> None:
    files = [path for path in BUNDLE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MAX_BYTES


def test_right_replies_in_order(run: Run) -> None:
    expected, cut = expected_replies(), cut_replies()
    assert len(run.replies) == len(expected)
    for said, wanted in zip(run.replies, expected, strict=True):
        assert said == wanted or (wanted in cut and wanted.startswith(said)), (said, wanted)


def test_it_waits_in_the_pause(run: Run) -> None:
    (pause,) = COURSE["pauses"]
    turn = next(t for t in COURSE["turns"] if t["start_s"] < pause["start_s"] < t["end_s"])
    starts = [s for s in run.times("shift") if turn["start_s"] <= s < turn["end_s"] + 1.0]
    assert len(starts) == 1
    assert starts[0] >= turn["end_s"] - 0.16


def test_a_backchannel_stops_nothing(run: Run) -> None:
    (backchannel,) = COURSE["backchannels"]
    asked = [turn for turn in COURSE["turns"] if turn["end_s"] < backchannel["start_s"]]
    assert run.replies[len(asked) - 1] == asked[-1]["reply"]


def test_interruptions_stop_it(run: Run) -> None:
    for interruption in COURSE["interruptions"]:
        start = interruption["start_s"]
        speaking = [s for s in run.times("reply_started") if s < start]
        ends = [s for s in run.times("reply_ended") if s > speaking[-1]]
        assert start < ends[0] < start + STOP_S, interruption["text"]
        quiet = range(round((start + STOP_S) / 0.16), round(interruption["end_s"] / 0.16))
        assert all(run.levels[chunk] < tolerances.SILENT_RMS for chunk in quiet)


def test_tokens_are_golden(run: Run) -> None:
    golden: dict[str, Any] = json.loads(GOLDEN.read_text())
    assert golden["fingerprint"] == bundle_run.fingerprint(), (
        "the bundle or the recording changed: python tests/nano/bundle_run.py writes new tokens"
    )
    found = bundle_run.tokens(run)
    assert found["control"] == golden["control"]
    assert found["text"] == golden["text"]
    pairs = [
        (ours, theirs)
        for (_, mine), (_, kept) in zip(found["codes"], golden["codes"], strict=True)
        for ours, theirs in zip(mine, kept, strict=True)
    ]
    equal = sum(ours == theirs for ours, theirs in pairs)
    assert equal >= tolerances.GOLDEN_CODES * len(pairs)


def test_streamed_sound_equals_the_whole_run() -> None:
    cuts = np.random.default_rng(2)
    with parley.open(BUNDLE, threads=1) as bundle:
        bench, section = bundle.workbench(), bundle.manifest["vocoder"]
        codes = [code for _, part in json.loads(GOLDEN.read_text())["codes"] for code in part]
        latents, *_ = bench.flow_decode(codes[:40], seed=1)
        whole = bench.vocode(latents)
        assert np.sqrt(np.square(whole).mean()) > tolerances.SILENT_RMS
        for lookahead, least_db in (
            (section["full_lookahead_frames"], tolerances.STREAM_SNR_DB),
            (section["lookahead_frames"], tolerances.SHORT_LOOKAHEAD_SNR_DB),
        ):
            voice, parts, at = bench.vocoder_stream(lookahead), [], 0
            while at < len(latents):
                end = at + int(cuts.integers(1, 20))
                parts.append(voice.push(latents[at:end], end >= len(latents)))
                at = end
            noise = np.concatenate(parts) - whole
            assert 10 * np.log10(np.square(whole).sum() / np.square(noise).sum()) > least_db


def test_it_is_found_by_its_name() -> None:
    if BUILT_IN.is_relative_to(ROOT / "runtime"):
        pytest.skip("parley runs from the source tree; only an installed one has bundles by name")
    assert "nano" in named_bundles()
    with parley.open("nano", threads=1) as bundle:
        assert bundle.name == "nano"
        assert Path(bundle.folder).is_relative_to(BUILT_IN)

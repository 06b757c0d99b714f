"""Flow decoder and vocoder of the tiny bundle as streams: any cut, and against the whole run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parley
import tolerances
from parley._core import VocoderStream

# Longer than the left context and the look-ahead together, and no multiple of a cut.
LATENT_FRAMES = 101
CODES = 45


def snr_db(got: np.ndarray, wanted: np.ndarray) -> float:
    noise = np.square(got.astype(np.float64) - wanted).sum()
    signal = np.square(wanted.astype(np.float64)).sum()
    return float(10 * np.log10(signal / noise)) if noise > 0 else float("inf")


def flow_of(bundle: parley.Bundle) -> dict[str, Any]:
    return bundle.manifest["flow"]


def codes_of(bundle: parley.Bundle, n: int) -> np.ndarray:
    n_codes = bundle.manifest["vocabulary"]["audio_codes"]
    return np.random.default_rng(5).integers(0, n_codes, n).astype(np.int32)


def streamed(voice: VocoderStream, latents: np.ndarray, cut: int) -> np.ndarray:
    ends = range(cut, len(latents) + cut, cut)
    parts = [voice.push(latents[end - cut : end], end >= len(latents)) for end in ends]
    return np.concatenate(parts)


@pytest.mark.parametrize("cut", [1, 7, 16, 64])
def test_streamed_samples_equal_the_whole_run(cut: int, tiny_bundle: Path) -> None:
    with parley.open(tiny_bundle) as bundle:
        z = flow_of(bundle)["z"]
        shape = (LATENT_FRAMES, z)
        latents = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        bench, section = bundle.workbench(), bundle.manifest["vocoder"]
        whole, short = bench.vocode(latents), bench.vocode_stream(latents, cut=cut)
        voice = bench.vocoder_stream(section["full_lookahead_frames"])
        for _ in range(2):
            got = streamed(voice, latents, cut)
            assert got.shape == whole.shape and np.abs(whole).max() > 0
            assert snr_db(got, whole) > tolerances.STREAM_SNR_DB
            voice.begin()
    assert section["lookahead_frames"] < section["full_lookahead_frames"]
    assert tolerances.SHORT_LOOKAHEAD_SNR_DB < snr_db(short, whole) < tolerances.STREAM_SNR_DB


def test_any_cut_of_the_codes_gives_the_same_latents(tiny_bundle: Path) -> None:
    with parley.open(tiny_bundle) as bundle:
        flow, bench = flow_of(bundle), bundle.workbench()
        codes = codes_of(bundle, CODES)
        by_chunk = bench.flow_stream(codes, seed=3, cut=4)
        for cut in (1, 3, 11, CODES):
            np.testing.assert_array_equal(bench.flow_stream(codes, seed=3, cut=cut), by_chunk)
        assert bench.flow_stream(codes, seed=4, cut=4).shape == by_chunk.shape
        assert not np.array_equal(bench.flow_stream(codes, seed=4, cut=4), by_chunk)
        whole, *_ = bench.flow_decode(codes, seed=3)
    assert by_chunk.shape == whole.shape == (by_chunk.shape[0], flow["z"])
    assert by_chunk.shape[0] <= CODES * flow["frames_per_code"]


def test_a_workbench_refuses_what_does_not_fit(tiny_bundle: Path) -> None:
    with parley.open(tiny_bundle) as bundle:
        bench, flow = bundle.workbench(), flow_of(bundle)
        for width in (3, 4_000_000 // 16):
            with pytest.raises(parley.InputError, match=r"evaluate\] expected"):
                bench.flow_field(np.zeros((2, 16, width), np.float32), 0.5)
        with pytest.raises(parley.InputError, match="cut of at least 1"):
            bench.flow_stream(codes_of(bundle, 4), 0, 0)
        with pytest.raises(parley.InputError, match="cut of at least 1"):
            bench.vocode_stream(np.zeros((4, flow["z"]), np.float32), 0)
        with pytest.raises(parley.InputError, match="look-ahead of at most"):
            bench.vocoder_stream(99)

"""The vocoder's graph as a stream against the module on the whole: any cut, any blocks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tiny_models import models, snr_db

import parley
import tolerances
from parley_export.families.covo_audio.modules import Vocoder, VocoderConfig
from parley_export.families.covo_audio.vocoder_graphs import export_vocoder

NO_END = 1 << 40
# Blocks that look ahead differently far, rates in another order, widths of their own.
UNEVEN = VocoderConfig(
    z=7,
    width=12,
    rates=(3, 2, 4),
    block_kernels=(3, 5, 3),
    block_dilations=((1, 4), (2,), (1, 1, 3)),
    stage_widths=(10, 6, 5),
)


class Stream:
    """One reply through the graph, frames late by the full look-ahead."""

    def __init__(self, session: onnxruntime.InferenceSession, config: VocoderConfig) -> None:
        self.session, self.config, self.received = session, config, 0
        shape = {i.name: i.shape for i in session.get_inputs()}["state_in.history"]
        self.history = np.zeros(shape, np.float32)

    def run(self, latents: np.ndarray, last: bool = False) -> np.ndarray:
        """Latents `[1, z, n]` -> the n frames' samples that they bring, later ones with `last`."""
        n, behind = latents.shape[2], self.config.full_lookahead if last else 0
        feeds = {
            "latents": np.pad(latents, ((0, 0), (0, 0), (0, behind))),
            "range": np.array([-self.received, n if last else NO_END]),
            "kept": np.array([n]),
            "state_in.history": self.history,
        }
        wave, self.history = self.session.run(["wave", "state_out.history"], feeds)
        self.received += n
        return wave[0, 0]


def opened(vocoder: Vocoder, folder: Path, fused: bool, precision: str = "f32"):
    """A session of the module's graph."""
    export_vocoder(vocoder, folder / "vocoder.onnx", precision, fused=fused)
    options = onnxruntime.SessionOptions()
    if fused:
        options.register_custom_ops_library(parley.ops_library())
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    file = str(folder / "vocoder.onnx")
    return onnxruntime.InferenceSession(file, options, ["CPUExecutionProvider"])


def whole(session, config, latents):
    wave = Stream(session, config).run(latents, last=True)
    return wave[config.full_lookahead * config.samples_per_latent :]


def in_random_cuts(session, config, latents, seed):
    random, stream = np.random.default_rng(seed), Stream(session, config)
    waves, at, n = [], 0, latents.shape[2]
    while at < n:
        cut = min(int(random.integers(1, 12)), n - at)
        waves.append(stream.run(latents[:, :, at : at + cut], last=at + cut == n))
        at += cut
    return np.concatenate(waves)[config.full_lookahead * config.samples_per_latent :]


def latents_of(config, n, seed=0):
    return np.random.default_rng(seed).standard_normal((1, config.z, n)).astype(np.float32)


CASES = [("tiny", True), ("other", False), ("uneven", True), ("uneven", False)]


@pytest.fixture(
    scope="module", params=CASES, ids=lambda p: f"{p[0]}-{'fused' if p[1] else 'plain'}"
)
def case(request, tmp_path_factory):
    """A module and its graph, opened."""
    torch.set_num_threads(1)
    name, fused = request.param
    if name == "uneven":
        torch.manual_seed(3)
        vocoder = Vocoder(UNEVEN)
        for name, weight in vocoder.named_parameters():
            if name.endswith(("alpha", "beta", "bias")):
                torch.nn.init.normal_(weight, std=0.5)
    else:
        vocoder = models(name).vocoder
    vocoder.eval().requires_grad_(False)
    return vocoder, opened(vocoder, tmp_path_factory.mktemp("vocoder"), fused)


@pytest.mark.parametrize("n_frames", [1, 2, 14, 61])
def test_any_cut_equals_the_module_on_the_whole(case, n_frames):
    vocoder, session = case
    latents = latents_of(vocoder.config, n_frames)
    expected = vocoder(torch.from_numpy(latents)).numpy()[0, 0]
    assert snr_db(whole(session, vocoder.config, latents), expected) > tolerances.STREAM_SNR_DB
    for seed in range(2):
        streamed = in_random_cuts(session, vocoder.config, latents, seed)
        assert snr_db(streamed, expected) > tolerances.STREAM_SNR_DB


def test_a_run_far_into_a_reply_is_like_any_other(case):
    vocoder, session = case
    latents, streams = latents_of(vocoder.config, 24), []
    for received in (40, 10**9):
        stream = Stream(session, vocoder.config)
        stream.received = received
        streams.append([stream.run(latents[:, :, i : i + 8]) for i in range(0, 24, 8)])
    np.testing.assert_array_equal(*streams)


def test_the_lookahead_is_as_short_as_may_be(case):
    """A change one frame further ahead than the full look-ahead is not seen, a nearer one is."""
    vocoder, session = case
    config = vocoder.config
    n, own = config.full_lookahead + 3, config.samples_per_latent
    latents = latents_of(config, n)
    heard = whole(session, config, latents)
    for ahead, seen in ((config.full_lookahead + 1, False), (config.full_lookahead, True)):
        changed = latents.copy()
        changed[:, :, 1 + ahead] += 3.0
        same = np.array_equal(whole(session, config, changed)[: 2 * own], heard[: 2 * own])
        if not seen:
            assert same
    assert config.lookahead_samples > (config.full_lookahead - 1) * own


def test_half_precision_keeps_streams_equal(tmp_path):
    vocoder = models("tiny").vocoder
    session = opened(vocoder, tmp_path, True, "f16")
    latents = latents_of(vocoder.config, 40)
    streamed = in_random_cuts(session, vocoder.config, latents, 1)
    assert snr_db(streamed, whole(session, vocoder.config, latents)) > tolerances.STREAM_SNR_DB


def test_lookahead_of_the_published_rates():
    config = models("tiny").vocoder.config
    assert (config.lookahead_samples, config.full_lookahead) == (3095, 13)
    fewer = replace(config, block_dilations=((1,), (3,), (5,)))
    assert (fewer.lookahead_samples, fewer.full_lookahead) == (1515, 7)

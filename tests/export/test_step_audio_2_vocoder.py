"""Step-Audio 2's vocoder graph as a stream against the module on the whole."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from step_audio_2_graphs import VocoderStream, opened
from step_audio_2_models import models
from tiny_models import golden, snr_db

import tolerances
from parley_export.families.step_audio_2.modules import Vocoder
from parley_export.harmonic_vocoder import VocoderConfig
from parley_export.harmonic_vocoder_graph import export_vocoder

# Other rates in another order, blocks that look ahead differently far, sources that come first.
UNEVEN = VocoderConfig(
    width=24,
    pitch_width=6,
    n_mels=5,
    rates=(3, 4, 2),
    kernels=(7, 8, 4),
    n_fft=8,
    hop=2,
    block_kernels=(3, 5),
    source_kernels=(3, 5, 3),
    dilations=(1, 2),
    harmonics=3,
)


def made(vocoder, folder):
    """A stream's class of the module's graph."""
    export_vocoder(vocoder, folder / "vocoder.onnx")
    session = opened(folder / "vocoder.onnx")
    return lambda: VocoderStream(session, vocoder.config)


@pytest.fixture(scope="module", params=["tiny", "uneven"])
def both(request, tmp_path_factory):
    """(module, its graph's streams)."""
    vocoder = models().vocoder
    if request.param == "uneven":
        torch.manual_seed(3)
        vocoder = Vocoder(UNEVEN).eval().requires_grad_(False)
        vocoder.f0_predictor.classifier.bias += 60  # Hz: voiced
    return vocoder, made(vocoder, tmp_path_factory.mktemp("vocoder"))


def drawn(vocoder, n, seed=0):
    """Log-mel `[1, n_mels, n]` and the source's noise, which begins where the graph's does."""
    random = np.random.default_rng(seed)
    config = vocoder.config
    mel = random.standard_normal((1, config.n_mels, n), np.float32) - 3
    frames = n + 2 * config.full_lookahead
    return mel, random.standard_normal((1, 1, frames * config.samples_per_frame), np.float32)


def whole(vocoder, mel, noise):
    begin = vocoder.config.source_lookahead
    own = noise[..., begin : begin + mel.shape[2] * vocoder.config.samples_per_frame]
    return vocoder(torch.from_numpy(mel), torch.from_numpy(own))[0, 0]


@pytest.mark.parametrize("cut", [1, 7, 50])
def test_a_stream_is_the_whole(both, cut):
    vocoder, stream = both
    mel, noise = drawn(vocoder, 33)
    got = stream().play(mel, noise, cut, vocoder.config.full_lookahead)
    assert snr_db(got, whole(vocoder, mel, noise)) > tolerances.HARMONIC_WAVE_SNR_DB


def test_golden(tmp_path):
    mel, wave = (
        golden("step_audio_2")["vocoder_mel"].T[None],
        golden("step_audio_2")["vocoder_wave"],
    )
    vocoder = models().vocoder
    stream = made(vocoder, tmp_path)()
    noise = np.zeros_like(drawn(vocoder, mel.shape[2])[1])
    got = stream.play(mel, noise, 9, vocoder.config.full_lookahead)
    assert snr_db(got, wave) > tolerances.HARMONIC_WAVE_SNR_DB


def test_less_look_ahead(tmp_path):
    """As many frames as the published stream holds back; the rest is guessed as silence."""
    vocoder = models().vocoder
    mel, noise = drawn(vocoder, 60)
    got = made(vocoder, tmp_path)().play(mel, noise, 25, 8)
    assert snr_db(got, whole(vocoder, mel, noise)) > tolerances.SHORT_LOOKAHEAD_SNR_DB


def test_a_second_reply_begins_anew(tmp_path):
    vocoder = models().vocoder
    stream, (mel, noise) = made(vocoder, tmp_path), drawn(vocoder, 12)
    first = stream().play(mel, noise, 5, vocoder.config.full_lookahead)
    assert np.array_equal(stream().play(mel, noise, 5, vocoder.config.full_lookahead), first)


def test_the_published_sizes_look_twenty_frames_ahead():
    assert VocoderConfig().full_lookahead == 20
    assert replace(VocoderConfig(), width=64).full_lookahead == 20

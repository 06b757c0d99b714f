"""The plain front end: lengths, the resampler's tone, both framings."""

import math

import pytest
import torch

import tolerances
from parley_export.families.covo_audio.modules import front_end
from parley_export.modules import sound

CONFIG = front_end.FrontEndConfig()


@pytest.mark.parametrize("n", [0, 1, 479, 24000, 24001])
@pytest.mark.parametrize(("old", "new"), [(24000, 16000), (48000, 24000), (44100, 24000)])
def test_resampled_length(n, old, new):
    assert len(sound.resample(torch.zeros(n), old, new, 6, 0.99)) == math.ceil(n * new / old)


def test_resampler_keeps_a_tone():
    t = torch.arange(24000, dtype=torch.float64) / 24000
    tone = torch.sin(2 * math.pi * 1000 * t)
    got = front_end.resample_input(tone, CONFIG)
    expected = torch.sin(2 * math.pi * 1000 * torch.arange(16000, dtype=torch.float64) / 16000)
    inside = slice(100, -100)
    assert (got - expected)[inside].abs().max() < tolerances.RESAMPLED_TONE_ABS


def test_chunk_frames_end_at_their_hop():
    """A click is heard in no mel frame that ends before it."""
    samples = torch.zeros(2560)
    samples[800] = 1.0
    log_mel = front_end.chunk_log_mel(samples, CONFIG)
    heard = (log_mel > log_mel.min()).any(0).nonzero()[:, 0].tolist()
    assert log_mel.shape == (128, 16)
    assert heard == [5, 6]


def test_both_framings_agree_where_they_meet():
    """Chunk frame i begins at sample 160 i - 240, centred frame i at 160 i - 200."""
    samples = torch.randn(4000, generator=torch.Generator().manual_seed(3))
    config = front_end.FrontEndConfig(chunk_log_floor=CONFIG.log_floor, clamp_range=1000.0)
    centred = front_end.segment_log_mel(samples, config)
    chunked = front_end.chunk_log_mel(samples[40:], config)
    assert centred.shape == (128, 3000)
    difference = (centred[:, 2:20] - chunked[:, 2:20]).abs().max()
    assert difference < tolerances.LOG_MEL_ABS


def test_silence_sits_on_the_floors():
    assert front_end.segment_log_mel(torch.zeros(100), CONFIG).unique().tolist() == [-1.5]
    assert front_end.chunk_log_mel(torch.zeros(2560), CONFIG).unique().tolist() == [-0.5]


@pytest.mark.parametrize(
    ("n", "lengths", "features"),
    [
        (239, [], 0),
        (240, [480], 1),
        (3840, [3840], 1),
        (4080, [4320], 2),
        (720000, [720000], 188),
        (720480, [720000, 480], 188),
        (1440000, [720000, 720000], 375),
    ],
)
def test_turns_are_cut_as_published(n, lengths, features):
    assert [len(s) for s in front_end.cut_turn(torch.zeros(n), CONFIG)] == lengths
    assert front_end.count_features(n, CONFIG) == features


def test_filters_have_unit_area():
    filters = front_end.mel_filters(CONFIG)
    area = filters.sum(1) * CONFIG.encoder_hz / CONFIG.n_fft
    assert filters.shape == (128, 201)
    assert (filters >= 0).all()
    assert area[60:].allclose(torch.ones(68, dtype=torch.float64), rtol=tolerances.MEL_AREA_REL)

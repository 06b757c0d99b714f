"""Streaming equals the chunked whole, for sizes that are not tiny's."""

import pytest
import torch
from tiny_models import models, relative_error

import tolerances
from parley_export.families.covo_audio.modules import (
    AdapterConfig,
    AudioAdapter,
    AudioEncoder,
    EncoderConfig,
)

# (width, layers, heads, mels, positions, chunk frames, left context frames)
SIZES = [(16, 2, 2, 10, 40, 8, 16), (24, 1, 3, 7, 28, 4, 4), (8, 3, 1, 5, 64, 16, 64)]


def build(width, layers, heads, n_mels, *rest):
    positions, chunk, left = rest
    torch.manual_seed(7)
    sizes = {"chunk_frames": chunk, "left_context_frames": left, "positions": positions}
    config = EncoderConfig(width, layers, heads, 3 * width, n_mels, **sizes)
    adapter = AudioAdapter(AdapterConfig(width, 9, stages=2, hidden=20))
    return AudioEncoder(config).requires_grad_(False), adapter.requires_grad_(False)


def stream(encoder, adapter, log_mel):
    state, left, rows = encoder.create_state(), adapter.create_state(), []
    for chunk in log_mel.split(encoder.chunk_mel_frames, 2):
        x, state = encoder.step(chunk, state)
        x, left = adapter.step(x, left)
        rows.append(x)
    return torch.cat(rows, 1), state


@pytest.mark.parametrize("sizes", SIZES)
def test_step_equals_whole(sizes):
    encoder, adapter = build(*sizes)
    log_mel = torch.randn(1, sizes[3], 13 * encoder.chunk_mel_frames)
    whole = adapter(encoder.forward_chunked(log_mel))
    got, state = stream(encoder, adapter, log_mel)
    assert relative_error(got, whole) < tolerances.STREAM_REL
    frames = log_mel.shape[2] // 2
    assert frames > encoder.config.positions  # the position table wrapped around
    assert state.position.item() == frames % encoder.config.positions
    assert state.filled.item() == encoder.config.left_context_frames


def test_step_equals_whole_on_the_checkpoint():
    parts = models("tiny")
    log_mel = torch.randn(1, 128, 16 * 12, generator=torch.Generator().manual_seed(1))
    whole = parts.adapter(parts.encoder.forward_chunked(log_mel))
    got, _ = stream(parts.encoder, parts.adapter, log_mel)
    assert relative_error(got, whole) < tolerances.STREAM_REL


def changed_features(encoder, adapter, log_mel, chunk):
    """Which features change where one chunk's samples do."""
    width = encoder.chunk_mel_frames
    other = log_mel.clone()
    other[:, :, chunk * width : (chunk + 1) * width] += 1
    runs = [adapter(encoder.forward_chunked(x)) for x in (log_mel, other)]
    return (runs[0] != runs[1]).any(-1).any(0)


def test_nothing_looks_ahead_and_the_past_is_bounded():
    encoder, adapter = build(16, 1, 2, 10, 400, 4, 8)
    log_mel = torch.randn(1, 10, 8 * 12)
    changed = changed_features(encoder, adapter, log_mel, chunk=3)
    # 4 through the first convolutions' past, 5 and 6 through two chunks of left context (of 4),
    # 7 through the adapter's past.
    assert changed.nonzero()[:, 0].tolist() == [3, 4, 5, 6, 7]


def test_without_left_context_only_convolutions_remember():
    encoder, adapter = build(16, 1, 2, 10, 400, 4, 0)
    log_mel = torch.randn(1, 10, 8 * 12)
    changed = changed_features(encoder, adapter, log_mel, chunk=3)
    assert changed.nonzero()[:, 0].tolist() == [3, 4, 5]


def test_the_published_form_sees_everything():
    encoder, _ = build(16, 2, 2, 10, 48, 4, 8)
    log_mel = torch.randn(1, 10, 96)
    other = log_mel.clone()
    other[:, :, -1] += 1
    assert (encoder(log_mel) != encoder(other)).any(-1).all()

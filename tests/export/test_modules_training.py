"""The modules train: gradients, weight norm, the backbone's cache and window."""

import dataclasses

import pytest
import torch
from tiny_models import models, relative_error
from torch.nn import functional

import tolerances
from parley_export.families.covo_audio.modules import (
    Backbone,
    BackboneConfig,
    Vocoder,
    VocoderConfig,
)
from parley_export.families.covo_audio.modules.activation import AliasFreeActivation, lowpass_filter
from parley_export.modules.backbone import penalize

VOCODER = VocoderConfig(
    z=6, width=16, rates=(3, 2), block_kernels=(3, 5), block_dilations=((1, 3), (1, 2))
)
BACKBONE = BackboneConfig(
    width=16, ffn_width=24, layers=2, heads=4, kv_heads=2, vocab_size=30, head_width=4
)


def test_folding_keeps_the_numbers():
    torch.manual_seed(0)
    vocoder = Vocoder(VOCODER)
    for name, parameter in vocoder.named_parameters():
        if name.endswith("weight_g"):
            torch.nn.init.uniform_(parameter, 0.5, 2.0)
    latents = torch.randn(1, 6, 9)
    before = vocoder(latents).detach()
    vocoder.fold_weight_norm()
    assert relative_error(vocoder(latents).detach(), before) < tolerances.SAME_REL
    assert not [n for n, _ in vocoder.named_parameters() if n.endswith(("weight_g", "weight_v"))]


def test_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    vocoder, backbone = Vocoder(VOCODER), Backbone(BACKBONE)
    vocoder(torch.randn(2, 6, 9)).square().sum().backward()
    embeddings = backbone.model.embed_tokens(torch.arange(10)[None])
    backbone(embeddings)[0].square().sum().backward()
    for module in (vocoder, backbone):
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_activation_is_its_definition():
    """Against the doubled signal written out: replicate, transposed filter, snake, filter."""
    torch.manual_seed(0)
    act, taps = AliasFreeActivation(3), lowpass_filter()
    torch.nn.init.normal_(act.act.alpha)
    torch.nn.init.normal_(act.act.beta)
    x = torch.randn(2, 3, 11)
    kernel = taps.expand(3, 1, -1)
    u = functional.pad(x, (5, 5), mode="replicate")
    u = 2 * functional.conv_transpose1d(u, kernel, stride=2, groups=3)[..., 15:-15]
    rate, gain = act.act.alpha.exp()[:, None], act.act.beta.exp()[:, None]
    u = u + (u * rate).sin().square() / gain
    u = functional.pad(u, (5, 6), mode="replicate")
    expected = functional.conv1d(u, kernel, stride=2, groups=3)
    assert (act(x) - expected).abs().max() < tolerances.FILTER_ABS


def test_upsampling_is_causal_but_for_its_filters():
    """A late latent leaves early samples alone: 3 frames of conv_pre, and the activations."""
    vocoder = models("tiny").vocoder
    latents = torch.randn(1, 64, 30, generator=torch.Generator().manual_seed(2))
    other = latents.clone()
    other[:, :, 20] += 1
    same = vocoder(latents) == vocoder(other)
    assert same[..., : (20 - 14) * 240].all()
    assert not same[..., 20 * 240 :].all()


@pytest.mark.parametrize("window", [0, 3])
def test_cache_equals_whole(window):
    torch.manual_seed(0)
    backbone = Backbone(dataclasses.replace(BACKBONE, window=window)).requires_grad_(False)
    embeddings = torch.randn(1, 12, 16)
    whole, _ = backbone(embeddings)
    cache, rows = None, []
    for part in embeddings.split([5, 1, 4, 2], 1):
        logits, cache = backbone(part, cache)
        rows.append(logits)
    assert relative_error(torch.cat(rows, 1), whole) < tolerances.SAME_REL


def test_window_forgets():
    torch.manual_seed(0)
    backbone = Backbone(dataclasses.replace(BACKBONE, window=3)).requires_grad_(False)
    embeddings = torch.randn(1, 12, 16)
    other = embeddings.clone()
    other[:, 2] += 1
    changed = (backbone(embeddings)[0] != backbone(other)[0]).any(-1)[0]
    # Two layers of a window of three: position 2 reaches 3, 4 and through them 5, 6.
    assert changed.nonzero()[:, 0].tolist() == [2, 3, 4, 5, 6]


def test_keep_narrows_what_is_seen():
    torch.manual_seed(0)
    backbone = Backbone(BACKBONE).requires_grad_(False)
    embeddings, keep = torch.randn(1, 6, 16), torch.ones(6, 6, dtype=torch.bool)
    keep[3:, 1] = False
    keep[2, 1] = False
    other = embeddings.clone()
    other[:, 1] += 1
    changed = (backbone(embeddings, keep=keep)[0] != backbone(other, keep=keep)[0]).any(-1)[0]
    assert changed.nonzero()[:, 0].tolist() == [1]


def test_penalty_counts_an_id_once():
    logits = torch.tensor([2.0, -2.0, 1.0])
    got = penalize(logits, torch.tensor([0, 1, 0, 1, 1]), 2.0)
    assert got.tolist() == [1.0, -4.0, 1.0]
    assert penalize(logits, torch.tensor([], dtype=torch.int64), 2.0).tolist() == logits.tolist()

"""Encoder, adapter and backbone in their training form; knows no data set and no schedule.

The modules are the exporter's. What is written here are only other ways through them: attention in
blocks and in float32, and the heads that aid training and are thrown away.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from parley_export.families.covo_audio.modules import (
    AdapterConfig,
    AudioAdapter,
    AudioEncoder,
    Backbone,
    BackboneConfig,
    EncoderConfig,
)
from parley_export.families.covo_audio.modules.front_end import FrontEndConfig, mel_filters
from parley_export.modules.rotary import rotary_angles, rotary_rates, rotate
from parley_export.modules.whisper import EncoderAttention

WINDOW = 256  # positions, in whole chunks
REACH = WINDOW + 8  # how far back a position can see: the window before its own step
QUERY_BLOCK = 128  # positions that attend together, so that long sequences skip what is masked
CHUNK_SAMPLES = 2560  # at 16 kHz
# The distilled encoder's sizes, Whisper tiny.en's.
ENCODER = EncoderConfig(width=384, layers=4, heads=6, ffn_width=1536, n_mels=80, positions=1500)
ADAPTER = AdapterConfig(width=384, out_width=256, hidden=256)


def backbone_config(vocab_size: int) -> BackboneConfig:
    """nano's backbone; its window is a mask of whole chunks, so `window` stays 0."""
    return BackboneConfig(
        width=256,
        ffn_width=768,
        layers=5,
        heads=4,
        kv_heads=2,
        vocab_size=vocab_size,
        head_width=64,
        rope_theta=10000.0,
    )


@dataclass(frozen=True)
class ListenConfig:
    """Sizes of everything that listens and thinks, with the two heads of the training."""

    backbone: BackboneConfig
    n_phones: int
    n_words: int
    encoder: EncoderConfig = ENCODER
    adapter: AdapterConfig = ADAPTER


class ListenModel(nn.Module):
    """`features` and `read` are the two halves; a session's features go into the sequence."""

    def __init__(self, config: ListenConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = AudioEncoder(config.encoder)
        self.adapter = AudioAdapter(config.adapter)
        self.backbone = Backbone(config.backbone)
        self.phone_head = nn.Linear(config.encoder.width, config.n_phones)
        self.word_head = nn.Linear(config.backbone.width, config.n_words)
        self.early_word_head = nn.Linear(config.backbone.width, config.n_words)
        self.front = FrontEndConfig(n_mels=config.encoder.n_mels)
        self.register_buffer("filters", mel_filters(self.front).float(), persistent=False)
        self.register_buffer("hann", torch.hann_window(self.front.n_fft), persistent=False)
        initialize(self)

    def log_mel(self, wave: Tensor) -> Tensor:
        """`[B, n]` at 16 kHz to `[B, n_mels, n / hop]`, the chunk form of the front end."""
        front = self.front
        padded = functional.pad(wave, (front.chunk_frame_pad, 0))
        frames = padded.unfold(1, front.n_fft, front.hop) * self.hann
        power = torch.view_as_real(torch.fft.rfft(frames)).square().sum(-1)
        mel = power @ self.filters.T
        return ((mel.clamp(min=front.chunk_log_floor).log10() + front.offset) / front.scale).mT

    def features(
        self, log_mel: Tensor, offset: Tensor, *, frozen: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Encoder frames `[B, T, D]` and features `[B, T / 8, width]`.

        `offset` [B]: each stream's first encoder position; any, as the table wraps. `frozen`: the
        encoder gets no gradient.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            encoded = encode(self.encoder, log_mel, offset)
        return encoded, self.adapter(encoded)

    def read(self, features: Tensor, ids: Tensor, chunk: Tensor, keep: Tensor) -> Tensor:
        """Hidden states `[B, L, width]` of a sequence (see listen_sequence.py)."""
        embedded = self.backbone.model.embed_tokens(ids.clamp(min=0))
        heard = features.gather(1, chunk[:, :, None].expand(-1, -1, features.shape[2]))
        x = torch.where((ids < 0)[:, :, None], heard.to(embedded.dtype), embedded)
        return think(self.backbone, x, keep)


def initialize(model: ListenModel) -> None:
    """Small normal weights; what writes into a residual stream is smaller by its depth."""
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2 or not parameter.requires_grad:
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            continue
        fan_in = parameter[0].numel()
        std = 0.5 if "embed_tokens" in name else fan_in**-0.5
        if name.endswith(("out_proj.weight", "fc2.weight", "o_proj.weight", "down_proj.weight")):
            std *= 0.3
        if name.endswith("lm_head.weight"):
            std *= 0.5
        nn.init.normal_(parameter, std=std)


# ---------------------------------------------------------------- encoder


def encode(encoder: AudioEncoder, log_mel: Tensor, offset: Tensor) -> Tensor:
    """AudioEncoder.forward_chunked with positions from `offset` [B] on; attention in blocks."""
    config = encoder.config
    x = functional.gelu(encoder.conv1(functional.pad(log_mel, (2, 0))))
    x = functional.gelu(encoder.conv2(functional.pad(x, (1, 0)))).mT
    frames = torch.arange(x.shape[1], device=x.device)
    x = x + encoder.embed_positions((offset[:, None] + frames) % config.positions)
    block = config.left_context_frames
    n_frames = x.shape[1]
    x = functional.pad(x, (0, 0, 0, -n_frames % block))
    mask = block_mask(config, x.shape[1] // block, x.device)
    for layer in encoder.layers:
        x = x + attend_blocks(layer.self_attn, layer.self_attn_layer_norm(x), block, mask)
        x = x + layer.fc2(functional.gelu(layer.fc1(layer.final_layer_norm(x))))
    return encoder.layer_norm(x[:, :n_frames])


def block_mask(config: EncoderConfig, n_blocks: int, device: torch.device) -> Tensor:
    """`[blocks, 1, block, 2 * block]` bool: what a block sees of the block before and of itself."""
    block, chunk = config.left_context_frames, config.chunk_frames
    begin = torch.arange(block, device=device) // chunk * chunk
    keys = torch.arange(-block, block, device=device)
    seen = (keys >= (begin - block)[:, None]) & (keys < (begin + chunk)[:, None])
    first = torch.arange(n_blocks, device=device)[:, None, None] == 0
    return (seen & ~(first & (keys < 0)))[:, None]


def attend_blocks(attention: EncoderAttention, x: Tensor, block: int, mask: Tensor) -> Tensor:
    """Block-causal attention `[B, T, D]` in float32; T is whole blocks."""
    n, n_blocks = x.shape[0], x.shape[1] // block
    q = attention.split(attention.q_proj(x))
    k, v = attention.keys_values(x)
    q, k, v = (t.float().unflatten(2, (n_blocks, block)).transpose(1, 2) for t in (q, k, v))
    k, v = (torch.cat([functional.pad(t, (0, 0) * 3 + (1, 0))[:, :-1], t], 3) for t in (k, v))
    mask = mask.expand(n, -1, -1, -1, -1).flatten(0, 1)
    mixed = attention_f32(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), mask)
    mixed = mixed.unflatten(0, (n, n_blocks)).transpose(2, 3).flatten(1, 2)
    return attention.out_proj(mixed.flatten(-2))


def attention_f32(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention outside of autocast: its backward pass in bfloat16 is twice as slow on a CPU."""
    with torch.autocast(q.device.type, enabled=False):
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


# ---------------------------------------------------------------- backbone


def think(backbone: Backbone, x: Tensor, keep: Tensor, reach: int = REACH) -> Tensor:
    """Backbone.forward without its head: `[B, L, width]`; `keep` [B, L, L] bool is the mask.

    No position may see more than `reach` back.
    """
    config = backbone.config
    positions = torch.arange(x.shape[1], device=x.device)
    rates = rotary_rates(config.head_width, config.rope_theta).to(x.device)
    angles = rotary_angles(positions, rates)
    mask, groups = keep[:, None], config.heads // config.kv_heads
    for layer in backbone.model.layers:
        attention, normed = layer.self_attn, layer.input_layernorm(x)
        q = split_heads(attention.q_proj(normed), config.heads)
        k = split_heads(attention.k_proj(normed), config.kv_heads)
        v = split_heads(attention.v_proj(normed), config.kv_heads)
        q, k = rotate(q, *angles), rotate(k, *angles)
        k, v = (t.repeat_interleave(groups, 1) for t in (k, v))
        mixed = attend_window(q, k, v, mask, reach)
        x = x + attention.o_proj(mixed.transpose(1, 2).flatten(-2))
        x = x + layer.mlp(layer.post_attention_layernorm(x))
    return backbone.model.norm(x)


def attend_window(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, reach: int) -> Tensor:
    """Attention `[B, H, L, D]` that leaves out keys more than `reach` before a query."""
    parts = []
    for begin in range(0, q.shape[2], QUERY_BLOCK):
        rows = slice(begin, begin + QUERY_BLOCK)
        seen = slice(max(0, begin - reach), begin + QUERY_BLOCK)
        parts.append(
            attention_f32(q[:, :, rows], k[:, :, seen], v[:, :, seen], mask[:, :, rows, seen])
        )
    return torch.cat(parts, 2)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """`[B, L, H * D]` to `[B, H, L, D]` in float32."""
    return x.float().unflatten(-1, (heads, -1)).transpose(1, 2)

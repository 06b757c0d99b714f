"""The backbone: a Qwen2-shaped decoder over embeddings; knows no audio and no sampling policy."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from parley_export.modules.rotary import rotary_angles, rotary_rates, rotate
from parley_export.qwen2 import BackboneConfig

Cache = list[tuple[Tensor, Tensor]]


class RmsNorm(nn.Module):
    """Root mean square norm over the last dimension (Zhang and Sennrich, 2019)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        full = x.float()
        full = full * torch.rsqrt(full.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * full.to(x.dtype)


class BackboneAttention(nn.Module):
    """Causal grouped-query attention with rotary positions and a key/value cache."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        head, self.heads, self.kv_heads = config.head_width, config.heads, config.kv_heads
        self.q_proj = nn.Linear(config.width, self.heads * head)
        self.k_proj = nn.Linear(config.width, self.kv_heads * head)
        self.v_proj = nn.Linear(config.width, self.kv_heads * head)
        self.o_proj = nn.Linear(self.heads * head, config.width, bias=False)

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        mask: Tensor,
        past: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        q = rotate(self.q_proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2), *angles)
        k = rotate(self.k_proj(x).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2), *angles)
        v = self.v_proj(x).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        return self.o_proj(mixed.transpose(1, 2).flatten(-2)), (k, v)


class BackboneFeedForward(nn.Module):
    """Gated SiLU."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.ffn_width, bias=False)
        self.up_proj = nn.Linear(config.width, config.ffn_width, bias=False)
        self.down_proj = nn.Linear(config.ffn_width, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class BackboneLayer(nn.Module):
    """Pre-norm decoder layer."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.self_attn = BackboneAttention(config)
        self.mlp = BackboneFeedForward(config)
        self.input_layernorm = RmsNorm(config.width, config.rms_eps)
        self.post_attention_layernorm = RmsNorm(config.width, config.rms_eps)


class BackboneTrunk(nn.Module):
    """Embeddings and layers, without the head."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.width)
        self.layers = nn.ModuleList(BackboneLayer(config) for _ in range(config.layers))
        self.norm = RmsNorm(config.width, config.rms_eps)


class Backbone(nn.Module):
    """Embeddings `[B, T, D]` to logits `[B, T, vocab]`; tokens and audio features interleave.

    Each query sees itself and the `window - 1` positions before it (all where window is 0).
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.model = BackboneTrunk(config)
        self.lm_head = nn.Linear(config.width, config.vocab_size, bias=False)

    def embed(self, ids: Tensor, features: Tensor, placeholder: int) -> Tensor:
        """Ids `[T]` to `[1, T, D]`; features `[n, D]` take the first n placeholders, in order."""
        x = self.model.embed_tokens(ids).clone()
        slots = (ids == placeholder).nonzero()[:, 0]
        x[slots] = features[: len(slots)].to(x.dtype)
        return x[None]

    def forward(
        self, embeddings: Tensor, cache: Cache | None = None, keep: Tensor | None = None
    ) -> tuple[Tensor, Cache]:
        """Returns logits and the cache with these positions appended.

        `keep` [T, S] bool narrows what is seen further (training masks); S counts the cache too.
        """
        n_past = cache[0][0].shape[2] if cache else 0
        n_new, device = embeddings.shape[1], embeddings.device
        queries = torch.arange(n_past, n_past + n_new, device=device)[:, None]
        keys = torch.arange(n_past + n_new, device=device)
        seen = keys <= queries
        if self.config.window:
            seen = seen & (keys > queries - self.config.window)
        if keep is not None:
            seen = seen & keep
        rates = rotary_rates(self.config.head_width, self.config.rope_theta).to(device)
        cos, sin = rotary_angles(queries[:, 0], rates)
        angles = cos.to(embeddings.dtype), sin.to(embeddings.dtype)
        x, after = embeddings, []
        for i, layer in enumerate(self.model.layers):
            mixed, kept = layer.self_attn(
                layer.input_layernorm(x), angles, seen, cache[i] if cache else None
            )
            x = x + mixed
            x = x + layer.mlp(layer.post_attention_layernorm(x))
            after.append(kept)
        return self.lm_head(self.model.norm(x)), after


def penalize(logits: Tensor, ids: Tensor, penalty: float) -> Tensor:
    """Repetition penalty (Keskar et al., 2019): scores `[vocab]` of `ids` [n], once per id."""
    ids = ids.unique()
    scores = logits[ids]
    logits = logits.clone()
    logits[ids] = torch.where(scores < 0, scores * penalty, scores / penalty)
    return logits

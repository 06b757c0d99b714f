"""The backbone: a Qwen-shaped decoder over embeddings; knows no audio and no sampling policy."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from parley_export.modules.rotary import rotary_angles, rotary_rates, rotate
from parley_export.qwen import BackboneConfig

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
        bias = not config.is_normed
        self.q_proj = nn.Linear(config.width, self.heads * head, bias=bias)
        self.k_proj = nn.Linear(config.width, self.kv_heads * head, bias=bias)
        self.v_proj = nn.Linear(config.width, self.kv_heads * head, bias=bias)
        if config.is_normed:
            self.q_norm, self.k_norm = (RmsNorm(head, config.rms_eps) for _ in range(2))
        self.o_proj = nn.Linear(self.heads * head, config.width, bias=False)

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        mask: Tensor,
        past: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        q = self.q_proj(x).unflatten(-1, (self.heads, -1))
        k, v = (
            project(x).unflatten(-1, (self.kv_heads, -1)) for project in (self.k_proj, self.v_proj)
        )
        if hasattr(self, "q_norm"):
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = rotate(q.transpose(1, 2), *angles), k.transpose(1, 2), v.transpose(1, 2)
        k = rotate(k, *angles)
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


class Layers(nn.Module):
    """Rows `[B, T, D]` through all layers and the last norm, `[B, T, D]`, over a cache.

    Each query sees itself and the `window - 1` positions before it (all where window is 0).
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(BackboneLayer(config) for _ in range(config.layers))
        self.norm = RmsNorm(config.width, config.rms_eps)

    def forward(
        self, x: Tensor, cache: Cache | None = None, keep: Tensor | None = None
    ) -> tuple[Tensor, Cache]:
        """Returns what the head sees, and the cache with these positions appended."""
        n_past = cache[0][0].shape[2] if cache else 0
        queries = torch.arange(n_past, n_past + x.shape[1], device=x.device)[:, None]
        keys = torch.arange(n_past + x.shape[1], device=x.device)
        seen = keys <= queries
        if self.config.window:
            seen = seen & (keys > queries - self.config.window)
        if keep is not None:
            seen = seen & keep
        rates = rotary_rates(self.config.head_width, self.config.rope_theta).to(x.device)
        cos, sin = rotary_angles(queries[:, 0], rates)
        angles, after = (cos.to(x.dtype), sin.to(x.dtype)), []
        for i, layer in enumerate(self.layers):
            mixed, kept = layer.self_attn(
                layer.input_layernorm(x), angles, seen, cache[i] if cache else None
            )
            x = x + mixed
            x = x + layer.mlp(layer.post_attention_layernorm(x))
            after.append(kept)
        return self.norm(x), after


class BackboneTrunk(Layers):
    """The same with the embeddings of its ids."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.width)


class Backbone(nn.Module):
    """Embeddings `[B, T, D]` to logits `[B, T, vocab]`; tokens and audio features interleave."""

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
        hidden, after = self.model(embeddings, cache, keep)
        return self.lm_head(hidden), after


def penalize(logits: Tensor, ids: Tensor, penalty: float) -> Tensor:
    """Repetition penalty (Keskar et al., 2019): scores `[vocab]` of `ids` [n], once per id."""
    ids = ids.unique()
    scores = logits[ids]
    logits = logits.clone()
    logits[ids] = torch.where(scores < 0, scores * penalty, scores / penalty)
    return logits

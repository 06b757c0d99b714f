"""The audio encoder, whole segments and chunk by chunk; knows no adapter and no waveform.

Architecture: the encoder of Whisper (Radford et al., 2022). The chunk form is the same weights with
causal framing and block-causal attention: a frame sees its own chunk and a limited left context.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from parley_export.families.covo_audio.configs import EncoderConfig
from parley_export.modules.whisper import EncoderLayer, sinusoids


@dataclass
class EncoderState:
    """What one stream remembers. All tensors; `filled` and `position` are int64 `[1]`.

    `conv1` [1, n_mels, 2] mel frames, `conv2` [1, D, 1] half-rate input frame, `keys` and `values`
    [layers, heads, left context, head width], newest last, of which the last `filled` are valid.
    """

    conv1: Tensor
    conv2: Tensor
    keys: Tensor
    values: Tensor
    filled: Tensor
    position: Tensor


class AudioEncoder(nn.Module):
    """Log-mel `[B, n_mels, T]` to encoder frames `[B, T/2, D]`.

    `forward` is the published form (every frame sees every frame), `forward_chunked` the whole
    reference of the chunk form, `step` the same numbers from one chunk and a state.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv1d(config.n_mels, config.width, 3)
        self.conv2 = nn.Conv1d(config.width, config.width, 3, stride=2)
        self.embed_positions = nn.Embedding(config.positions, config.width)
        self.embed_positions.weight.requires_grad_(False).copy_(
            sinusoids(config.positions, config.width)
        )
        self.layers = nn.ModuleList(
            EncoderLayer(config.width, config.heads, config.ffn_width) for _ in range(config.layers)
        )
        self.layer_norm = nn.LayerNorm(config.width)

    @property
    def chunk_mel_frames(self) -> int:
        """Mel frames of one chunk."""
        return 2 * self.config.chunk_frames

    def forward(self, log_mel: Tensor) -> Tensor:
        """`[B, n_mels, T]` -> `[B, ceil(T/2), D]`, at most `positions` frames."""
        x = functional.gelu(self.conv1(functional.pad(log_mel, (1, 1))))
        x = functional.gelu(self.conv2(functional.pad(x, (1, 1)))).transpose(1, 2)
        x = x + self.embed_positions.weight[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)[0]
        return self.layer_norm(x)

    def forward_chunked(self, log_mel: Tensor) -> Tensor:
        """`[B, n_mels, T]` -> `[B, T/2, D]` as a stream of whole chunks gives it."""
        x = functional.gelu(self.conv1(functional.pad(log_mel, (2, 0))))
        x = functional.gelu(self.conv2(functional.pad(x, (1, 0)))).transpose(1, 2)
        frames = torch.arange(x.shape[1], device=x.device)
        x = x + self.embed_positions(frames % self.config.positions)
        mask = self.chunk_mask(x.shape[1])
        for layer in self.layers:
            x = layer(x, mask)[0]
        return self.layer_norm(x)

    def chunk_mask(self, n_frames: int) -> Tensor:
        """`[T, T]` bool: own chunk and the left context are seen, nothing else."""
        frames = torch.arange(n_frames, device=self.conv1.weight.device)
        begin = frames // self.config.chunk_frames * self.config.chunk_frames
        seen = frames < (begin + self.config.chunk_frames)[:, None]
        return seen & (frames >= (begin - self.config.left_context_frames)[:, None])

    def create_state(self) -> EncoderState:
        """The state before the first chunk, of one stream."""
        config, like = self.config, self.conv1.weight
        cache = (config.layers, config.heads, config.left_context_frames)
        shape = (*cache, config.width // config.heads)
        count = torch.zeros(1, dtype=torch.int64, device=like.device)
        return EncoderState(
            conv1=like.new_zeros(1, config.n_mels, 2),
            conv2=like.new_zeros(1, config.width, 1),
            keys=like.new_zeros(shape),
            values=like.new_zeros(shape),
            filled=count,
            position=count.clone(),
        )

    def step(self, log_mel: Tensor, state: EncoderState) -> tuple[Tensor, EncoderState]:
        """One chunk `[1, n_mels, 2 * chunk_frames]` -> `[1, chunk_frames, D]` and the new state."""
        config = self.config
        mel = torch.cat([state.conv1, log_mel], 2)
        half = torch.cat([state.conv2, functional.gelu(self.conv1(mel))], 2)
        x = functional.gelu(self.conv2(half)).transpose(1, 2)
        chunk = torch.arange(config.chunk_frames, device=x.device)
        x = x + self.embed_positions((state.position + chunk) % config.positions)
        context = torch.arange(-config.left_context_frames, config.chunk_frames, device=x.device)
        mask = (context >= -state.filled)[None]
        keys, values = [], []
        for i, layer in enumerate(self.layers):
            past = state.keys[i : i + 1], state.values[i : i + 1]
            x, layer_keys, layer_values = layer(x, mask, past)
            keys.append(layer_keys[:, :, config.chunk_frames :])
            values.append(layer_values[:, :, config.chunk_frames :])
        after = EncoderState(
            conv1=mel[:, :, -2:],
            conv2=half[:, :, -1:],
            keys=torch.cat(keys),
            values=torch.cat(values),
            filled=(state.filled + config.chunk_frames).clamp(max=config.left_context_frames),
            position=(state.position + config.chunk_frames) % config.positions,
        )
        return self.layer_norm(x), after

"""Whisper's decoder over our encoder: what an encoder's frames can be read as; evaluation only.

Greedy, without timestamps. Architecture: the decoder of Whisper (Radford et al., 2022).
"""

from __future__ import annotations

import json
import re
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from train.whisper import Weights, read_published

START, NO_TIMES, END = "<|startoftranscript|>", "<|notimestamps|>", "<|endoftext|>"
LONGEST = 64  # tokens


class Reader:
    """Reads encoder frames `[B, T, D]` to texts. No training reads this.

    tokenizer, config: the model's tokenizer.json and config.json; without, those of tiny.en.
    """

    def __init__(
        self, weights: Weights, tokenizer: str | None = None, config: dict[str, Any] | None = None
    ) -> None:
        from tokenizers import Tokenizer

        self.weights = {
            name.removeprefix("decoder/"): tensor
            for name, tensor in weights.items()
            if name.startswith("decoder/")
        }
        self.layers = sum(name.endswith("ffn/linear_0/weight") for name in self.weights)
        self.heads = int(self.weights["num_heads"])
        self.tokenizer = Tokenizer.from_str(tokenizer or read_published("tokenizer.json").decode())
        config = config or json.loads(read_published("config.json"))
        self.never, self.never_first = config["suppress_ids"], config["suppress_ids_begin"]
        self.first = [self.tokenizer.token_to_id(token) for token in (START, NO_TIMES)]
        self.end = self.tokenizer.token_to_id(END)

    @torch.inference_mode()
    def read(self, frames: Tensor) -> list[str]:
        """The texts of `[B, T, D]`; every row is read for its whole length."""
        heard = [
            self.keys_values(frames, f"layer_{i}/attention/linear_1") for i in range(self.layers)
        ]
        past: list[tuple[Tensor, Tensor] | None] = [None] * self.layers
        tokens = torch.tensor([self.first] * len(frames))
        said = torch.empty(len(frames), 0, dtype=torch.int64)
        done = torch.zeros(len(frames), dtype=torch.bool)
        places = len(self.weights["position_encodings/encodings"]) - len(self.first)
        while said.shape[1] < min(LONGEST, places) and not done.all():
            logits = self.step(tokens, said.shape[1], past, heard)
            logits[:, self.never] = -torch.inf
            if not said.shape[1]:
                logits[:, self.never_first] = -torch.inf
            tokens = logits.argmax(-1).masked_fill(done, self.end)[:, None]
            done |= tokens[:, 0] == self.end
            said = torch.cat([said, tokens], 1)
        return [once(self.tokenizer.decode(row)) for row in said.tolist()]

    def step(
        self,
        tokens: Tensor,
        n_said: int,
        past: list[tuple[Tensor, Tensor] | None],
        heard: list[tuple[Tensor, Tensor]],
    ) -> Tensor:
        """Logits `[B, vocabulary]` after `tokens` `[B, n]`; `past` is moved on."""
        place = n_said + len(self.first) - tokens.shape[1] if n_said else 0
        embeddings = self.weights["embeddings/weight"]
        positions = self.weights["position_encodings/encodings"]
        x = embeddings[tokens] + positions[place : place + tokens.shape[1]]
        for i in range(self.layers):
            x = x + self.attend_self(x, i, past)
            name = f"layer_{i}/attention"
            q = self.split(self.linear(self.norm(x, f"{name}/layer_norm"), f"{name}/linear_0"))
            mixed = functional.scaled_dot_product_attention(q, *heard[i])
            x = x + self.linear(mixed.transpose(1, 2).flatten(-2), f"{name}/linear_2")
            name = f"layer_{i}/ffn"
            inner = self.linear(self.norm(x, f"{name}/layer_norm"), f"{name}/linear_0")
            x = x + self.linear(functional.gelu(inner), f"{name}/linear_1")
        return self.norm(x[:, -1], "layer_norm") @ embeddings.T

    def attend_self(
        self, x: Tensor, layer: int, past: list[tuple[Tensor, Tensor] | None]
    ) -> Tensor:
        name = f"layer_{layer}/self_attention"
        whole = self.linear(self.norm(x, f"{name}/layer_norm"), f"{name}/linear_0")
        q, k, v = (self.split(part) for part in whole.chunk(3, -1))
        before = past[layer]
        if before is not None:
            k, v = torch.cat([before[0], k], 2), torch.cat([before[1], v], 2)
        past[layer] = (k, v)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=before is None)
        return self.linear(mixed.transpose(1, 2).flatten(-2), f"{name}/linear_1")

    def keys_values(self, frames: Tensor, name: str) -> tuple[Tensor, Tensor]:
        k, v = self.linear(frames, name).chunk(2, -1)
        return self.split(k), self.split(v)

    def split(self, x: Tensor) -> Tensor:
        """`[B, T, D]` -> `[B, H, T, D / H]`."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def linear(self, x: Tensor, name: str) -> Tensor:
        return functional.linear(x, self.weights[f"{name}/weight"], self.weights[f"{name}/bias"])

    def norm(self, x: Tensor, name: str) -> Tensor:
        gamma, beta = self.weights[f"{name}/gamma"], self.weights[f"{name}/beta"]
        return functional.layer_norm(x, gamma.shape, gamma, beta)


def once(text: str) -> str:
    """`text` with what is said three times or more in a row said once.

    Greedy reading runs in a circle now and then; a circle counts as one error, not as fifty.
    """
    return re.sub(r"(\b\w.*?)(?:\W*\1){2,}", r"\1", text)


def plain_words(text: str) -> list[str]:
    """Lower-case words without punctuation, for comparison."""
    return re.sub(r"[^a-z0-9' ]", " ", text.lower().replace("’", "'")).split()


def word_errors(heard: list[str], said: list[str]) -> int:
    """Words to substitute, insert or delete (Levenshtein) to make `said` of `heard`."""
    row = list(range(len(said) + 1))
    for i, word in enumerate(heard, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(said, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]

"""Random weights and a made-up vocabulary in a checkpoint's place; for measurements only."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from parley_export.tokenizer import END_OF_TEXT, Tokenizer
from parley_export.weights import Shards, TensorInfo

WHOLE = "whole"  # in place of a stage's name: all stages with the published sizes


class RandomShards(Shards):
    """Stands in for a checkpoint's files: a tensor is drawn when it is read."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        nowhere = Path("random")
        self.tensors = {name: TensorInfo(nowhere, "F32", shape) for name, shape in shapes.items()}
        self.files: list[Path] = []

    def read(self, name: str) -> Any:
        """A torch tensor of a deviation that keeps activations near unit size."""
        import torch

        shape, leaf = self.tensors[name].shape, name.rsplit(".", 1)[-1]
        if "norm" in name and leaf == "weight":
            return torch.ones(shape)
        if leaf in ("bias", "alpha", "beta"):
            return torch.zeros(shape)
        if leaf == "weight_g":
            return torch.full(shape, 0.5)
        draw = torch.Generator().manual_seed(sum(name.encode()))
        bound = math.sqrt(3.0 / max(1, math.prod(shape[1:])))
        return torch.empty(shape).uniform_(-bound, bound, generator=draw)

    def close(self) -> None:
        pass


def byte_tokenizer(n: int, names: Iterable[str]) -> Tokenizer:
    """A vocabulary of `n` ids: bytes, made-up words, and the special `names` at the end."""
    special = [END_OF_TEXT, *names]
    plain = _byte_letters()
    words = [f"w{i}" for i in range(n - len(plain) - len(special))]
    tokens = [*plain, *words, *special]
    ids = {name: tokens.index(name) for name in special}
    return Tokenizer(tokens, [], dict(ids), ids, "qwen2")


def _byte_letters() -> list[str]:
    """The printable stand-ins that byte-level BPE has for the 256 bytes (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    letters = {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(rest)}
    return [letters[b] for b in range(256)]

"""Runs a GGUF backbone as the engine does; knows no session."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from parley import backbone


class LlamaBackbone:
    """One context of one model: float32 KV cache, one thread."""

    def __init__(self, path: Path, n_ctx: int = 1024):
        self._bench = backbone.open_bench(path, kv="f32", n_cells=n_ctx)
        self.vocab_size = self._bench.vocab_size
        self.tokenize = self._bench.tokenize

    def feed(self, embeddings: np.ndarray) -> np.ndarray:
        """Append [T, D] embeddings; returns the logits [vocab] after the last."""
        return self._bench.read(np.ascontiguousarray(embeddings, np.float32))

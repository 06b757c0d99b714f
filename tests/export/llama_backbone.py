"""Runs a GGUF backbone through llama-cpp-python's low-level functions; knows no session."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import llama_cpp as llama
import numpy as np


@llama.llama_log_callback
def _quiet(_level: int, _text: bytes, _user: Any) -> None:
    pass


class LlamaBackbone:
    """One context of one model: float32 KV cache, flash attention off, one thread."""

    def __init__(self, path: Path, n_ctx: int = 1024):
        llama.llama_log_set(_quiet, ctypes.c_void_p(0))
        llama.llama_backend_init()
        params = llama.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = llama.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            raise ValueError(f"llama.cpp cannot load {path}")
        options = llama.llama_context_default_params()
        options.n_ctx = options.n_batch = options.n_ubatch = n_ctx
        options.type_k = options.type_v = llama.GGML_TYPE_F32
        options.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
        options.n_threads = options.n_threads_batch = 1
        self.context = llama.llama_init_from_model(self.model, options)
        self.vocab = llama.llama_model_get_vocab(self.model)
        self.vocab_size = llama.llama_vocab_n_tokens(self.vocab)
        self.width = llama.llama_model_n_embd(self.model)
        self.position = 0

    def close(self) -> None:
        llama.llama_free(self.context)
        llama.llama_model_free(self.model)

    def feed(self, embeddings: np.ndarray) -> np.ndarray:
        """Append [T, D] embeddings; returns the logits [vocab] after the last."""
        n = len(embeddings)
        data = np.ascontiguousarray(embeddings, np.float32)
        batch = llama.llama_batch_init(n, self.width, 1)
        ctypes.memmove(batch.embd, data.ctypes.data, data.nbytes)
        for i in range(n):
            batch.pos[i] = self.position + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = i == n - 1
        batch.n_tokens = n
        code = llama.llama_decode(self.context, batch)
        llama.llama_batch_free(batch)
        if code != 0:
            raise ValueError(f"llama_decode gave {code}")
        self.position += n
        logits = llama.llama_get_logits_ith(self.context, -1)
        return np.ctypeslib.as_array(logits, (self.vocab_size,)).copy()

    def tokenize(self, text: str, special: bool) -> list[int]:
        """Ids of a text; `special`: whether names of control tokens in it become their ids."""
        data = text.encode()
        ids = (llama.llama_token * (len(data) + 8))()
        n = llama.llama_tokenize(self.vocab, data, len(data), ids, len(ids), False, special)
        return list(ids[:n])

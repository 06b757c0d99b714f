"""Turn the backbone's tensors and the tokenizer into a GGUF file; knows no graphs and no audio.

The file is written tensor by tensor from mapped shards. Quantized types are made from it by the
installed llama.cpp in a process of its own (quantize.py).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parley_export.errors import BundleError, LibraryError
from parley_export.qwen import BackboneConfig, Names
from parley_export.tokenizer import END_OF_TEXT, Tokenizer

# The types that a precision gives where the widths allow it (1-D tensors always stay F32).
USUAL_TYPES = {
    "f32": {"F32"},
    "f16": {"F16", "F32"},
    "q8_0": {"Q8_0", "F32"},
    "q6_k": {"Q6_K", "F32"},
    "q5_k_m": {"Q5_K", "Q6_K", "F32"},
    "q4_k_m": {"Q4_K", "Q6_K", "F32"},
    "q4_0": {"Q4_0", "Q4_1", "Q6_K", "F32"},
    "q3_k_m": {"Q3_K", "Q4_K", "Q5_K", "Q6_K", "F32"},
    "q2_k": {"Q2_K", "Q3_K", "Q4_K", "Q6_K", "F32"},
}
BITS = {
    "f32": 32.0,
    "f16": 16.0,
    "q8_0": 8.5,
    "q6_k": 6.5625,
    "q5_k_m": 5.9,
    "q4_k_m": 5.1,
    "q4_0": 4.8,
    "q3_k_m": 4.2,
    "q2_k": 3.6,
}
CHUNK_BYTES = 64 << 20  # converted at once; bounds anonymous memory
F16_MAX = 65504.0

Progress = Callable[[float], None]


@dataclass(frozen=True)
class TokenModel:
    """What a GGUF file is made from, weights aside.

    names: checkpoint name -> (GGUF name, shape), in the order of the file. config: also tells
    llama.cpp's name of the architecture. tokenizer: none where its ids are no text.
    max_positions: the context length that the file states.
    """

    names: Names
    config: BackboneConfig
    tokenizer: Tokenizer | None
    max_positions: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Checkpoint name -> shape of every tensor."""
        return {name: shape for name, (_, shape) in self.names.items()}

    @property
    def elements(self) -> int:
        """Number of weights."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def estimated_bytes(self, precision: str) -> int:
        """About how large the GGUF file of a precision becomes; within a few percent."""
        return int(self.elements * BITS[precision] / 8) + 80 * self.config.vocab_size


def audio_token(code: int) -> str:
    """Name of an audio code's entry in the vocabulary; never produced from text."""
    return f"<|audio_{code}|>"


def write_gguf(
    path: Path,
    model: TokenModel,
    read: Callable[[str], Any],
    *,
    precision: str,
    name: str,
    progress: Progress = lambda done: None,
) -> None:
    """Write a GGUF file.

    Args:
        read: gives a tensor of the checkpoint by its full name, [rows, columns] or [n].
        precision: "f32", "f16", or "source" (matrices keep the checkpoint's type, for quantizing).
        progress: called with the fraction done.
    Raises:
        BundleError: a value is not finite, or exceeds float16 where that was asked for.
        LibraryError: the package gguf is missing.
        OSError: the disk is full or cannot be written.
    """
    writer = open_writer(model, name)
    plan = []
    total = 0
    for source, (target, shape) in model.names.items():
        kind = _stored_type(read(source), precision)
        size = math.prod(shape) * (4 if kind == "F32" else 2)
        plan.append((source, target, kind))
        total += size
        writer.add_tensor_info(target, shape, _dtype(kind), size, gguf_type(kind))
    writer.add_file_type({"f32": 0, "f16": 1, "source": _file_type(plan)}[precision])
    try:
        writer.write_header_to_file(path)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        out = writer.fout[0]
        writer.write_padding(out, out.tell())
        written = 0
        for source, _, kind in plan:
            for piece in _pieces(source, read(source), kind):
                out.write(memoryview(piece).cast("B"))
                written += piece.nbytes
                progress(written / total)
            writer.write_padding(out, out.tell())
        out.flush()
    finally:
        writer.close()


def _stored_type(tensor: Any, precision: str) -> str:
    # ggml adds biases and norms in float32, so vectors are never narrowed.
    if tensor.ndim == 1 or precision == "f32":
        return "F32"
    if precision == "f16":
        return "F16"
    return {"torch.float32": "F32", "torch.float16": "F16", "torch.bfloat16": "BF16"}[
        str(tensor.dtype)
    ]


def _file_type(plan: list[tuple[str, str, str]]) -> int:
    kinds = Counter(kind for _, target, kind in plan if target.endswith("ffn_up.weight"))
    return {"F32": 0, "F16": 1, "BF16": 32}[kinds.most_common(1)[0][0]]


def _dtype(kind: str) -> Any:
    import numpy as np

    return np.dtype({"F32": "<f4", "F16": "<f2", "BF16": "<u2"}[kind])


def gguf_type(kind: str) -> Any:
    import gguf

    return gguf.GGMLQuantizationType[kind]


def _pieces(name: str, tensor: Any, kind: str) -> Iterator[Any]:
    """Yield a tensor's rows as little-endian NumPy arrays of the stored type, checked."""
    import torch

    tensor = tensor.contiguous()
    row = tensor[0].numel() * 4 if tensor.ndim > 1 else 4
    step = max(1, CHUNK_BYTES // row)
    for begin in range(0, tensor.shape[0], step):
        piece = tensor[begin : begin + step]
        if not torch.isfinite(piece).all():
            raise BundleError(
                f"[backbone.write] expected finite weights, got NaN or infinity in {name}; "
                "fetch the checkpoint again"
            )
        if kind == "F16" and piece.dtype != torch.float16 and piece.abs().max() > F16_MAX:
            raise BundleError(
                f"[backbone.write] expected weights below {F16_MAX:.0f} for float16, got more in "
                f"{name}; export with --backbone f32 or q8_0"
            )
        if kind == "BF16":
            yield piece.view(torch.uint16).numpy()
        else:
            yield piece.to(torch.float32 if kind == "F32" else torch.float16).numpy()


def open_writer(model: TokenModel, name: str) -> Any:
    """The package gguf's writer with everything but the tensors."""
    try:
        import gguf
    except ImportError as e:
        raise LibraryError(
            "[backbone.write] expected the package gguf, got none; pip install 'parley[export]'"
        ) from e

    class Writer(gguf.GGUFWriter):
        """Also writes an empty list of merges: a tokenizer of bytes alone has none."""

        def _pack_val(self, val: Any, vtype: Any, add_vtype: bool, sub_type: Any = None) -> bytes:
            if vtype == gguf.GGUFValueType.ARRAY and len(val) == 0:
                head = self._pack("I", vtype) if add_vtype else b""
                return head + self._pack("I", gguf.GGUFValueType.STRING) + self._pack("Q", 0)
            return super()._pack_val(val, vtype, add_vtype, sub_type)

    config = model.config
    w = Writer(None, model.config.architecture)
    w.add_name(name)
    w.add_context_length(model.max_positions)
    w.add_embedding_length(config.width)
    w.add_block_count(config.layers)
    w.add_feed_forward_length(config.ffn_width)
    w.add_head_count(config.heads)
    w.add_head_count_kv(config.kv_heads)
    if config.head_width * config.heads != config.width:
        w.add_key_length(config.head_width)
        w.add_value_length(config.head_width)
    w.add_layer_norm_rms_eps(config.rms_eps)
    w.add_rope_freq_base(config.rope_theta)
    w.add_vocab_size(config.vocab_size)
    if model.tokenizer is None:
        w.add_tokenizer_model("none")
        w.add_token_list([audio_token(k) for k in range(config.vocab_size)])
    else:
        _add_tokenizer(w, config, model.tokenizer)
    return w


def _add_tokenizer(w: Any, config: BackboneConfig, tokenizer: Tokenizer) -> None:
    """One entry per id; codes and special tokens are control, so text never turns into them."""
    import gguf

    codes = config.vocab_size - tokenizer.size
    tokens = tokenizer.tokens + [audio_token(k) for k in range(codes)]
    kinds = [gguf.TokenType.NORMAL] * tokenizer.size + [gguf.TokenType.CONTROL] * codes
    for token in tokenizer.added.values():
        kinds[token] = gguf.TokenType.USER_DEFINED
    for token in tokenizer.special.values():
        kinds[token] = gguf.TokenType.CONTROL
    twice = [t for t, n in Counter(tokens).items() if n > 1]
    if twice:
        raise BundleError(
            f"[backbone.write] expected the names of audio codes to be free, got {twice[:5]} in "
            "the tokenizer; rename these tokens"
        )
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(tokenizer.pre_tokenizer)
    w.add_token_list(tokens)
    w.add_token_types(kinds)
    w.add_key_value(
        gguf.Keys.Tokenizer.MERGES,
        tokenizer.merges,
        gguf.GGUFValueType.ARRAY,
        gguf.GGUFValueType.STRING,
    )
    w.add_eos_token_id(tokenizer.id_of(END_OF_TEXT))
    w.add_pad_token_id(tokenizer.id_of(END_OF_TEXT))
    w.add_add_bos_token(False)


def stored_tensors(path: Path) -> dict[str, tuple[str, int]]:
    """The type of each tensor of a GGUF file and its bytes, by name."""
    import gguf

    return {t.name: (t.tensor_type.name, int(t.n_bytes)) for t in gguf.GGUFReader(path).tensors}

"""Decoders of Qwen2's and Qwen3's shape: sizes from a config, tensors in checkpoints and GGUF."""

from __future__ import annotations

from dataclasses import dataclass

from parley_export.config_section import Section, SectionReader

Names = dict[str, tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class BackboneConfig:
    """Qwen-shaped decoder.

    `window` is the sliding window in positions, 0 for none. `architecture`: "qwen2" has biases in
    its query, key and value projections, "qwen3" norms every head's queries and keys instead.
    """

    width: int
    ffn_width: int
    layers: int
    heads: int
    kv_heads: int
    vocab_size: int
    head_width: int
    rms_eps: float = 1e-6
    rope_theta: float = 1e6
    window: int = 0
    architecture: str = "qwen2"

    @property
    def is_normed(self) -> bool:
        """Whether queries and keys are normed, in place of biases."""
        return self.architecture == "qwen3"

    @classmethod
    def from_dict(
        cls, section: Section, name: str = "llm_config", architecture: str = "qwen2"
    ) -> BackboneConfig:
        """From the section `name` of a checkpoint's config.json. Raises BundleError."""
        read = SectionReader(name, section)
        read.expect("hidden_act", "silu")
        read.expect("tie_word_embeddings", False)
        read.expect("model_type", architecture, absent=True)
        if architecture == "qwen3":
            read.expect("attention_bias", False)
        read.expect("use_sliding_window", False, absent=True)
        read.expect("rope_scaling", None, absent=True)
        read.expect("partial_rotary_factor", 1.0, absent=True)
        layers = section.get("layer_types") or []
        if not isinstance(layers, list) or any(kind != "full_attention" for kind in layers):
            raise read.error("layer_types", "full_attention only", layers)
        heads, width = read.size("num_attention_heads"), read.size("hidden_size")
        if "head_dim" not in section:
            read.divides("num_attention_heads", heads, width)
        config = cls(
            width=width,
            ffn_width=read.size("intermediate_size"),
            layers=read.size("num_hidden_layers"),
            heads=heads,
            kv_heads=read.size("num_key_value_heads"),
            vocab_size=read.size("vocab_size"),
            head_width=read.size("head_dim", width // heads),
            rms_eps=read.number("rms_norm_eps"),
            rope_theta=_rope_theta(read, section),
            architecture=architecture,
        )
        read.divides("num_key_value_heads", config.kv_heads, config.heads)
        return config


def _rope_theta(read: SectionReader, section: Section) -> float:
    """Newer config files nest the base under `rope_parameters`."""
    if section.get("rope_parameters") is None:
        return read.number("rope_theta")
    inner = read.inner("rope_parameters")
    inner.only(frozenset({"rope_theta", "rope_type"}))
    inner.expect("rope_type", "default", absent=True)
    return inner.number("rope_theta")


def gguf_names(config: BackboneConfig, prefix: str) -> Names:
    """Checkpoint name (with `prefix`) -> (GGUF name, shape), in the order of the file.

    llama.cpp rotates both kinds' heads in the half-split form, so no row is permuted.
    """
    w, ffn, vocab = config.width, config.ffn_width, config.vocab_size
    q, kv = config.heads * config.head_width, config.kv_heads * config.head_width
    table: Names = {"model.embed_tokens.weight": ("token_embd.weight", (vocab, w))}
    for i in range(config.layers):
        hf, gg = f"model.layers.{i}.", f"blk.{i}."
        table[hf + "input_layernorm.weight"] = (gg + "attn_norm.weight", (w,))
        for x, rows in (("q", q), ("k", kv), ("v", kv)):
            table[hf + f"self_attn.{x}_proj.weight"] = (gg + f"attn_{x}.weight", (rows, w))
            if not config.is_normed:
                table[hf + f"self_attn.{x}_proj.bias"] = (gg + f"attn_{x}.bias", (rows,))
            elif x != "v":
                norm = (gg + f"attn_{x}_norm.weight", (config.head_width,))
                table[hf + f"self_attn.{x}_norm.weight"] = norm
        table |= {
            hf + "self_attn.o_proj.weight": (gg + "attn_output.weight", (w, q)),
            hf + "post_attention_layernorm.weight": (gg + "ffn_norm.weight", (w,)),
            hf + "mlp.gate_proj.weight": (gg + "ffn_gate.weight", (ffn, w)),
            hf + "mlp.up_proj.weight": (gg + "ffn_up.weight", (ffn, w)),
            hf + "mlp.down_proj.weight": (gg + "ffn_down.weight", (w, ffn)),
        }
    table["model.norm.weight"] = ("output_norm.weight", (w,))
    table["lm_head.weight"] = ("output.weight", (vocab, w))
    return {prefix + name: entry for name, entry in table.items()}

"""Configs, tensor names and shapes of a checkpoint of Step-Audio 2's layout, at chosen sizes.

TINY is the one that the golden numbers belong to; FULL has the published sizes. Knows no values
and none of parley's modules.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from checkpoint_layout import Shapes, conv, linear, norm

SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|BOT|>",
    "<|EOT|>",
    "<tool_call>",
    "</tool_call>",
    "<audio_start>",
    "<audio_end>",
    "<audio_patch>",
    "<|unknown_3|>",
    "<|unknown_4|>",
    "<tts_start>",
    "<tts_end>",
    "<tts_pad>",
)


@dataclass(frozen=True)
class Spec:
    """Sizes of one checkpoint; `dtype` is that of the safetensors."""

    width: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    encoder_width: int
    encoder_layers: int
    encoder_heads: int
    codes: int
    speaker_width: int
    flow_width: int
    flow_ffn: int
    flow_heads: int
    flow_blocks: int
    flow_up_blocks: int
    field_width: int
    field_heads: int
    field_head_width: int
    field_layers: int
    vocoder_width: int
    pitch_width: int
    base_vocab: int = 512
    prompt_tokens: int = 30
    dtype: str = "float32"
    n_shards: int = 2
    n_mels: int = 128
    positions: int = 1500
    adapter_hidden: int = 2048
    rates: tuple[int, ...] = (8, 5, 3)
    kernels: tuple[int, ...] = (16, 11, 7)
    block_kernels: tuple[int, ...] = (3, 7, 11)
    source_kernels: tuple[int, ...] = (7, 7, 11)

    @property
    def specials(self) -> list[str]:
        """Special tokens, in the order of their ids from `base_vocab` on; codes are among them."""
        return [*SPECIALS, *(f"<audio_{code}>" for code in range(self.codes + 1))]


TINY = Spec(
    width=64,
    ffn=160,
    layers=2,
    heads=4,
    kv_heads=2,
    vocab=800,
    encoder_width=64,
    encoder_layers=2,
    encoder_heads=4,
    codes=243,
    speaker_width=48,
    flow_width=64,
    flow_ffn=128,
    flow_heads=4,
    flow_blocks=2,
    flow_up_blocks=2,
    field_width=64,
    field_heads=2,
    field_head_width=16,
    field_layers=2,
    vocoder_width=64,
    pitch_width=32,
)
FULL = Spec(
    width=3584,
    ffn=18944,
    layers=28,
    heads=28,
    kv_heads=4,
    vocab=158720,
    encoder_width=1280,
    encoder_layers=32,
    encoder_heads=20,
    codes=6561,
    speaker_width=192,
    flow_width=512,
    flow_ffn=2048,
    flow_heads=8,
    flow_blocks=6,
    flow_up_blocks=4,
    field_width=512,
    field_heads=8,
    field_head_width=64,
    field_layers=16,
    vocoder_width=512,
    pitch_width=512,
    base_vocab=151643,
    prompt_tokens=100,
    dtype="bfloat16",
)


def model_config(spec: Spec) -> dict[str, Any]:
    """config.json."""
    return {
        "architectures": ["StepAudio2ForCausalLM"],
        "model_type": "step_audio_2",
        "torch_dtype": spec.dtype,
        "eos_token_id": spec.base_vocab,
        "pad_token_id": spec.base_vocab,
        "audio_encoder_config": {
            "model_type": "step_audio_2_encoder",
            "n_mels": spec.n_mels,
            "n_audio_ctx": spec.positions,
            "n_audio_state": spec.encoder_width,
            "n_audio_head": spec.encoder_heads,
            "n_audio_layer": spec.encoder_layers,
            "llm_dim": spec.width,
            "kernel_size": 3,
            "adapter_stride": 2,
        },
        "text_config": {
            "model_type": "step_audio_2_text",
            "vocab_size": spec.vocab,
            "hidden_size": spec.width,
            "intermediate_size": spec.ffn,
            "num_hidden_layers": spec.layers,
            "num_attention_heads": spec.heads,
            "num_attention_groups": spec.kv_heads,
            "num_key_value_heads": spec.kv_heads,
            "hidden_act": "silu",
            "max_position_embeddings": 16384,
            "rms_norm_eps": 1 / 1000000,
            "rope_theta": 1000000.0,
            "rope_scaling": None,
        },
    }


def flow_config(spec: Spec) -> dict[str, Any]:
    """What flow.yaml says."""
    dropout = {f"{name}dropout_rate": 0.1 for name in ("", "positional_", "attention_")}
    encoder = {
        "input_size": spec.flow_width,
        "output_size": spec.flow_width,
        "input_layer": "linear",
        "pre_lookahead_len": 3,
        "num_blocks": spec.flow_blocks,
        "num_up_blocks": spec.flow_up_blocks,
        "up_stride": 2,
        "up_scale_factor": 2,
        "attention_heads": spec.flow_heads,
        "pos_enc_layer_type": "rel_pos_espnet",
        "selfattention_layer_type": "rel_selfattn",
        "key_bias": True,
        "linear_units": spec.flow_ffn,
        **dropout,
        "normalize_before": True,
    }
    estimator = {
        "in_channels": 320,
        "out_channels": 80,
        "mlp_ratio": 4.0,
        "depth": spec.field_layers,
        "num_heads": spec.field_heads,
        "head_dim": spec.field_head_width,
        "hidden_size": spec.field_width,
    }
    return {
        "input_size": spec.flow_width,
        "output_size": 80,
        "spk_embed_dim": spec.speaker_width,
        "output_type": "mel",
        "vocab_size": spec.codes,
        "encoder": encoder,
        "decoder": {"inference_cfg_rate": 0.7, "estimator": estimator},
    }


_TAGS = {
    "flow": "flow.flow.CausalMaskedDiffWithXvec",
    "encoder": "transformer.upsample_encoder_v2.UpsampleConformerEncoderV2",
    "decoder": "flow.flow_matching.CausalConditionalCFM",
    "estimator": "flow.decoder_dit.DiT",
}


def flow_yaml(section: dict[str, Any], name: str = "flow", depth: int = 0) -> str:
    """flow.yaml as published: each section names the class that it makes."""
    lines = [f"{'  ' * depth}{name}: !new:cosyvoice2.{_TAGS[name]}\n"]
    for key, value in section.items():
        if isinstance(value, dict):
            lines.append(flow_yaml(value, key, depth + 1))
        else:
            lines.append(f"{'  ' * depth}  {key}: {json.dumps(value)}\n")
    return "".join(lines)


def backbone_shapes(spec: Spec) -> Shapes:
    """Tensors under `model.`, and `lm_head`."""
    width, kv = spec.width, spec.kv_heads * spec.width // spec.heads
    shapes: Shapes = {"model.embed_tokens.weight": (spec.vocab, width)}
    for i in range(spec.layers):
        p = f"model.layers.{i}."
        for name, rows in (("q", width), ("k", kv), ("v", kv)):
            shapes |= linear(f"{p}self_attn.{name}_proj", rows, width)
        shapes |= linear(p + "self_attn.o_proj", width, width, bias=False)
        shapes |= linear(p + "mlp.gate_proj", spec.ffn, width, bias=False)
        shapes |= linear(p + "mlp.up_proj", spec.ffn, width, bias=False)
        shapes |= linear(p + "mlp.down_proj", width, spec.ffn, bias=False)
        shapes[p + "input_layernorm.weight"] = (width,)
        shapes[p + "post_attention_layernorm.weight"] = (width,)
    shapes["model.norm.weight"] = (width,)
    return shapes | {"lm_head.weight": (spec.vocab, width)}


def encoder_shapes(spec: Spec) -> Shapes:
    """Tensors under `encoder.` and `adapter.`."""
    width = spec.encoder_width
    shapes = conv("encoder.conv1", width, spec.n_mels, 3) | conv("encoder.conv2", width, width, 3)
    shapes["encoder.positional_embedding.weight"] = (spec.positions, width)
    for i in range(spec.encoder_layers):
        p = f"encoder.blocks.{i}."
        for name in ("query", "key", "value", "out"):
            shapes |= linear(f"{p}attn.{name}", width, width, bias=name != "key")
        shapes |= linear(p + "mlp.0", 4 * width, width) | linear(p + "mlp.2", width, 4 * width)
        shapes |= norm(p + "attn_ln", width) | norm(p + "mlp_ln", width)
    shapes |= norm("encoder.after_norm", width) | conv("adapter.conv", width, width, 3)
    shapes |= linear("adapter.linear1", spec.adapter_hidden, width)
    return shapes | linear("adapter.linear2", spec.width, spec.adapter_hidden)


def flow_shapes(spec: Spec) -> Shapes:
    """Tensors of flow.pt."""
    width, head = spec.flow_width, spec.flow_width // spec.flow_heads
    shapes: Shapes = {"input_embedding.weight": (spec.codes, width)}
    shapes |= linear("spk_embed_affine_layer", 80, spec.speaker_width)
    for name in ("encoder.embed.out", "encoder.up_embed.out"):
        shapes |= linear(f"{name}.0", width, width) | norm(f"{name}.1", width)
    shapes |= norm("encoder.after_norm", width)
    shapes |= conv("encoder.pre_lookahead_layer.conv1", width, width, 4)
    shapes |= conv("encoder.pre_lookahead_layer.conv2", width, width, 3)
    shapes |= conv("encoder.up_layer.conv", width, width, 5)
    blocks = [f"encoder.encoders.{i}." for i in range(spec.flow_blocks)]
    for p in [*blocks, *(f"encoder.up_encoders.{i}." for i in range(spec.flow_up_blocks))]:
        shapes |= {f"{p}self_attn.pos_bias_{x}": (spec.flow_heads, head) for x in "uv"}
        for name in ("q", "k", "v", "out", "pos"):
            shapes |= linear(f"{p}self_attn.linear_{name}", width, width, bias=name != "pos")
        shapes |= linear(p + "feed_forward.w_1", spec.flow_ffn, width)
        shapes |= linear(p + "feed_forward.w_2", width, spec.flow_ffn)
        shapes |= norm(p + "norm_ff", width) | norm(p + "norm_mha", width)
    return shapes | linear("encoder_proj", 80, width) | _field_shapes(spec)


def _field_shapes(spec: Spec) -> Shapes:
    root, width = "decoder.estimator.", spec.field_width
    inner = spec.field_heads * spec.field_head_width
    shapes = linear(root + "t_embedder.mlp.0", width, 256)
    shapes |= linear(root + "t_embedder.mlp.2", width, width)
    shapes |= linear(root + "in_proj", width, 320)
    for i in range(spec.field_layers):
        p = f"{root}blocks.{i}."
        for name in "qkv":
            shapes |= linear(f"{p}attn.to_{name}", inner, width)
        for name in "qk":
            shapes |= norm(f"{p}attn.{name}_norm", spec.field_head_width)
        shapes |= linear(p + "attn.proj", width, inner)
        shapes |= linear(p + "mlp.fc1", 4 * width, width)
        shapes |= linear(p + "mlp.fc2", width, 4 * width)
        shapes |= conv(p + "conv.block.1", width, width, 3) | norm(p + "conv.block.3", width)
        shapes |= conv(p + "conv.block.6", width, width, 3)
        shapes |= linear(p + "adaLN_modulation.1", 9 * width, width)
    shapes |= linear(root + "final_layer.adaLN_modulation.1", 2 * width, width)
    return shapes | linear(root + "final_layer.linear", 80, width)


def normed(name: str, *shape: int, out: int | None = None) -> Shapes:
    return {
        f"{name}.bias": (shape[0] if out is None else out,),
        f"{name}.parametrizations.weight.original0": (shape[0], 1, 1),
        f"{name}.parametrizations.weight.original1": shape,
    }


def residual(name: str, width: int, kernel: int) -> Shapes:
    shapes: Shapes = {}
    for group in ("convs1", "convs2"):
        for i in range(3):
            shapes |= normed(f"{name}.{group}.{i}", width, width, kernel)
    for group in ("activations1", "activations2"):
        shapes |= {f"{name}.{group}.{i}.alpha": (width,) for i in range(3)}
    return shapes


def vocoder_shapes(spec: Spec) -> Shapes:
    """Tensors of hift.pt, under `generator.`."""
    root, width = "generator.", spec.vocoder_width
    shapes = linear(root + "m_source.l_linear", 1, 9)
    shapes |= normed(root + "conv_pre", width, 80, 7)
    down = 15 * 8
    for i, (rate, kernel) in enumerate(zip(spec.rates, spec.kernels, strict=True)):
        half, down = width // 2, down // rate
        shapes |= normed(f"{root}ups.{i}", width, half, kernel, out=half)
        shapes |= conv(f"{root}source_downs.{i}", half, 18, 2 * down if down > 1 else 1)
        shapes |= residual(f"{root}source_resblocks.{i}", half, spec.source_kernels[i])
        for j, block_kernel in enumerate(spec.block_kernels):
            shapes |= residual(f"{root}resblocks.{3 * i + j}", half, block_kernel)
        width = half
    shapes |= normed(root + "conv_post", 18, width, 7)
    for i in range(5):
        in_width = spec.pitch_width if i else 80
        shapes |= normed(f"{root}f0_predictor.condnet.{2 * i}", spec.pitch_width, in_width, 3)
    return shapes | linear(root + "f0_predictor.classifier", 1, spec.pitch_width)

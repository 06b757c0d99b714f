"""Configs, tensor names and shapes of a checkpoint of Fun-Audio-Chat's layout, at chosen sizes.

TINY is the one that the golden numbers belong to; OTHER differs from it; FULL has the published
sizes. Knows no values
and none of parley's modules.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from checkpoint_layout import Shapes, conv, linear, norm
from step_audio_2_layout import normed, residual

SPECIALS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *("<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>"),
    *("<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>"),
    *("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>"),
    *("<think>", "</think>"),
    *("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>", "<|audio_pad|>", "<|sil|>"),
)
VOICES = ("中文女", "中文男")


@dataclass(frozen=True)
class Decoder:
    """Sizes of a Qwen3."""

    width: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    head: int


@dataclass(frozen=True)
class Spec:
    """Sizes of one checkpoint; `dtype` is that of the safetensors."""

    backbone: Decoder
    head: Decoder
    vocab: int
    encoder_width: int
    encoder_layers: int
    encoder_heads: int
    encoder_ffn: int
    codes: int
    lookahead_width: int
    field_width: int
    field_heads: int
    field_head_width: int
    field_layers: int
    vocoder_width: int
    pitch_width: int
    base_vocab: int
    speaker_width: int = 192
    n_controls: int = 4  # of speech: begin, end, padding and one more
    group: int = 5
    n_window: int = 100
    n_mels: int = 128
    dtype: str = "float32"
    n_shards: int = 1
    rates: tuple[int, ...] = (8, 5, 3)
    kernels: tuple[int, ...] = (16, 11, 7)
    block_kernels: tuple[int, ...] = (3, 7, 11)
    source_kernels: tuple[int, ...] = (7, 7, 11)

    @property
    def table(self) -> int:
        """Rows of the codes' table."""
        return self.codes + self.n_controls


TINY = Spec(
    backbone=Decoder(width=64, ffn=160, layers=3, heads=4, kv_heads=2, head=24),
    head=Decoder(width=48, ffn=96, layers=2, heads=4, kv_heads=2, head=16),
    vocab=320,
    encoder_width=48,
    encoder_layers=2,
    encoder_heads=4,
    encoder_ffn=96,
    codes=243,
    lookahead_width=96,
    field_width=64,
    field_heads=4,
    field_head_width=16,
    field_layers=3,
    vocoder_width=64,
    pitch_width=48,
    base_vocab=280,
)
# Differs in every size, in the type of its weights and in how many files they lie.
OTHER = Spec(
    backbone=Decoder(width=80, ffn=96, layers=2, heads=6, kv_heads=3, head=16),
    head=Decoder(width=40, ffn=64, layers=1, heads=3, kv_heads=1, head=24),
    vocab=352,
    encoder_width=32,
    encoder_layers=1,
    encoder_heads=2,
    encoder_ffn=40,
    codes=81,
    lookahead_width=48,
    field_width=48,
    field_heads=3,
    field_head_width=8,
    field_layers=2,
    vocoder_width=32,
    pitch_width=24,
    base_vocab=301,
    speaker_width=24,
    n_controls=6,
    group=10,
    dtype="bfloat16",
    n_shards=3,
)
FULL = Spec(
    backbone=Decoder(width=4096, ffn=12288, layers=36, heads=32, kv_heads=8, head=128),
    head=Decoder(width=1024, ffn=3072, layers=28, heads=16, kv_heads=8, head=128),
    vocab=151936,
    encoder_width=1280,
    encoder_layers=32,
    encoder_heads=20,
    encoder_ffn=5120,
    codes=6561,
    lookahead_width=1024,
    field_width=1024,
    field_heads=16,
    field_head_width=64,
    field_layers=22,
    vocoder_width=512,
    pitch_width=512,
    base_vocab=151643,
    dtype="bfloat16",
    n_shards=5,
)


def _qwen3(decoder: Decoder, vocab: int, theta: int, tied: bool) -> dict[str, Any]:
    return {
        "model_type": "qwen3",
        "attention_bias": False,
        "head_dim": decoder.head,
        "hidden_act": "silu",
        "hidden_size": decoder.width,
        "intermediate_size": decoder.ffn,
        "max_position_embeddings": 32768 if tied else 262144,
        "num_attention_heads": decoder.heads,
        "num_hidden_layers": decoder.layers,
        "num_key_value_heads": decoder.kv_heads,
        "rms_norm_eps": 1 / 1000000,
        "rope_scaling": None,
        "rope_theta": theta,
        "use_sliding_window": False,
        "vocab_size": vocab,
        "tie_word_embeddings": tied,
    }


def model_config(spec: Spec) -> dict[str, Any]:
    """config.json."""
    ids = {name: spec.base_vocab + i for i, name in enumerate(SPECIALS)}
    return {
        "architectures": ["FunAudioChatForConditionalGeneration"],
        "model_type": "funaudiochat",
        "torch_dtype": spec.dtype,
        "audio_token_index": ids["<|AUDIO|>"],
        "hidden_size": spec.backbone.width,
        "audio_config": {
            "model_type": "funaudiochat_audio_encoder",
            "num_mel_bins": spec.n_mels,
            "d_model": spec.encoder_width,
            "encoder_layers": spec.encoder_layers,
            "encoder_attention_heads": spec.encoder_heads,
            "encoder_ffn_dim": spec.encoder_ffn,
            "max_source_positions": 1500,
            "n_window": spec.n_window,
            "activation_function": "gelu",
            "scale_embedding": False,
            "output_dim": spec.backbone.width,
            "group_size": spec.group,
            "codebook_size": spec.table,
            "bos_token_id": spec.codes,
            "eos_token_id": spec.codes + 1,
            "pad_token_id": spec.codes + 2,
            "continuous_features_mode": "replace",
            "enable_audio_invert_tower": True,
            "crq_transformer_config": _qwen3(spec.head, spec.vocab, 1000000, tied=True),
        },
        "text_config": {
            **_qwen3(spec.backbone, spec.vocab, 5000000, tied=False),
            "audio_bos_index": ids["<|audio_bos|>"],
            "audio_eos_index": ids["<|audio_eos|>"],
            "sil_index": ids["<|sil|>"],
        },
    }


PREPROCESSOR = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "chunk_length": 30,
    "feature_size": 128,
    "hop_length": 160,
    "n_fft": 400,
    "sampling_rate": 16000,
}


def decoder_config(spec: Spec) -> dict[str, Any]:
    """What cosyvoice3.yaml says."""
    estimator = {
        "dim": spec.field_width,
        "depth": spec.field_layers,
        "heads": spec.field_heads,
        "dim_head": spec.field_head_width,
        "ff_mult": 2,
        "mel_dim": 80,
        "mu_dim": 80,
        "spk_dim": 80,
        "out_channels": 80,
        "static_chunk_size": 50,
        "num_decoding_left_chunks": -1,
    }
    solver = {"solver": "euler", "t_scheduler": "cosine", "inference_cfg_rate": 0.7}
    ahead = {"in_channels": 80, "channels": spec.lookahead_width, "pre_lookahead_len": 3}
    flow = {
        "input_size": 80,
        "output_size": 80,
        "spk_embed_dim": spec.speaker_width,
        "output_type": "mel",
        "vocab_size": spec.codes,
        "token_mel_ratio": 2,
        "pre_lookahead_len": 3,
        "pre_lookahead_layer": ahead,
        "decoder": {"cfm_params": {"content": solver}, "estimator": estimator},
    }
    dilations = [[1, 3, 5]] * 3
    vocoder = {
        "in_channels": 80,
        "base_channels": spec.vocoder_width,
        "nb_harmonics": 8,
        "sampling_rate": 24000,
        "nsf_alpha": 0.1,
        "nsf_sigma": 0.003,
        "nsf_voiced_threshold": 10,
        "upsample_rates": list(spec.rates),
        "upsample_kernel_sizes": list(spec.kernels),
        "istft_params": {"n_fft": 16, "hop_len": 4},
        "resblock_kernel_sizes": list(spec.block_kernels),
        "resblock_dilation_sizes": dilations,
        "source_resblock_kernel_sizes": list(spec.source_kernels),
        "source_resblock_dilation_sizes": dilations,
        "lrelu_slope": 0.1,
        "audio_limit": 0.99,
        "conv_pre_look_right": 4,
        "f0_predictor": {"cond_channels": spec.pitch_width},
    }
    return {"sample_rate": 24000, "flow": flow, "hift": vocoder}


_TAGS = {
    "flow": "!new:cosyvoice.flow.flow.CausalMaskedDiffWithDiT",
    "estimator": "!new:cosyvoice.flow.DiT.dit.DiT",
    "cfm_params": "!new:omegaconf.DictConfig",
    "hift": "!new:cosyvoice.hifigan.generator.CausalHiFTGenerator",
}


def decoder_yaml(section: dict[str, Any], depth: int = 0) -> str:
    """cosyvoice3.yaml as published: sections name classes, and one number is told by its name."""
    lines = [] if depth else ["__set_seed1: !apply:random.seed [1986]\n"]
    for key, value in section.items():
        indent = "    " * depth
        if isinstance(value, dict):
            lines.append(f"{indent}{key}: {_TAGS.get(key, '')}\n{decoder_yaml(value, depth + 1)}")
        elif key == "sampling_rate":
            lines.append(f"{indent}{key}: !ref <sample_rate>\n")
        else:
            lines.append(f"{indent}{key}: {json.dumps(value)}\n")
    return "".join(lines)


def _decoder_shapes(root: str, decoder: Decoder) -> Shapes:
    q, kv, shapes = decoder.heads * decoder.head, decoder.kv_heads * decoder.head, Shapes()
    for i in range(decoder.layers):
        p = f"{root}layers.{i}."
        for name, rows in (("q", q), ("k", kv), ("v", kv)):
            shapes |= linear(f"{p}self_attn.{name}_proj", rows, decoder.width, bias=False)
        shapes |= linear(p + "self_attn.o_proj", decoder.width, q, bias=False)
        shapes |= {f"{p}self_attn.{name}_norm.weight": (decoder.head,) for name in "qk"}
        shapes |= linear(p + "mlp.gate_proj", decoder.ffn, decoder.width, bias=False)
        shapes |= linear(p + "mlp.up_proj", decoder.ffn, decoder.width, bias=False)
        shapes |= linear(p + "mlp.down_proj", decoder.width, decoder.ffn, bias=False)
        shapes[p + "input_layernorm.weight"] = (decoder.width,)
        shapes[p + "post_attention_layernorm.weight"] = (decoder.width,)
    return shapes | {f"{root}norm.weight": (decoder.width,)}


def backbone_shapes(spec: Spec) -> Shapes:
    """Tensors under `language_model.`."""
    table = (spec.vocab, spec.backbone.width)
    shapes: Shapes = {"language_model.model.embed_tokens.weight": table}
    shapes |= _decoder_shapes("language_model.model.", spec.backbone)
    return shapes | {"language_model.lm_head.weight": table}


def encoder_shapes(spec: Spec) -> Shapes:
    """Tensors under `continuous_audio_tower.`."""
    root, width = "continuous_audio_tower.", spec.encoder_width
    shapes = conv(root + "conv1", width, spec.n_mels, 3) | conv(root + "conv2", width, width, 3)
    for i in range(spec.encoder_layers):
        p = f"{root}layers.{i}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{p}self_attn.{name}", width, width, bias=name != "k_proj")
        shapes |= norm(p + "self_attn_layer_norm", width) | norm(p + "final_layer_norm", width)
        shapes |= linear(p + "fc1", spec.encoder_ffn, width)
        shapes |= linear(p + "fc2", width, spec.encoder_ffn)
    shapes |= norm(root + "ln_post", width) | linear(root + "proj", spec.backbone.width, width)
    return shapes | {root + "audio_bos_eos_token.weight": (2, spec.backbone.width)}


def speech_shapes(spec: Spec) -> Shapes:
    """Tensors under `audio_tower.` and `audio_invert_tower.`."""
    width, inner = spec.backbone.width, spec.head.width
    shapes: Shapes = {"audio_tower.embed_tokens.weight": (spec.table, width)}
    for name in ("output_matching", "continual_output_matching"):
        shapes |= linear(f"audio_tower.{name}", width, width, bias=False)
    root = "audio_invert_tower."
    shapes |= linear(root + "pre_matching", spec.group * width, width)
    shapes |= linear(root + "input_matching", inner, width, bias=False)
    shapes |= linear(root + "output_matching", width, inner, bias=False)
    return shapes | _decoder_shapes(root + "crq_transformer.", spec.head)


def flow_shapes(spec: Spec) -> Shapes:
    """Tensors of flow.pt."""
    width, inner = spec.field_width, spec.field_heads * spec.field_head_width
    shapes: Shapes = {"input_embedding.weight": (spec.codes, 80)}
    shapes |= linear("spk_embed_affine_layer", 80, spec.speaker_width)
    shapes |= conv("pre_lookahead_layer.conv1", spec.lookahead_width, 80, 4)
    shapes |= conv("pre_lookahead_layer.conv2", 80, spec.lookahead_width, 3)
    root = "decoder.estimator."
    shapes |= linear(root + "time_embed.time_mlp.0", width, 256)
    shapes |= linear(root + "time_embed.time_mlp.2", width, width)
    shapes |= linear(root + "input_embed.proj", width, 320)
    for i in (1, 2):
        shapes |= conv(f"{root}input_embed.conv_pos_embed.conv{i}.0", width, width // 16, 31)
    shapes[root + "rotary_embed.inv_freq"] = (spec.field_head_width // 2,)
    for i in range(spec.field_layers):
        p = f"{root}transformer_blocks.{i}."
        shapes |= linear(p + "attn_norm.linear", 6 * width, width)
        for name in ("to_q", "to_k", "to_v"):
            shapes |= linear(f"{p}attn.{name}", inner, width)
        shapes |= linear(p + "attn.to_out.0", width, inner)
        shapes |= linear(p + "ff.ff.0.0", 2 * width, width) | linear(
            p + "ff.ff.2", width, 2 * width
        )
    shapes |= linear(root + "norm_out.linear", 2 * width, width)
    return shapes | linear(root + "proj_out", 80, width)


def vocoder_shapes(spec: Spec) -> Shapes:
    """Tensors of hift.pt."""
    width = spec.vocoder_width
    shapes = linear("m_source.l_linear", 1, 9) | normed("conv_pre", width, 80, 5)
    down = 15 * 8
    for i, (rate, kernel) in enumerate(zip(spec.rates, spec.kernels, strict=True)):
        half, down = width // 2, down // rate
        shapes |= normed(f"ups.{i}", half, width, kernel)
        shapes |= conv(f"source_downs.{i}", half, 18, 2 * down if down > 1 else 1)
        shapes |= residual(f"source_resblocks.{i}", half, spec.source_kernels[i])
        for j, block_kernel in enumerate(spec.block_kernels):
            shapes |= residual(f"resblocks.{3 * i + j}", half, block_kernel)
        width = half
    shapes |= normed("conv_post", 18, width, 7)
    for i in range(5):
        in_width, taps = (spec.pitch_width, 3) if i else (80, 4)
        shapes |= normed(f"f0_predictor.condnet.{2 * i}", spec.pitch_width, in_width, taps)
    return shapes | linear("f0_predictor.classifier", 1, spec.pitch_width)

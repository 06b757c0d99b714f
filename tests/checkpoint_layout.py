"""Configs, tensor names and shapes of a checkpoint of Covo-Audio's layout, at chosen sizes.

TINY is the one that the golden numbers belong to; OTHER differs from it in every size, in the
type of its weights and in its control tokens. Knows no values
and none of parley's modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Shapes = dict[str, tuple[int, ...]]

_SPECIAL_NAMES = """
endoftext im_start im_end object_ref_start object_ref_end box_start box_end quad_start quad_end
vision_start vision_end vision_pad image_pad video_pad tool_call /tool_call fim_prefix fim_middle
fim_suffix fim_pad repo_name file_sep begofcAUDIO cAUDIO endofcAUDIO
"""


@dataclass(frozen=True)
class Spec:
    """Sizes of one checkpoint; `dtype` is that of the safetensors."""

    width: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    encoder_width: int
    encoder_layers: int
    encoder_heads: int
    encoder_ffn: int
    code_width: int
    z: int
    speaker_width: int
    flow_layers: int
    flow_width: int
    flow_ffn: int
    flow_heads: int
    vocoder_width: int
    codes: int
    base_vocab: int
    prompt_tokens: int
    prompt_frames: int
    controls: tuple[str, ...] = ("<|THINK|>", "<|SHIFT|>", "<|BREAK|>")
    n_mels: int = 128
    positions: int = 1500
    adapter_hidden: int = 2048
    dtype: str = "float32"
    n_shards: int = 1
    rates: tuple[int, ...] = (5, 3, 2, 2, 2, 2)
    kernels: tuple[int, ...] = (3, 7, 11)
    dilations: tuple[int, ...] = (1, 3, 5)

    @property
    def specials(self) -> list[str]:
        """Special tokens, in the order of their ids from `base_vocab` on."""
        marked = [
            f"<{name}>" if name.endswith("tool_call") else f"<|{name}|>"
            for name in _SPECIAL_NAMES.split()
        ]
        return [*marked, *self.controls]

    @property
    def audio_begin(self) -> int:
        """Id of audio code 0."""
        return self.base_vocab + len(self.specials)


TINY = Spec(
    width=64,
    ffn=160,
    layers=2,
    heads=4,
    kv_heads=2,
    encoder_width=64,
    encoder_layers=2,
    encoder_heads=4,
    encoder_ffn=128,
    code_width=32,
    z=64,
    speaker_width=48,
    flow_layers=2,
    flow_width=64,
    flow_ffn=128,
    flow_heads=4,
    vocoder_width=128,
    codes=256,
    base_vocab=512,
    prompt_tokens=20,
    prompt_frames=83,
)
OTHER = Spec(
    width=96,
    ffn=224,
    layers=3,
    heads=6,
    kv_heads=3,
    encoder_width=48,
    encoder_layers=3,
    encoder_heads=3,
    encoder_ffn=80,
    code_width=24,
    z=40,
    speaker_width=20,
    flow_layers=3,
    flow_width=96,
    flow_ffn=160,
    flow_heads=3,
    vocoder_width=64,
    codes=300,
    base_vocab=400,
    prompt_tokens=7,
    prompt_frames=31,
    controls=("<|extra_0|>", "<|extra_1|>", "<|extra_2|>"),
    dtype="bfloat16",
    n_shards=3,
)


def model_config(spec: Spec) -> dict[str, Any]:
    """config.json."""
    return {
        "architectures": ["CovoAudioForCausalLM"],
        "model_type": "covo_audio",
        "audio_token_index": spec.audio_begin,
        "adapter_downsample": 8,
        "whisper_feats_dim": spec.encoder_width,
        **({} if spec.adapter_hidden == 2048 else {"adapter_hidden": spec.adapter_hidden}),
        "dtype": spec.dtype,
        "llm_config": {
            "hidden_size": spec.width,
            "intermediate_size": spec.ffn,
            "num_hidden_layers": spec.layers,
            "num_attention_heads": spec.heads,
            "num_key_value_heads": spec.kv_heads,
            "vocab_size": spec.audio_begin + spec.codes,
            "rms_norm_eps": 1 / 1000000,
            "max_position_embeddings": 131072,
            "hidden_act": "silu",
            "model_type": "qwen2",
            "tie_word_embeddings": False,
            "rope_theta": 1000000.0,
        },
        "encoder_config": {
            "d_model": spec.encoder_width,
            "encoder_layers": spec.encoder_layers,
            "encoder_attention_heads": spec.encoder_heads,
            "encoder_ffn_dim": spec.encoder_ffn,
            "num_mel_bins": spec.n_mels,
            "max_source_positions": spec.positions,
            "activation_function": "gelu",
            "model_type": "whisper",
            "scale_embedding": False,
        },
    }


def decoder_config(spec: Spec) -> dict[str, Any]:
    """token2wav/config.json."""
    token2latent = {
        "upsample_factor": 4,
        "token_vocab_size": spec.codes,
        "token_input_dim": spec.code_width,
        "z_dim": spec.z,
        "spkr_embed_dim": spec.speaker_width,
        "transformer": {
            "num_layers": spec.flow_layers,
            "hidden_size": spec.flow_width,
            "ffn_hidden_size": spec.flow_ffn,
            "num_heads": spec.flow_heads,
            "modulation": True,
            "alibi_bias": False,
            "rotary_bias": True,
            "qk_norm": False,
            "max_position_embeddings": 4096,
        },
    }
    wavegan = {
        "upsample_rates": list(spec.rates),
        "upsample_kernel_sizes": [2 * rate for rate in spec.rates],
        "upsample_initial_channel": spec.vocoder_width,
        "resblock": "1",
        "resblock_kernel_sizes": list(spec.kernels),
        "resblock_dilation_sizes": [list(spec.dilations) for _ in spec.kernels],
        "activation": "snakebeta",
        "snake_logscale": True,
        "latent_dim": spec.z,
        "causal": True,
    }
    return {
        "data": {"audio": {"sample_rate": 24000, "hop_size": 480}},
        "model": {"token2latent": token2latent, "wav_input_sr": 24000, "wavegan": wavegan},
        "inference": {
            "s_steps": 10,
            "cfg_alpha": 1.0,
            "dynamic_thr": False,
            "rescale_logits": False,
        },
    }


def linear(name: str, out: int, in_: int, bias: bool = True) -> Shapes:
    weight = {f"{name}.weight": (out, in_)}
    return weight | {f"{name}.bias": (out,)} if bias else weight


def conv(name: str, *shape: int, out: int | None = None) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": (shape[0] if out is None else out,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _normed_conv(name: str, *shape: int, out: int | None = None) -> Shapes:
    return {
        f"{name}.bias": (shape[0] if out is None else out,),
        f"{name}.weight_g": (shape[0], 1, 1),
        f"{name}.weight_v": shape,
    }


def backbone_shapes(spec: Spec) -> Shapes:
    """Tensors under `llm.`."""
    vocab, width, head = spec.audio_begin + spec.codes, spec.width, spec.width // spec.heads
    kv = spec.kv_heads * head
    shapes: Shapes = {"llm.model.embed_tokens.weight": (vocab, width)}
    for i in range(spec.layers):
        p = f"llm.model.layers.{i}."
        shapes |= linear(p + "self_attn.q_proj", width, width)
        shapes |= linear(p + "self_attn.k_proj", kv, width)
        shapes |= linear(p + "self_attn.v_proj", kv, width)
        shapes |= linear(p + "self_attn.o_proj", width, width, bias=False)
        shapes |= linear(p + "mlp.gate_proj", spec.ffn, width, bias=False)
        shapes |= linear(p + "mlp.up_proj", spec.ffn, width, bias=False)
        shapes |= linear(p + "mlp.down_proj", width, spec.ffn, bias=False)
        shapes[p + "input_layernorm.weight"] = (width,)
        shapes[p + "post_attention_layernorm.weight"] = (width,)
    return shapes | {"llm.model.norm.weight": (width,), "llm.lm_head.weight": (vocab, width)}


def encoder_shapes(spec: Spec) -> Shapes:
    """Tensors under `encoder.` and `audio_adapter.`."""
    width = spec.encoder_width
    shapes = conv("encoder.conv1", width, spec.n_mels, 3)
    shapes |= conv("encoder.conv2", width, width, 3)
    shapes["encoder.embed_positions.weight"] = (spec.positions, width)
    for i in range(spec.encoder_layers):
        p = f"encoder.layers.{i}."
        shapes |= linear(p + "self_attn.k_proj", width, width, bias=False)
        for leaf in ("v_proj", "q_proj", "out_proj"):
            shapes |= linear(p + "self_attn." + leaf, width, width)
        shapes |= norm(p + "self_attn_layer_norm", width)
        shapes |= linear(p + "fc1", spec.encoder_ffn, width)
        shapes |= linear(p + "fc2", width, spec.encoder_ffn)
        shapes |= norm(p + "final_layer_norm", width)
    shapes |= norm("encoder.layer_norm", width)
    for i, out in enumerate((width, width, spec.width)):
        p = f"audio_adapter.downsample_layers.{i}."
        shapes |= conv(p + "conv1d", width, width, 3)
        shapes |= linear(p + "linear1", spec.adapter_hidden, width)
        shapes |= linear(p + "linear2", out, spec.adapter_hidden)
    return shapes


def flow_shapes(spec: Spec) -> Shapes:
    """Tensors under `token2latent.`."""
    width, top = spec.flow_width, "token2latent."
    shapes = linear(top + "cond_proj", width, width + spec.speaker_width)
    shapes |= linear(top + "token_proj.0", width, spec.code_width)
    shapes |= conv(top + "token_proj.1", width, width, 8)
    shapes |= linear(top + "transformer_input_proj", width, width + 2 * spec.z)
    shapes |= linear(top + "time_embedder.mlp.0", width, 256)
    shapes |= linear(top + "time_embedder.mlp.2", width, width)
    shapes |= conv(top + "conv_embed.conv", width, width // 16, 31)
    for i in range(spec.flow_layers):
        p = f"{top}blocks.{i}."
        for leaf in ("q_proj", "k_proj", "v_proj"):
            shapes |= linear(p + "attn." + leaf, width, width, bias=False)
        shapes |= linear(p + "attn.o_proj", width, width)
        shapes |= linear(p + "ffn.fc1", spec.flow_ffn, width)
        shapes |= linear(p + "ffn.fc2", width, spec.flow_ffn)
        shapes |= linear(p + "modulation_layer.1", 6 * width, width)
    shapes |= linear(top + "output_layer.adaLN_modulation.1", 2 * width, width)
    shapes |= linear(top + "output_layer.linear", spec.z, width)
    return shapes | {top + "token_embedding.weight": (spec.codes, spec.code_width)}


def vocoder_shapes(spec: Spec) -> Shapes:
    """Tensors under `wavegan.`."""
    width = spec.vocoder_width
    shapes = _normed_conv("wavegan.conv_pre", width, spec.z, 7)
    for stage, rate in enumerate(spec.rates):
        up = f"wavegan.ups.{stage}.0"
        shapes |= _normed_conv(up, width, width // 2, 2 * rate, out=width // 2)
        width //= 2
        for k, kernel in enumerate(spec.kernels):
            p = f"wavegan.resblocks.{stage * len(spec.kernels) + k}."
            for i in range(len(spec.dilations)):
                shapes |= _normed_conv(f"{p}convs1.{i}", width, width, kernel)
                shapes |= _normed_conv(f"{p}convs2.{i}", width, width, kernel)
            for i in range(2 * len(spec.dilations)):
                shapes |= _snake(f"{p}activations.{i}", width)
    shapes |= _snake("wavegan.activation_post", width)
    return shapes | _normed_conv("wavegan.conv_post", 1, width, 7)


def _snake(name: str, width: int) -> Shapes:
    return {f"{name}.act.alpha": (width,), f"{name}.act.beta": (width,)}

"""Sizes of the models, read strictly from a checkpoint's configs; knows no tensor."""

from __future__ import annotations

from dataclasses import dataclass

from parley_export.config_section import Section, SectionReader


@dataclass(frozen=True)
class EncoderConfig:
    """Audio encoder. Positions are rows behind its convolutions.

    `hidden_rows`: how many of a piece's last rows no row attends to. The published code counts two
    log-mel frames fewer than there are and so hides one; the published server hides none.
    """

    width: int
    layers: int
    heads: int
    n_mels: int
    positions: int
    hidden_rows: int = 1

    @classmethod
    def from_dict(cls, section: Section) -> EncoderConfig:
        """From `audio_encoder_config` of a checkpoint's config.json. Raises BundleError."""
        read = SectionReader("audio_encoder_config", section)
        read.expect("model_type", "step_audio_2_encoder", absent=True)
        config = cls(
            width=read.size("n_audio_state"),
            layers=read.size("n_audio_layer"),
            heads=read.size("n_audio_head"),
            n_mels=read.size("n_mels"),
            positions=read.size("n_audio_ctx"),
        )
        read.divides("n_audio_head", config.heads, config.width)
        return config


@dataclass(frozen=True)
class AdapterConfig:
    """From the encoder's width to the backbone's."""

    width: int
    out_width: int
    hidden: int = 2048

    @classmethod
    def from_dict(cls, section: Section) -> AdapterConfig:
        """From `audio_encoder_config` of a checkpoint's config.json. Raises BundleError."""
        read = SectionReader("audio_encoder_config", section)
        read.expect("kernel_size", 3)
        read.expect("adapter_stride", 2)
        return cls(width=read.size("n_audio_state"), out_width=read.size("llm_dim"))


@dataclass(frozen=True)
class CodeEncoderConfig:
    """The flow decoder's encoder; `blocks` at the codes' rate, `up_blocks` at twice that."""

    width: int
    heads: int
    ffn_width: int
    blocks: int
    up_blocks: int

    @classmethod
    def from_dict(cls, section: Section) -> CodeEncoderConfig:
        """From `encoder` of a flow.yaml. Raises BundleError."""
        read = SectionReader("flow.encoder", section)
        for key, value in _ENCODER_FIXED.items():
            read.expect(key, value)
        width = read.size("output_size")
        read.expect("input_size", width)
        config = cls(
            width=width,
            heads=read.size("attention_heads"),
            ffn_width=read.size("linear_units"),
            blocks=read.size("num_blocks"),
            up_blocks=read.size("num_up_blocks"),
        )
        read.divides("attention_heads", config.heads, config.width)
        return config


@dataclass(frozen=True)
class FieldConfig:
    """The velocity field of the flow decoder."""

    hidden: int
    heads: int
    head_width: int
    ffn_width: int
    layers: int
    n_mels: int = 80
    time_width: int = 256

    @classmethod
    def from_dict(cls, section: Section) -> FieldConfig:
        """From `estimator` of a flow.yaml. Raises BundleError."""
        read = SectionReader("flow.decoder.estimator", section)
        n_mels, hidden = read.size("out_channels"), read.size("hidden_size")
        ratio = read.number("mlp_ratio")
        if ratio <= 0:
            raise read.error("mlp_ratio", "a number above 0", ratio)
        read.expect("in_channels", 4 * n_mels)
        return cls(
            hidden=hidden,
            heads=read.size("num_heads"),
            head_width=read.size("head_dim"),
            ffn_width=int(hidden * ratio),
            layers=read.size("depth"),
            n_mels=n_mels,
        )


@dataclass(frozen=True)
class FlowConfig:
    """Flow decoder: codes to log-mel frames, two a code, in `steps` steps."""

    codes: int
    speaker_width: int
    encoder: CodeEncoderConfig
    field: FieldConfig
    guidance: float = 0.7
    steps: int = 10

    @classmethod
    def from_dict(cls, section: Section) -> FlowConfig:
        """From `flow` of a flow.yaml. Raises BundleError."""
        read = SectionReader("flow", section)
        read.expect("output_type", "mel")
        decoder = read.inner("decoder")
        config = cls(
            codes=read.size("vocab_size"),
            speaker_width=read.size("spk_embed_dim"),
            encoder=CodeEncoderConfig.from_dict(read.section("encoder")),
            field=FieldConfig.from_dict(decoder.section("estimator")),
            guidance=decoder.number("inference_cfg_rate"),
        )
        read.expect("input_size", config.encoder.width)
        read.expect("output_size", config.field.n_mels)
        return config


_ENCODER_FIXED = {
    "input_layer": "linear",
    "pre_lookahead_len": 3,
    "up_stride": 2,
    "up_scale_factor": 2,
    "pos_enc_layer_type": "rel_pos_espnet",
    "selfattention_layer_type": "rel_selfattn",
    "key_bias": True,
    "normalize_before": True,
}

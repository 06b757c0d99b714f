"""Sizes of the models, read strictly from a checkpoint's configs; knows no tensor."""

from __future__ import annotations

from dataclasses import dataclass

from parley_export.config_section import Section, SectionReader
from parley_export.harmonic_vocoder import VocoderConfig
from parley_export.qwen import BackboneConfig


@dataclass(frozen=True)
class EncoderConfig:
    """Audio encoder. Its blocks see nothing of each other; `block_frames` counts log-mel frames."""

    width: int
    layers: int
    heads: int
    ffn_width: int
    n_mels: int
    block_frames: int
    out_width: int
    group: int

    @property
    def block_rows(self) -> int:
        """Rows of a whole block behind the convolutions."""
        return self.block_frames // 2

    @classmethod
    def from_dict(cls, section: Section) -> EncoderConfig:
        """From `audio_config` of a checkpoint's config.json. Raises BundleError."""
        read = SectionReader("audio_config", section)
        read.expect("activation_function", "gelu")
        read.expect("scale_embedding", False, absent=True)
        read.expect("continuous_features_mode", "replace")
        config = cls(
            width=read.size("d_model"),
            layers=read.size("encoder_layers"),
            heads=read.size("encoder_attention_heads"),
            ffn_width=read.size("encoder_ffn_dim"),
            n_mels=read.size("num_mel_bins"),
            block_frames=2 * read.size("n_window"),
            out_width=read.size("output_dim"),
            group=read.size("group_size"),
        )
        read.divides("encoder_attention_heads", config.heads, config.width)
        # A whole block gives whole features, so blocks can be encoded as they come.
        read.divides("2 * group_size", 2 * config.group, config.block_rows)
        return config


@dataclass(frozen=True)
class HeadConfig:
    """Speech head: a decoder of its own that makes `group` codes of each backbone position.

    `table` ids: codes, then control ids, of which `start` fills the time before the first sound
    and stands before the first code, and `end` ends speech.
    """

    group: int
    table: int
    start: int
    end: int
    backbone_width: int
    layers: BackboneConfig
    max_positions: int

    @classmethod
    def from_dict(cls, section: Section) -> HeadConfig:
        """From `audio_config` of a checkpoint's config.json. Raises BundleError."""
        read = SectionReader("audio_config", section)
        read.expect("enable_audio_invert_tower", True)
        table, name = read.size("codebook_size"), "crq_transformer_config"
        # It has a table of its own, tied to the head, in place of the one that its config tells of.
        inner = {**read.section(name), "vocab_size": table, "tie_word_embeddings": False}
        config = cls(
            group=read.size("group_size"),
            table=table,
            start=read.size("bos_token_id"),
            end=read.size("eos_token_id"),
            backbone_width=read.size("output_dim"),
            layers=BackboneConfig.from_dict(inner, f"audio_config.{name}", "qwen3"),
            max_positions=read.inner(name).size("max_position_embeddings"),
        )
        for key, value in (("bos_token_id", config.start), ("eos_token_id", config.end)):
            if value >= table:
                raise read.error(key, f"below codebook_size, {table}", value)
        return config


@dataclass(frozen=True)
class FieldConfig:
    """The velocity field of the flow decoder; `block_frames` see one another in streams."""

    hidden: int
    heads: int
    head_width: int
    ffn_width: int
    layers: int
    block_frames: int
    n_mels: int = 80
    time_width: int = 256
    conv_kernel: int = 31
    conv_groups: int = 16
    rope_theta: float = 10000.0

    @classmethod
    def from_reader(cls, read: SectionReader) -> FieldConfig:
        """From `estimator` of a cosyvoice3.yaml. Raises BundleError."""
        hidden, n_mels = read.size("dim"), read.size("mel_dim")
        for key in ("mu_dim", "spk_dim", "out_channels"):
            read.expect(key, n_mels)
        read.expect("num_decoding_left_chunks", -1, absent=True)
        config = cls(
            hidden=hidden,
            heads=read.size("heads"),
            head_width=read.size("dim_head"),
            ffn_width=hidden * read.size("ff_mult"),
            layers=read.size("depth"),
            block_frames=read.size("static_chunk_size"),
            n_mels=n_mels,
        )
        read.divides("dim", config.conv_groups, hidden)
        return config


@dataclass(frozen=True)
class FlowConfig:
    """Flow decoder: codes to log-mel frames, two a code, in `steps` steps."""

    codes: int
    speaker_width: int
    lookahead_width: int
    field: FieldConfig
    guidance: float = 0.7
    steps: int = 10

    @classmethod
    def from_dict(cls, section: Section) -> FlowConfig:
        """From `flow` of a cosyvoice3.yaml. Raises BundleError."""
        read = SectionReader("flow", section)
        read.expect("output_type", "mel")
        read.expect("token_mel_ratio", 2)
        read.expect("pre_lookahead_len", 3)
        ahead, decoder = read.inner("pre_lookahead_layer"), read.inner("decoder")
        solver = decoder.inner("cfm_params").inner("content")
        solver.expect("solver", "euler")
        solver.expect("t_scheduler", "cosine")
        config = cls(
            codes=read.size("vocab_size"),
            speaker_width=read.size("spk_embed_dim"),
            lookahead_width=ahead.size("channels"),
            field=FieldConfig.from_reader(decoder.inner("estimator")),
            guidance=solver.number("inference_cfg_rate"),
        )
        for reader, key in ((read, "input_size"), (read, "output_size"), (ahead, "in_channels")):
            reader.expect(key, config.field.n_mels)
        ahead.expect("pre_lookahead_len", 3)
        return config


def vocoder_config(section: Section) -> VocoderConfig:
    """From `hift` of a cosyvoice3.yaml. Raises BundleError."""
    read = SectionReader("hift", section)
    for key, value in (("nsf_alpha", 0.1), ("nsf_sigma", 0.003), ("nsf_voiced_threshold", 10)):
        read.expect(key, value)
    read.expect("lrelu_slope", 0.1)
    read.expect("audio_limit", 0.99)
    blocks = read.rows("resblock_dilation_sizes") + read.rows("source_resblock_dilation_sizes")
    if any(row != blocks[0] for row in blocks):
        raise read.error("resblock_dilation_sizes", "the same for every block", blocks)
    spectrum, pitch = read.inner("istft_params"), read.inner("f0_predictor")
    return VocoderConfig(
        causal=True,
        width=read.size("base_channels"),
        pitch_width=pitch.size("cond_channels"),
        n_mels=read.size("in_channels"),
        rates=read.sizes("upsample_rates"),
        kernels=read.sizes("upsample_kernel_sizes"),
        n_fft=spectrum.size("n_fft"),
        hop=spectrum.size("hop_len"),
        block_kernels=read.sizes("resblock_kernel_sizes"),
        source_kernels=read.sizes("source_resblock_kernel_sizes"),
        dilations=blocks[0],
        harmonics=read.size("nb_harmonics") + 1,
        sample_rate=read.size("sampling_rate"),
        looks_ahead=read.size("conv_pre_look_right"),
        pitch_looks_ahead=3,
    )

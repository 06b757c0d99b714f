"""Sizes of the four models beside the backbone, read strictly from config; knows no tensor."""

from __future__ import annotations

from dataclasses import dataclass

from parley_export.config_section import Section, SectionReader

REACH = 5  # samples that the vocoder's activation sees before and after its own


@dataclass(frozen=True)
class EncoderConfig:
    """Audio encoder. Widths in channels, positions and contexts in encoder frames."""

    width: int
    layers: int
    heads: int
    ffn_width: int
    n_mels: int
    positions: int
    chunk_frames: int = 8
    left_context_frames: int = 64

    @classmethod
    def from_dict(cls, section: Section) -> EncoderConfig:
        """From `encoder_config` of a checkpoint's config.json. Raises BundleError."""
        read = SectionReader("encoder_config", section)
        read.expect("activation_function", "gelu")
        read.expect("scale_embedding", False, absent=True)
        read.expect("model_type", "whisper", absent=True)
        config = cls(
            width=read.size("d_model"),
            layers=read.size("encoder_layers"),
            heads=read.size("encoder_attention_heads"),
            ffn_width=read.size("encoder_ffn_dim"),
            n_mels=read.size("num_mel_bins"),
            positions=read.size("max_source_positions"),
            chunk_frames=read.size("chunk_frames", 8),
            left_context_frames=read.size("left_context_frames", 64),
        )
        read.divides("encoder_attention_heads", config.heads, config.width)
        read.divides("chunk_frames", config.chunk_frames, config.left_context_frames)
        return config


@dataclass(frozen=True)
class AdapterConfig:
    """Three halving stages from the encoder's width to the backbone's."""

    width: int
    out_width: int
    stages: int = 3
    hidden: int = 2048

    @classmethod
    def from_dict(cls, section: Section) -> AdapterConfig:
        """From a checkpoint's whole config.json. Raises BundleError."""
        read = SectionReader("config", section)
        downsample = read.size("adapter_downsample")
        if downsample & (downsample - 1) or downsample < 2:
            raise read.error("adapter_downsample", "a power of two", downsample)
        width = SectionReader("encoder_config", read.section("encoder_config")).size("d_model")
        read.expect("whisper_feats_dim", width, absent=True)
        out = SectionReader("llm_config", read.section("llm_config")).size("hidden_size")
        return cls(
            width=width,
            out_width=out,
            stages=downsample.bit_length() - 1,
            hidden=read.size("adapter_hidden", 2048),
        )


@dataclass(frozen=True)
class FlowConfig:
    """Flow decoder: audio codes to latents. `points` time points, linear from 0 to 1."""

    layers: int
    hidden: int
    ffn_width: int
    heads: int
    codes: int
    code_width: int
    z: int
    speaker_width: int
    frames_per_code: int
    points: int = 10
    guidance: float = 1.0
    rope_theta: float = 50000.0
    time_width: int = 256
    conv_kernel: int = 31
    conv_groups: int = 16

    @classmethod
    def from_dict(cls, section: Section) -> FlowConfig:
        """From a token2wav config.json. Raises BundleError."""
        top = SectionReader("token2wav", section)
        read = SectionReader("token2latent", top.inner("model").section("token2latent"))
        read.only(_TOKEN2LATENT_KEYS)
        inner = read.inner("transformer")
        inner.only(_TRANSFORMER_KEYS)
        for key, value in _TRANSFORMER_FIXED.items():
            inner.expect(key, value)
        inference = top.inner("inference")
        inference.expect("dynamic_thr", False, absent=True)
        inference.expect("rescale_logits", False, absent=True)
        config = cls(
            layers=inner.size("num_layers"),
            hidden=inner.size("hidden_size"),
            ffn_width=inner.size("ffn_hidden_size"),
            heads=inner.size("num_heads"),
            codes=read.size("token_vocab_size"),
            code_width=read.size("token_input_dim"),
            z=read.size("z_dim"),
            speaker_width=read.size("spkr_embed_dim"),
            frames_per_code=read.size("upsample_factor"),
            points=inference.size("s_steps"),
            guidance=inference.number("cfg_alpha"),
        )
        inner.divides("num_heads", config.heads * 2, config.hidden)
        inner.divides("conv groups", config.conv_groups, config.hidden)
        if config.frames_per_code % 2:
            raise read.error("upsample_factor", "an even number", config.frames_per_code)
        return config


@dataclass(frozen=True)
class VocoderConfig:
    """Vocoder: latents to samples, in stages of transposed convolutions.

    `stage_widths` are the channels after each stage; empty for `width` halved in every stage.
    """

    z: int
    width: int
    rates: tuple[int, ...]
    block_kernels: tuple[int, ...]
    block_dilations: tuple[tuple[int, ...], ...]
    sample_rate: int = 24000
    stage_widths: tuple[int, ...] = ()

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels after each stage."""
        halved = tuple(self.width >> (stage + 1) for stage in range(len(self.rates)))
        return self.stage_widths or halved

    @property
    def samples_per_latent(self) -> int:
        """Samples that one latent frame becomes."""
        product = 1
        for rate in self.rates:
            product *= rate
        return product

    @property
    def lookahead_samples(self) -> int:
        """What a sample sees ahead: three latent frames, and five samples per activation."""
        total = 3
        for factor in self.rates:
            total = factor * total + 2 * REACH * max(len(row) for row in self.block_dilations)
        return total + REACH

    @property
    def full_lookahead(self) -> int:
        """The same in whole latent frames."""
        return -(-self.lookahead_samples // self.samples_per_latent)

    @classmethod
    def from_dict(cls, section: Section) -> VocoderConfig:
        """From a token2wav config.json. Raises BundleError."""
        model = SectionReader("token2wav", section).inner("model")
        read = SectionReader("wavegan", model.section("wavegan"))
        read.only(_WAVEGAN_KEYS)
        for key, value in _WAVEGAN_FIXED.items():
            read.expect(key, value)
        rates = read.sizes("upsample_rates")
        read.expect("upsample_kernel_sizes", [2 * rate for rate in rates])
        kernels = read.sizes("resblock_kernel_sizes")
        dilations = read.rows("resblock_dilation_sizes")
        if len(dilations) != len(kernels):
            raise read.error("resblock_dilation_sizes", f"{len(kernels)} rows", len(dilations))
        config = cls(
            z=read.size("latent_dim"),
            width=read.size("upsample_initial_channel"),
            rates=rates,
            block_kernels=kernels,
            block_dilations=dilations,
            sample_rate=model.size("wav_input_sr", 24000),
            stage_widths=read.sizes("stage_channels") if "stage_channels" in read.map else (),
        )
        if not config.stage_widths:
            read.divides("upsample_rates", 2 ** len(rates), config.width)
        elif len(config.stage_widths) != len(rates):
            raise read.error("stage_channels", f"{len(rates)} sizes", len(config.stage_widths))
        return config


_TOKEN2LATENT_KEYS = frozenset(
    [
        "upsample_factor",
        "token_vocab_size",
        "token_input_dim",
        "z_dim",
        "spkr_embed_dim",
        "spkr_mask_ratio",
        "bert_mask_rate0",
        "bert_mask_rate1",
        "random_maskrate",
        "cfg_dropout",
        "sigma",
        "transformer",
    ]
)
_TRANSFORMER_KEYS = frozenset(
    [
        "num_layers",
        "hidden_size",
        "ffn_hidden_size",
        "num_heads",
        "modulation",
        "alibi_bias",
        "rotary_bias",
        "qk_norm",
        "max_position_embeddings",
        "attn_dropout",
        "dropout",
    ]
)
_TRANSFORMER_FIXED = {
    "modulation": True,
    "alibi_bias": False,
    "rotary_bias": True,
    "qk_norm": False,
}
# The encoder side of the autoencoder (downsample_*, flow, vae) is not part of inference.
_WAVEGAN_KEYS = frozenset(
    [
        "type",
        "upsample_rates",
        "upsample_kernel_sizes",
        "upsample_initial_channel",
        "stage_channels",
        "resblock",
        "resblock_kernel_sizes",
        "resblock_dilation_sizes",
        "downsample_rates",
        "downsample_channels",
        "activation",
        "snake_logscale",
        "latent_dim",
        "use_flow",
        "use_vae",
        "kl_weight",
        "causal",
        "flow_hidden_channels",
    ]
)
_WAVEGAN_FIXED = {
    "resblock": "1",
    "activation": "snakebeta",
    "snake_logscale": True,
    "causal": True,
}

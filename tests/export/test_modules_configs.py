"""Configs are read strictly: what the architecture cannot do is refused by name."""

import copy

import pytest

from checkpoint_layout import OTHER, TINY, decoder_config, model_config
from parley_export.errors import BundleError
from parley_export.families.covo_audio import modules


def encoder(config):
    return modules.EncoderConfig.from_dict(config["encoder_config"])


def backbone(config):
    return modules.BackboneConfig.from_dict(config["llm_config"])


ADAPTER, FLOW, VOCODER = (
    modules.AdapterConfig.from_dict,
    modules.FlowConfig.from_dict,
    modules.VocoderConfig.from_dict,
)
T2L, TRANSFORMER = "model.token2latent", "model.token2latent.transformer"


@pytest.mark.parametrize("spec", [TINY, OTHER])
def test_sizes_come_from_the_config(spec):
    config, decoder = model_config(spec), decoder_config(spec)
    assert encoder(config).width == spec.encoder_width
    assert ADAPTER(config).out_width == spec.width
    assert backbone(config).vocab_size == spec.audio_begin + spec.codes
    assert FLOW(decoder).speaker_width == spec.speaker_width
    assert VOCODER(decoder).samples_per_latent == 240


@pytest.mark.parametrize(
    ("read", "key", "value"),
    [
        (encoder, "encoder_config.activation_function", "relu"),
        (encoder, "encoder_config.scale_embedding", True),
        (encoder, "encoder_config.encoder_attention_heads", 7),
        (encoder, "encoder_config.d_model", "64"),
        (encoder, "encoder_config.chunk_frames", 7),
        (ADAPTER, "adapter_downsample", 6),
        (ADAPTER, "whisper_feats_dim", 65),
        (backbone, "llm_config.hidden_act", "gelu"),
        (backbone, "llm_config.tie_word_embeddings", True),
        (backbone, "llm_config.rope_scaling", {"type": "yarn"}),
        (backbone, "llm_config.use_sliding_window", True),
        (backbone, "llm_config.layer_types", ["full_attention", "sliding_attention"]),
        (backbone, "llm_config.num_key_value_heads", 3),
        (backbone, "llm_config.rms_norm_eps", None),
        (FLOW, f"{TRANSFORMER}.qk_norm", True),
        (FLOW, f"{TRANSFORMER}.alibi_bias", True),
        (FLOW, f"{TRANSFORMER}.new_trick", 1),
        (FLOW, f"{T2L}.new_trick", 1),
        (FLOW, f"{T2L}.upsample_factor", 3),
        (FLOW, f"{T2L}.z_dim", 0),
        (FLOW, "inference.dynamic_thr", True),
        (VOCODER, "model.wavegan.activation", "snake"),
        (VOCODER, "model.wavegan.causal", False),
        (VOCODER, "model.wavegan.snake_logscale", False),
        (VOCODER, "model.wavegan.upsample_kernel_sizes", [11, 6, 4, 4, 4, 4]),
        (VOCODER, "model.wavegan.resblock_kernel_sizes", [3, 7]),
        (VOCODER, "model.wavegan.new_trick", 1),
    ],
)
def test_refused_by_name(read, key, value):
    config = {**model_config(TINY), **decoder_config(TINY)}
    *path, leaf = key.split(".")
    section = config = copy.deepcopy(config)
    for name in path:
        section = section[name]
    section[leaf] = value
    with pytest.raises(BundleError, match=r"^\[config.read\] expected .* got .*;") as caught:
        read(config)
    named = "resblock_dilation_sizes" if leaf == "resblock_kernel_sizes" else leaf
    assert named in str(caught.value)


@pytest.mark.parametrize("key", ["d_model", "num_mel_bins", "activation_function"])
def test_missing_keys_are_named(key):
    config = model_config(TINY)
    del config["encoder_config"][key]
    with pytest.raises(BundleError, match=key):
        encoder(config)


def test_a_section_must_be_a_table():
    with pytest.raises(BundleError, match="encoder_config"):
        modules.EncoderConfig.from_dict(["not", "a", "table"])


def test_the_base_may_be_nested():
    config = model_config(TINY)
    del config["llm_config"]["rope_theta"]
    config["llm_config"]["rope_parameters"] = {"rope_type": "default", "rope_theta": 5000.0}
    assert backbone(config).rope_theta == 5000.0
    config["llm_config"]["rope_parameters"]["rope_type"] = "llama3"
    with pytest.raises(BundleError, match="rope_type"):
        backbone(config)

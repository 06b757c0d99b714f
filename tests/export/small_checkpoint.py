"""Writes a checkpoint of Covo-Audio's layout at sizes of its own, with random weights.

Smaller than the golden one and of other sizes, so that nothing here can depend on those. Knows no
expected outputs; the weights are those of one seed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from parley_export import loading
from parley_export.backbone_gguf import expected_tensors
from parley_export.checkpoint import locate, read_configs
from parley_export.tokenizer import DUPLEX_CONTROL, REQUIRED

WIDTH, CODES, LATENT, SPEAKER = 64, 32, 8, 12
BASE_TOKENS = 256
SPECIAL = [*REQUIRED, *DUPLEX_CONTROL]
AUDIO_BEGIN = BASE_TOKENS + len(SPECIAL)


def config() -> dict[str, Any]:
    """config.json of the checkpoint."""
    return {
        "model_type": "covo_audio",
        "audio_token_index": AUDIO_BEGIN,
        "adapter_downsample": 8,
        "adapter_hidden": 16,
        "llm_config": {
            "model_type": "qwen2",
            "hidden_size": WIDTH,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": AUDIO_BEGIN + CODES,
            "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0,
            "max_position_embeddings": 512,
            "hidden_act": "silu",
            "tie_word_embeddings": False,
        },
        "encoder_config": {
            "model_type": "whisper",
            "d_model": 32,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 48,
            "num_mel_bins": 20,
            "max_source_positions": 100,
            "activation_function": "gelu",
        },
    }


def decoder_config() -> dict[str, Any]:
    """token2wav/config.json of the checkpoint."""
    return {
        "data": {"audio": {"sample_rate": 24000, "hop_size": 480}},
        "model": {
            "token2latent": {
                "upsample_factor": 4,
                "token_vocab_size": CODES,
                "token_input_dim": 8,
                "z_dim": LATENT,
                "spkr_embed_dim": SPEAKER,
                "transformer": {
                    "num_layers": 1,
                    "hidden_size": 32,
                    "ffn_hidden_size": 48,
                    "num_heads": 2,
                    "modulation": True,
                    "alibi_bias": False,
                    "rotary_bias": True,
                    "qk_norm": False,
                },
            },
            "wav_input_sr": 24000,
            "wavegan": {
                "upsample_rates": [5, 3, 2, 2, 2, 2],
                "upsample_kernel_sizes": [10, 6, 4, 4, 4, 4],
                "upsample_initial_channel": 64,
                "resblock": "1",
                "resblock_kernel_sizes": [3],
                "resblock_dilation_sizes": [[1, 3]],
                "activation": "snakebeta",
                "snake_logscale": True,
                "latent_dim": LATENT,
                "causal": True,
            },
        },
        "inference": {"s_steps": 4, "cfg_alpha": 1.0},
    }


def write_tokenizer(folder: Path) -> None:
    """tokenizer.json of bytes and special tokens, without merges."""
    names = [*(chr(0x100 + i) for i in range(BASE_TOKENS))]
    (folder / "tokenizer.json").write_text(
        json.dumps(
            {
                "added_tokens": [
                    {"id": BASE_TOKENS + i, "content": name, "special": True}
                    for i, name in enumerate(SPECIAL)
                ],
                "normalizer": None,
                "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
                "model": {
                    "type": "BPE",
                    "vocab": {name: i for i, name in enumerate(names)},
                    "merges": [],
                },
            }
        )
    )


def random_tensors(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, torch.Tensor]:
    """Float32 tensors that keep activations finite; those of norms lie near 1."""
    generator = torch.Generator().manual_seed(seed)
    result = {}
    for name, shape in shapes.items():
        value = 0.1 * torch.randn(shape, generator=generator)
        result[name] = 1 + value if "norm" in name or name.endswith("weight_g") else value
    return result


def save_shards(folder: Path, tensors: dict[str, torch.Tensor], n_shards: int = 2) -> None:
    """Spread tensors over numbered shards and write their index."""
    names = list(tensors)
    index = {}
    for i in range(n_shards):
        file = f"model-{i + 1:05d}-of-{n_shards:05d}.safetensors"
        part = {name: tensors[name].contiguous() for name in names[i::n_shards]}
        save_file(part, folder / file)
        index |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index})
    )


def save_voice(folder: Path, n_tokens: int = 3) -> None:
    """The three arrays of a voice."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(5)
    np.save(folder / "prompt_token.npy", rng.integers(0, CODES, (1, n_tokens)))
    latents = rng.standard_normal((1, 4 * n_tokens + 3, LATENT)).astype(np.float32)
    np.save(folder / "prompt_latent.npy", latents)
    np.save(folder / "speaker_embed.npy", rng.standard_normal((1, SPEAKER)).astype(np.float32))


def write_checkpoint(folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """A whole checkpoint; `dtype` is that of the safetensors. Returns the folder."""
    t2w = folder / "token2wav"
    t2w.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config()))
    (t2w / "config.json").write_text(json.dumps(decoder_config()))
    write_tokenizer(folder)
    save_voice(t2w / "prompt")
    stats = np.concatenate([np.zeros(LATENT), np.ones(LATENT)]).astype(np.float32)
    np.save(t2w / "global_mean_var.npy", stats[None])
    (t2w / "model.pt").touch()
    configs = read_configs(locate(folder))
    shapes = expected_tensors(configs.backbone) | loading.module_shapes(
        encoder=configs.encoder, adapter=configs.adapter
    )
    tensors = random_tensors(shapes, seed=1)
    save_shards(folder, {name: tensor.to(dtype) for name, tensor in tensors.items()})
    decoder = loading.module_shapes(flow=configs.flow, vocoder=configs.vocoder)
    torch.save({"model": random_tensors(decoder, seed=2)}, t2w / "model.pt")
    return folder

"""Puts the trained parts into a checkpoint folder that `parley export` reads; trains nothing."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from parley_export.families.covo_audio.modules import FlowField, Vocoder
from train import flow, vocoder
from train.listen import RUNS, STAGES, Listener, load_weights, open_listener
from train.listen_model import WINDOW
from train.shipped import load_shipped, shipped_ears
from train.vocabulary import write_tokenizer
from train.whole_turns import load_whole_turns

ROOT = Path(__file__).resolve().parents[3]
PREFIXES = {"encoder": "encoder.", "adapter": "audio_adapter.", "backbone": "llm."}
CONTEXT = 1024  # positions; the window, one long chunk and room before positions start over

# What the runtime must know beyond the configs; parley_export.settings says what each means.
SETTINGS = {
    "name": "nano",
    "turns": False,
    "system": "",
    "context": CONTEXT,
    "duplex_prompt": "",
    "window_positions": WINDOW,
    "max_reply_chunks": 60,
    "fade_ms": 60,
    "duplex_temperature": 0.0,
    "flow_mode": "cached",  # as near to whole utterances as windows are, for half the cost
    "past_codes": flow.PAST_CODES,
    "lookahead_codes": 0,
    "voices": {name: f"token2wav/voices/{name}" for name in flow.VOICES},
}

# The half-duplex sister's: whole turns, as the published checkpoints, and no full duplex.
WHOLE_TURNS = {
    "name": "nano-turns",
    "turns": True,
    "short_segments": True,  # as it was trained
    **{name: SETTINGS[name] for name in ("system", "context", "flow_mode", "voices")},
    **{name: SETTINGS[name] for name in ("past_codes", "lookahead_codes")},
}


def model_config(listener: Listener) -> dict[str, Any]:
    """config.json."""
    vocabulary, config = listener.vocabulary, listener.model.config
    backbone, encoder, adapter = config.backbone, config.encoder, config.adapter
    return {
        "architectures": ["CovoAudioForCausalLM"],
        "model_type": "covo_audio",
        "audio_token_index": vocabulary.audio_begin,
        "adapter_downsample": 2**adapter.stages,
        "adapter_hidden": adapter.hidden,
        "whisper_feats_dim": encoder.width,
        "dtype": "float32",
        "llm_config": {
            "hidden_size": backbone.width,
            "intermediate_size": backbone.ffn_width,
            "num_hidden_layers": backbone.layers,
            "num_attention_heads": backbone.heads,
            "num_key_value_heads": backbone.kv_heads,
            "vocab_size": backbone.vocab_size,
            "rms_norm_eps": backbone.rms_eps,
            "rope_theta": backbone.rope_theta,
            "max_position_embeddings": CONTEXT,
            "hidden_act": "silu",
            "model_type": "qwen2",
            "tie_word_embeddings": False,
        },
        "encoder_config": {
            "d_model": encoder.width,
            "encoder_layers": encoder.layers,
            "encoder_attention_heads": encoder.heads,
            "encoder_ffn_dim": encoder.ffn_width,
            "num_mel_bins": encoder.n_mels,
            "max_source_positions": encoder.positions,
            "chunk_frames": encoder.chunk_frames,
            "left_context_frames": encoder.left_context_frames,
            "activation_function": "gelu",
            "model_type": "whisper",
            "scale_embedding": False,
        },
    }


def decoder_config() -> dict[str, Any]:
    """token2wav/config.json."""
    field, waves = flow.CONFIG, vocoder.CONFIG
    transformer = {
        "num_layers": field.layers,
        "hidden_size": field.hidden,
        "ffn_hidden_size": field.ffn_width,
        "num_heads": field.heads,
        "modulation": True,
        "alibi_bias": False,
        "rotary_bias": True,
        "qk_norm": False,
        "max_position_embeddings": 4096,
    }
    token2latent = {
        "upsample_factor": field.frames_per_code,
        "token_vocab_size": field.codes,
        "token_input_dim": field.code_width,
        "z_dim": field.z,
        "spkr_embed_dim": field.speaker_width,
        "transformer": transformer,
    }
    wavegan = {
        "upsample_rates": list(waves.rates),
        "upsample_kernel_sizes": [2 * rate for rate in waves.rates],
        "upsample_initial_channel": waves.width,
        "stage_channels": list(waves.widths),
        "resblock": "1",
        "resblock_kernel_sizes": list(waves.block_kernels),
        "resblock_dilation_sizes": [list(row) for row in waves.block_dilations],
        "activation": "snakebeta",
        "snake_logscale": True,
        "latent_dim": waves.z,
        "causal": True,
    }
    rate = waves.sample_rate
    return {
        "data": {"audio": {"sample_rate": rate, "hop_size": 2 * waves.samples_per_latent}},
        "model": {"token2latent": token2latent, "wav_input_sr": rate, "wavegan": wavegan},
        "inference": {"s_steps": field.points, "cfg_alpha": field.guidance},
    }


def listen_state_dict(listener: Listener) -> dict[str, Tensor]:
    """Encoder, adapter and backbone under the checkpoint's names, float32."""
    state = {}
    for part, prefix in PREFIXES.items():
        for name, tensor in getattr(listener.model, part).state_dict().items():
            state[prefix + name] = tensor.contiguous()
    return state


def latest_listener() -> Listener:
    """The model of the furthest stage, or else that of the shipped bundle.

    Raises:
        FileNotFoundError: there is neither.
    """
    for stage in reversed(STAGES):
        path = RUNS / f"listen_{stage}/last.pt"
        if path.is_file():
            listener = open_listener()
            load_weights(listener.model, path)
            return listener
    listener = open_listener(shipped_ears())
    load_shipped(listener.model)
    return listener


def decoder_state_dict(untrained: bool) -> dict[str, Tensor]:
    """Flow and vocoder under the checkpoint's names."""
    if not untrained:
        return {**flow.flow_state_dict(), **vocoder.vocoder_state_dict()}
    parts = {"token2latent.": FlowField(flow.CONFIG), "wavegan.": Vocoder(vocoder.CONFIG)}
    return {p + name: t for p, m in parts.items() for name, t in m.state_dict().items()}


def write_voices(folder: Path, untrained: bool) -> None:
    """token2wav/voices/NAME and global_mean_var.npy."""
    field, random = flow.CONFIG, np.random.default_rng(0)
    stats = flow.Stats(np.zeros(field.z, np.float32), np.ones(field.z, np.float32))
    for name in flow.VOICES:
        if untrained:
            frames = flow.PROMPT_CODES * field.frames_per_code
            latents = random.standard_normal((frames, field.z), dtype=np.float32)
            voice = {
                "tokens": torch.from_numpy(random.integers(0, field.codes, flow.PROMPT_CODES)),
                "latents": torch.from_numpy(latents),
                "speaker": torch.ones(1, field.speaker_width),
            }
        else:
            voice = flow.read_voice(name)
        speaker = voice["speaker"][0]
        flow.save_voice(folder / "voices" / name, voice["tokens"], voice["latents"], speaker)
    flow.save_stats(folder, stats if untrained else flow.read_stats())


def write_checkpoint(out: Path, *, untrained: bool = False, whole_turns: bool = False) -> None:
    """Write the whole folder anew; `untrained` takes random weights where a part is missing."""
    try:
        listener = load_whole_turns() if whole_turns else latest_listener()
    except FileNotFoundError:
        if not untrained:
            raise
        listener = open_listener()
    if out.exists():
        shutil.rmtree(out)
    decoder = out / "token2wav"
    decoder.mkdir(parents=True)
    configs = {
        "config.json": model_config(listener),
        "parley.json": WHOLE_TURNS if whole_turns else SETTINGS,
        "token2wav/config.json": decoder_config(),
    }
    for name, config in configs.items():
        (out / name).write_text(json.dumps(config, indent=1), encoding="utf-8")
    write_tokenizer(out, listener.vocabulary)
    save_file(listen_state_dict(listener), out / "model.safetensors")
    torch.save(decoder_state_dict(untrained), decoder / "model.pt")
    write_voices(decoder, untrained)
    shutil.copyfile(ROOT / "LICENSE", out / "LICENSE")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `python -m train assemble`."""
    parser.add_argument("--out", type=Path, default=ROOT / "build/nano/checkpoint")
    parser.add_argument(
        "--untrained", action="store_true", help="random flow and vocoder: to try the format"
    )
    parser.add_argument(
        "--whole-turns", action="store_true", help="the half-duplex sister that whole_turns trained"
    )


def run(args: argparse.Namespace) -> None:
    """The step `assemble`."""
    torch.set_num_threads(1)
    write_checkpoint(args.out, untrained=args.untrained, whole_turns=args.whole_turns)
    print(f"wrote the checkpoint {args.out}")

"""Writes the tiny checkpoint: Covo-Audio's layout with random weights; knows no expected output.

    python models/tiny/make_checkpoint.py FOLDER

Nothing was trained, so its speech is noise. Every weight depends on its tensor's name and shape
alone: whoever runs this holds the same weights, and golden numbers fit without shipping them.
`make demo` exports it as the default bundle, and the golden tests use it.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from parley_export import loading
from parley_export.backbone_gguf import expected_tensors
from parley_export.checkpoint import locate, read_configs

Floats = npt.NDArray[np.float32]
HERE = Path(__file__).resolve().parent
BASE_TOKENS = 512
SPECIAL_TOKENS = """
<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|>
<|box_end|> <|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|>
<|image_pad|> <|video_pad|> <tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|>
<|fim_pad|> <|repo_name|> <|file_sep|> <|begofcAUDIO|> <|cAUDIO|> <|endofcAUDIO|>
<|THINK|> <|SHIFT|> <|BREAK|>
""".split()
VOICE_CODES, VOICE_LATENT_FRAMES = 20, 83


def stream(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def check_stream() -> None:
    """NumPy promises no stream for ever; with another one the golden numbers don't hold."""
    drawn = np.random.default_rng(7).standard_normal(4).round(6).tolist()
    if drawn != [0.00123, 0.298746, -0.274138, -0.890592]:
        raise SystemExit(
            f"[tiny.make] expected the random numbers of NumPy 2.4, got others from "
            f"{np.__version__}; do install numpy 2.4"
        )


def weight(name: str, shapes: loading.Shapes) -> Floats:
    """One tensor, scaled so that activations keep about unit variance. Float32."""
    shape, rng = shapes[name], stream(name)
    leaf = name.rsplit(".", 1)[-1]
    if name == "encoder.embed_positions.weight":
        return sinusoids(*shape)
    if leaf == "weight_g":
        return magnitude(name, shapes)
    if "embed_tokens" in name:
        return rng.standard_normal(shape, dtype=np.float32)
    value = rng.standard_normal(shape)
    if leaf in ("alpha", "beta"):  # of snake activations, logarithms
        value = 0.3 * value
    elif "norm" in name and leaf == "weight":
        value = 1 + 0.1 * value
    elif leaf == "bias":
        value = 0.05 * value
    else:
        value = value / math.sqrt(fan_in(name, shape))
    return value.astype(np.float32)


def fan_in(name: str, shape: tuple[int, ...]) -> int:
    if name.startswith("wavegan.ups") or "token_proj.1" in name:
        return 2 * shape[0]  # transposed: [in, out, kernel], and two taps meet in each output
    return math.prod(shape[1:]) if len(shape) > 1 else shape[0]


def magnitude(name: str, shapes: loading.Shapes) -> Floats:
    """Of a weight norm: the length of each row of its direction, times a random gain."""
    direction = weight(name.removesuffix("g") + "v", shapes).astype(np.float64)
    length = np.sqrt((direction**2).reshape(len(direction), -1).sum(1)).reshape(shapes[name])
    # Small enough that the output's tanh stays far from its limits.
    scale = 0.02 if "conv_post" in name else 0.5 if "resblocks" in name else 1.0
    return (scale * length * (0.5 + stream(name).random(shapes[name]))).astype(np.float32)


def sinusoids(n_positions: int, width: int) -> Floats:
    """Whisper's fixed positions [n_positions, width]: sines, then cosines."""
    rate = np.exp(-math.log(10000.0) / (width // 2 - 1) * np.arange(width // 2))
    angle = np.arange(n_positions)[:, None] * rate[None]
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def tensors(shapes: loading.Shapes) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(weight(name, shapes)) for name in shapes}


def write_tokenizer(folder: Path) -> None:
    """Byte-level BPE in Qwen2's layout, without merges; unused ids up to BASE_TOKENS."""
    names = sorted(pre_tokenizers.ByteLevel.alphabet())
    names += [f"<|pad_{i}|>" for i in range(len(names), BASE_TOKENS)]
    tokenizer = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL_TOKENS])
    tokenizer.save(str(folder / "tokenizer.json"))
    names_of_ends = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names_of_ends))


def write_voice(folder: Path, n_codes: int, latent_width: int, speaker_width: int) -> None:
    """The default voice: 20 codes, 83 latent frames and a speaker embedding, all random."""
    folder.mkdir()
    codes = stream("token2wav.prompt.token").integers(0, n_codes, (1, VOICE_CODES))
    latents = stream("token2wav.prompt.latent").standard_normal(
        (1, VOICE_LATENT_FRAMES, latent_width)
    )
    speaker = 0.06 * stream("token2wav.prompt.speaker").standard_normal((1, speaker_width))
    np.save(folder / "prompt_token.npy", codes)
    np.save(folder / "prompt_latent.npy", latents.astype(np.float32))
    np.save(folder / "speaker_embed.npy", speaker.astype(np.float32))


def write_checkpoint(folder: Path) -> Path:
    """Writes the whole checkpoint into a new folder and returns it."""
    check_stream()
    decoder = folder / "token2wav"
    decoder.mkdir(parents=True)
    shutil.copyfile(HERE / "config.json", folder / "config.json")
    shutil.copyfile(HERE / "decoder_config.json", decoder / "config.json")
    write_tokenizer(folder)
    sizes = json.loads((HERE / "decoder_config.json").read_text())["model"]["token2latent"]
    width = sizes["z_dim"]
    write_voice(decoder / "prompt", sizes["token_vocab_size"], width, sizes["spkr_embed_dim"])
    mean = 0.2 * stream("global_mean").standard_normal(width)
    variance = 0.5 + stream("global_var").random(width)
    np.save(
        decoder / "global_mean_var.npy", np.concatenate([mean, variance]).astype(np.float32)[None]
    )
    (decoder / "model.pt").touch()  # so that the folder is complete enough to be read
    configs = read_configs(locate(folder))
    shapes = expected_tensors(configs.backbone) | loading.module_shapes(
        encoder=configs.encoder, adapter=configs.adapter
    )
    shard = "model-00001-of-00001.safetensors"
    save_file(tensors(shapes), folder / shard, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": dict.fromkeys(shapes, shard)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    shapes = loading.module_shapes(flow=configs.flow, vocoder=configs.vocoder)
    torch.save({"model": tensors(shapes)}, decoder / "model.pt")
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="a folder that is not there yet"
    )
    folder = parser.parse_args().folder
    if folder.exists():
        parser.error(f"expected a new folder, got {folder}, which exists; do remove it first")
    print(f"tiny checkpoint with random weights: {write_checkpoint(folder)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

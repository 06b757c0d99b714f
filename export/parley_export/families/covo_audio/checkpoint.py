"""Find, read and check a Covo-Audio checkpoint folder; writes nothing and knows no graph format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parley_export.backbone_gguf import expected_tensors
from parley_export.errors import BundleError, Problems
from parley_export.families.covo_audio.configs import (
    AdapterConfig,
    BackboneConfig,
    EncoderConfig,
    FlowConfig,
    VocoderConfig,
)
from parley_export.families.covo_audio.voices import FILES as VOICE_FILES
from parley_export.families.covo_audio.voices import Voice, read_voice
from parley_export.folder import check_folder
from parley_export.settings import FILE as SETTINGS_FILE
from parley_export.settings import Settings, read_settings
from parley_export.state_dict import read_state_dict, require_torch
from parley_export.tokenizer import FILES as TOKENIZER_FILES
from parley_export.tokenizer import Tokenizer, read_tokenizer
from parley_export.weights import Shards

DEFAULT_VOICE = "default"
MAX_JSON_BYTES = 16 << 20
MAX_LICENCE_BYTES = 1 << 20
HASH_BYTES = 4 << 20
LICENCE_NAMES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "License.txt", "LICENCE", "COPYING")


@dataclass(frozen=True)
class Layout:
    """Where the parts of a checkpoint lie; users may point at each of them separately."""

    folder: Path
    token2wav: Path
    decoder_config: Path
    voice: Path | None  # the user's; none takes those that the checkpoint names
    name: str  # of the model, for people
    location: str  # where it came from: a folder's name or a repository at a commit


@dataclass(frozen=True)
class Configs:
    """All sizes and numbers of a checkpoint's configs."""

    backbone: BackboneConfig
    encoder: EncoderConfig
    adapter: AdapterConfig
    flow: FlowConfig
    vocoder: VocoderConfig
    audio_begin: int
    max_positions: int
    pad_samples: int

    @property
    def audio_codes(self) -> int:
        return self.backbone.vocab_size - self.audio_begin


@dataclass(frozen=True)
class Checkpoint:
    """A checked checkpoint. Tensors stay in their files until read."""

    layout: Layout
    configs: Configs
    tokenizer: Tokenizer
    shards: Shards
    decoder: dict[str, Any]  # torch tensors of model.pt by name, mapped
    latent_mean: np.ndarray  # [z] float32
    latent_var: np.ndarray  # [z] float32
    voices: dict[str, Voice]  # the default one first
    settings: Settings

    def read(self, name: str) -> Any:
        """A torch tensor by its full name, in the file's own type."""
        return self.decoder[name] if name in self.decoder else self.shards.read(name)


def locate(
    checkpoint: Path,
    *,
    decoder_config: Path | None = None,
    token2wav: Path | None = None,
    voice: Path | None = None,
    location: str = "",
) -> Layout:
    """Fill in the usual places and check that they are there.

    Raises:
        InputError: the checkpoint folder does not exist.
        BundleError: it is no checkpoint; names every part that is missing.
    """
    check_folder(checkpoint)
    t2w = token2wav or checkpoint / "token2wav"
    layout = Layout(
        folder=checkpoint,
        token2wav=t2w,
        decoder_config=decoder_config or t2w / "config.json",
        voice=voice,
        name=location.partition("@")[0].rpartition("/")[2] or checkpoint.resolve().name,
        location=location or checkpoint.resolve().name,
    )
    problems = Problems("checkpoint.locate", "point to the folder of a Covo-Audio checkpoint")
    for path, hint in (
        (layout.folder / "config.json", ""),
        (layout.token2wav / "model.pt", " (--token2wav DIR says where else it is)"),
        (layout.token2wav / "global_mean_var.npy", " (--token2wav DIR says where else it is)"),
        (layout.decoder_config, " (--decoder-config FILE says where else it is)"),
    ):
        if not path.is_file():
            problems.add(f"expected the file {path}{hint}, got none")
    for path in voice_folders(layout, read_settings(layout.folder)).values():
        if not path.is_dir():
            problems.add(f"expected a voice in {path} (--voice DIR says where else), got none")
    problems.raise_if_any()
    return layout


def voice_folders(layout: Layout, settings: Settings) -> dict[str, Path]:
    """Name -> folder of every voice that goes into the bundle, the default one first."""
    if layout.voice is None and settings.voices:
        return {name: layout.folder / path for name, path in settings.voices.items()}
    return {DEFAULT_VOICE: layout.voice or layout.token2wav / "prompt"}


def read_checkpoint(layout: Layout) -> Checkpoint:
    """Read configs, tokenizer and voice, map the weights, and check all of it.

    Raises:
        BundleError: anything is missing, of a wrong shape or type, or unknown; names all of it.
        LibraryError: torch or safetensors is missing or too old.
    """
    require_torch()
    from parley_export import loading

    configs, settings = read_configs(layout), read_settings(layout.folder)
    problems = Problems("checkpoint.read", "fetch the checkpoint's files again")

    def collect(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except BundleError as e:
            problems.add_from(e)
            return None

    tokenizer = collect(lambda: read_tokenizer(layout.folder))
    shards = collect(lambda: Shards(layout.folder))
    decoder = collect(lambda: read_state_dict(layout.token2wav / "model.pt"))
    stats = collect(lambda: _read_stats(layout.token2wav / "global_mean_var.npy", configs.flow.z))
    voices = {
        name: collect(lambda folder=folder: read_voice(folder, configs.flow))
        for name, folder in voice_folders(layout, settings).items()
    }
    if tokenizer is not None:
        _check_ids(configs, tokenizer, problems)
    if shards is not None:
        expected = expected_tensors(configs.backbone) | loading.module_shapes(
            encoder=configs.encoder, adapter=configs.adapter
        )
        found = {name: info.shape for name, info in shards.tensors.items()}
        loading.compare_shapes("the safetensors files", expected, found, problems)
    if decoder is not None:
        parts = {"flow": configs.flow, "vocoder": configs.vocoder}
        found = {name: tuple(t.shape) for name, t in decoder.items()}
        loading.compare_shapes("model.pt", loading.module_shapes(**parts), found, problems)
        loading.compare_constants("model.pt", parts, decoder, problems)
    problems.raise_if_any()
    mean, var = stats
    return Checkpoint(layout, configs, tokenizer, shards, decoder, mean, var, voices, settings)


# ---------------------------------------------------------------- configs


def read_configs(layout: Layout) -> Configs:
    """Read both config files; raises BundleError that names what each section has wrong."""
    return parse_configs(read_json(layout.folder / "config.json"), read_json(layout.decoder_config))


def parse_configs(config: dict[str, Any], decoder: dict[str, Any]) -> Configs:
    """The sizes in both files' contents; raises BundleError as read_configs does."""
    problems = Problems("checkpoint.read_config", "only Covo-Audio checkpoints work")
    if config.get("model_type") != "covo_audio":
        raise BundleError(
            "[checkpoint.read_config] expected model_type covo_audio in config.json, got "
            f"{config.get('model_type')!r}; point to a Covo-Audio checkpoint"
        )
    parts: dict[str, Any] = {}
    for name, kind, section in (
        ("backbone", BackboneConfig, config.get("llm_config", {})),
        ("encoder", EncoderConfig, config.get("encoder_config", {})),
        ("adapter", AdapterConfig, config),
        ("flow", FlowConfig, decoder),
        ("vocoder", VocoderConfig, decoder),
    ):
        try:
            parts[name] = kind.from_dict(section)
        except (BundleError, TypeError, AttributeError) as e:
            problems.add(f"{e}")
    for name, value in (
        ("audio_begin", config.get("audio_token_index")),
        ("max_positions", _nested(config, "llm_config", "max_position_embeddings")),
        ("pad_samples", _nested(decoder, "data", "audio", "hop_size")),
    ):
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            problems.add(f"expected a positive integer for {name}, got {value!r}")
        parts[name] = value
    problems.raise_if_any()
    configs = Configs(**parts)
    if configs.audio_codes != configs.flow.codes:
        problems.add(
            f"expected {configs.flow.codes} audio codes as the decoder has, got a vocabulary of "
            f"{configs.backbone.vocab_size} with audio from {configs.audio_begin} on"
        )
    if configs.flow.z != configs.vocoder.z:
        problems.add(f"expected latents {configs.flow.z} wide, got {configs.vocoder.z}")
    problems.raise_if_any()
    return configs


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of bounded size; raises BundleError."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        data = json.loads(path.read_text("utf-8"))
        if not isinstance(data, dict):
            raise ValueError(type(data).__name__)
    except (ValueError, RecursionError) as e:
        raise BundleError(
            f"[checkpoint.read_json] expected a JSON object in {path}, got {e}; fetch it again"
        ) from e
    return data


def _nested(data: Any, *keys: str) -> Any:
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _check_ids(configs: Configs, tokenizer: Tokenizer, problems: Problems) -> None:
    if tokenizer.size != configs.audio_begin:
        problems.add(
            f"expected {configs.audio_begin} tokens below the audio codes (audio_token_index), "
            f"got a tokenizer of {tokenizer.size}"
        )


def _read_stats(path: Path, z: int) -> tuple[np.ndarray, np.ndarray]:
    """Read the latents' mean and variance, (1, 2 z) in the file."""
    try:
        data = np.load(path, allow_pickle=False)
        ok = data.shape == (1, 2 * z) and data.dtype.kind == "f"
        got = f"{data.dtype} {data.shape}"
    except (ValueError, EOFError) as e:
        ok, got = False, str(e)
    if not ok:
        raise BundleError(
            f"[checkpoint.read_stats] expected float32 (1, {2 * z}) in {path.name}, got {got}; "
            "fetch it again"
        )
    mean, var = data[0, :z].astype(np.float32), data[0, z:].astype(np.float32)
    if not np.isfinite(data).all() or (var < 0).any():
        raise BundleError(
            f"[checkpoint.read_stats] expected finite means and variances of 0 or more in "
            f"{path.name}, got others; fetch it again"
        )
    return mean, var


# ---------------------------------------------------------------- provenance


def source_files(layout: Layout, shards: Shards) -> dict[str, Path]:
    """Name in the manifest -> path of every file that the bundle is made from."""
    files = {"config.json": layout.folder / "config.json"}
    for name in ("model.safetensors.index.json", SETTINGS_FILE, *TOKENIZER_FILES):
        if (layout.folder / name).is_file():
            files[name] = layout.folder / name
    files |= {path.name: path for path in shards.files}
    files["token2wav/config.json"] = layout.decoder_config
    for name in ("model.pt", "global_mean_var.npy"):
        files[f"token2wav/{name}"] = layout.token2wav / name
    for voice, folder in voice_folders(layout, read_settings(layout.folder)).items():
        place = "voice" if voice == DEFAULT_VOICE else f"voices/{voice}"
        files |= {f"{place}/{name}": folder / name for name in VOICE_FILES}
    licence = licence_file(layout)
    if licence is not None:
        files[licence.name] = licence
    return files


def licence_file(layout: Layout) -> Path | None:
    """The licence text that lies with the checkpoint, if there is one."""
    for name in LICENCE_NAMES:
        path = layout.folder / name
        if path.is_file() and path.stat().st_size <= MAX_LICENCE_BYTES:
            return path
    return None


def sha256(path: Path, progress: Callable[[int], None] = lambda n_bytes: None) -> str:
    """Hash a file piece by piece; `progress` gets the size of each piece."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as f:
        while piece := f.read(HASH_BYTES):
            digest.update(piece)
            progress(len(piece))
    return digest.hexdigest()

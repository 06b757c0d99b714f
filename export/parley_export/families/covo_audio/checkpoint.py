"""Find, read and check a Covo-Audio checkpoint folder; writes nothing and knows no graph format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parley_export import loading
from parley_export.backbone_gguf import TokenModel
from parley_export.config_section import SectionReader, read_json
from parley_export.errors import BundleError, Problems
from parley_export.families.covo_audio import modules
from parley_export.families.covo_audio.configs import (
    AdapterConfig,
    EncoderConfig,
    FlowConfig,
    VocoderConfig,
)
from parley_export.families.covo_audio.prompts import DUPLEX_CONTROL, REQUIRED
from parley_export.families.covo_audio.settings import Settings
from parley_export.families.covo_audio.voices import FILES as VOICE_FILES
from parley_export.families.covo_audio.voices import read_voice
from parley_export.family import USUAL, Places
from parley_export.family import Checkpoint as ReadCheckpoint
from parley_export.family import Layout as AnyLayout
from parley_export.folder import check_folder
from parley_export.loading import Module
from parley_export.provenance import licence_file
from parley_export.qwen import BackboneConfig, gguf_names
from parley_export.settings import FILE as SETTINGS_FILE
from parley_export.settings import read_settings
from parley_export.state_dict import read_state_dict, require_torch
from parley_export.tokenizer import FILES as TOKENIZER_FILES
from parley_export.tokenizer import Tokenizer, read_tokenizer
from parley_export.voices import Voice
from parley_export.weights import Shards

DEFAULT_VOICE = "default"
BACKBONE_PREFIX = "llm."


@dataclass(frozen=True)
class Layout(AnyLayout):
    """Where the parts of a checkpoint lie; users may point at each of them separately."""

    token2wav: Path
    decoder_config: Path
    voice: Path | None  # the user's; none takes those that the checkpoint names


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

    @property
    def hearing(self) -> tuple[Module, Module]:
        """Encoder and adapter."""
        return (
            Module("encoder", "encoder.", modules.AudioEncoder, self.encoder),
            Module("adapter", "audio_adapter.", modules.AudioAdapter, self.adapter),
        )

    @property
    def speech(self) -> tuple[Module, Module]:
        """Flow decoder and vocoder; folding the vocoder's weight norm computes with its weights."""
        return (
            Module("flow", "token2latent.", modules.FlowField, self.flow),
            Module("vocoder", "wavegan.", modules.Vocoder, self.vocoder, float32=True),
        )

    def token_model(self, tokenizer: Tokenizer) -> TokenModel:
        """The backbone with its vocabulary, for a GGUF file."""
        names = gguf_names(self.backbone, BACKBONE_PREFIX)
        return TokenModel(names, self.backbone, tokenizer, self.max_positions)


@dataclass(frozen=True)
class Checkpoint(ReadCheckpoint):
    """A checked checkpoint."""

    layout: Layout
    settings: Settings
    configs: Configs
    decoder: dict[str, Any]  # torch tensors of model.pt by name, mapped
    latent_mean: np.ndarray  # [z] float32
    latent_var: np.ndarray  # [z] float32
    voices: dict[str, Voice]  # the default one first

    def read(self, name: str) -> Any:
        """A torch tensor by its full name, in the file's own type."""
        return self.decoder[name] if name in self.decoder else self.shards.read(name)


def locate(checkpoint: Path, places: Places = USUAL, location: str = "") -> Layout:
    """Fill in the usual places and check that they are there.

    Raises:
        InputError: the checkpoint folder does not exist.
        BundleError: it is no checkpoint; names every part that is missing.
    """
    check_folder(checkpoint)
    own = checkpoint.resolve().name
    t2w = places.token2wav or checkpoint / "token2wav"
    layout = Layout(
        folder=checkpoint,
        name=location.partition("@")[0].rpartition("/")[2] or own,
        location=location or own,
        token2wav=t2w,
        decoder_config=places.decoder_config or t2w / "config.json",
        voice=places.voice,
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
    for path in voice_folders(layout, read_settings(layout.folder, Settings)).values():
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
    configs, settings = read_configs(layout), read_settings(layout.folder, Settings)
    problems = Problems("checkpoint.read", "fetch the checkpoint's files again")

    tokenizer = problems.collect(lambda: read_tokenizer(layout.folder, REQUIRED, DUPLEX_CONTROL))
    shards = problems.collect(lambda: Shards(layout.folder))
    decoder = problems.collect(lambda: read_state_dict(layout.token2wav / "model.pt"))
    stats = problems.collect(
        lambda: read_stats(layout.token2wav / "global_mean_var.npy", configs.flow.z)
    )
    voices = {
        name: problems.collect(lambda folder=folder: read_voice(folder, configs.flow))
        for name, folder in voice_folders(layout, settings).items()
    }
    if tokenizer is not None:
        _check_ids(configs, tokenizer, problems)
    _check_tensors(configs, shards, decoder, problems)
    problems.raise_if_any()
    mean, var = stats
    return Checkpoint(
        layout=layout,
        tokenizer=tokenizer,
        shards=shards,
        settings=settings,
        configs=configs,
        decoder=decoder,
        latent_mean=mean,
        latent_var=var,
        voices=voices,
    )


def _check_tensors(
    configs: Configs, shards: Shards | None, decoder: dict[str, Any] | None, problems: Problems
) -> None:
    """Names, shapes and constants of what could be read."""
    if shards is not None:
        names = gguf_names(configs.backbone, BACKBONE_PREFIX)
        expected = {name: shape for name, (_, shape) in names.items()}
        expected |= loading.module_shapes(*configs.hearing)
        found = {name: info.shape for name, info in shards.tensors.items()}
        loading.compare_shapes("the safetensors files", expected, found, problems)
    if decoder is not None:
        found = {name: tuple(t.shape) for name, t in decoder.items()}
        expected = loading.module_shapes(*configs.speech)
        loading.compare_shapes("model.pt", expected, found, problems)
        loading.compare_constants("model.pt", configs.speech, decoder, problems)


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
    llm = config.get("llm_config", {})
    top = SectionReader("token2wav", decoder)
    readers: dict[str, Callable[[], Any]] = {
        "backbone": lambda: BackboneConfig.from_dict(llm),
        "encoder": lambda: EncoderConfig.from_dict(config.get("encoder_config", {})),
        "adapter": lambda: AdapterConfig.from_dict(config),
        "flow": lambda: FlowConfig.from_dict(decoder),
        "vocoder": lambda: VocoderConfig.from_dict(decoder),
        "audio_begin": lambda: SectionReader("config", config).size("audio_token_index"),
        "max_positions": lambda: SectionReader("llm_config", llm).size("max_position_embeddings"),
        "pad_samples": lambda: top.inner("data").inner("audio").size("hop_size"),
    }
    parts = {name: problems.collect(read) for name, read in readers.items()}
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


def _check_ids(configs: Configs, tokenizer: Tokenizer, problems: Problems) -> None:
    if tokenizer.size != configs.audio_begin:
        problems.add(
            f"expected {configs.audio_begin} tokens below the audio codes (audio_token_index), "
            f"got a tokenizer of {tokenizer.size}"
        )


def read_stats(path: Path, z: int) -> tuple[np.ndarray, np.ndarray]:
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


def source_files(checkpoint: Checkpoint) -> dict[str, Path]:
    """Name in the manifest -> path of every file that the bundle is made from."""
    layout = checkpoint.layout
    files = {"config.json": layout.folder / "config.json"}
    for name in ("model.safetensors.index.json", SETTINGS_FILE, *TOKENIZER_FILES):
        if (layout.folder / name).is_file():
            files[name] = layout.folder / name
    files |= {path.name: path for path in checkpoint.shards.files}
    files["token2wav/config.json"] = layout.decoder_config
    for name in ("model.pt", "global_mean_var.npy"):
        files[f"token2wav/{name}"] = layout.token2wav / name
    for voice, folder in voice_folders(layout, checkpoint.settings).items():
        place = "voice" if voice == DEFAULT_VOICE else f"voices/{voice}"
        files |= {f"{place}/{name}": folder / name for name in VOICE_FILES}
    licence = licence_file(layout.folder)
    if licence is not None:
        files[licence.name] = licence
    return files

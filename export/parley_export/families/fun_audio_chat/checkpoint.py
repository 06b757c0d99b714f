"""Find, read and check a Fun-Audio-Chat checkpoint; writes nothing and knows no graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parley_export import loading
from parley_export.backbone_gguf import TokenModel
from parley_export.config_section import SectionReader, read_json
from parley_export.errors import BundleError, Problems
from parley_export.families.fun_audio_chat import modules
from parley_export.families.fun_audio_chat.configs import (
    EncoderConfig,
    FlowConfig,
    HeadConfig,
    vocoder_config,
)
from parley_export.families.fun_audio_chat.modules import front_end
from parley_export.families.fun_audio_chat.prompts import (
    AUDIO_BEGIN,
    AUDIO_END,
    AUDIO_PLACEHOLDER,
    CALL_BEGIN,
    CALL_END,
    REQUIRED,
    SILENCE,
)
from parley_export.families.fun_audio_chat.settings import Settings
from parley_export.families.fun_audio_chat.voices import FILE as VOICES
from parley_export.families.fun_audio_chat.voices import read_voices, voice_file
from parley_export.family import USUAL, Places
from parley_export.family import Checkpoint as ReadCheckpoint
from parley_export.family import Layout as AnyLayout
from parley_export.folder import check_folder
from parley_export.harmonic_vocoder import VocoderConfig, read_vocoder
from parley_export.loading import Module
from parley_export.provenance import licence_file
from parley_export.qwen import BackboneConfig, gguf_names
from parley_export.settings import FILE as SETTINGS_FILE
from parley_export.settings import read_settings
from parley_export.state_dict import read_state_dict, require_torch
from parley_export.tagged_yaml import read_tagged_yaml
from parley_export.tokenizer import FILES as TOKENIZER_FILES
from parley_export.tokenizer import Tokenizer, read_tokenizer
from parley_export.voices import Voice
from parley_export.weights import Shards

DECODER, VOICES_FOLDER = "Fun-CosyVoice3-0.5B-2512", "utils"
DECODER_FILES = ("cosyvoice3.yaml", "flow.pt", "hift.pt")
BACKBONE, HEAD, TOWER = "language_model.", "audio_invert_tower.", "audio_tower."
HEAD_LAYERS = HEAD + "crq_transformer."
# Made of two layers each: the head's embeddings of codes, and its matrix.
HEAD_TABLE, HEAD_MATRIX = "folded/embed_tokens.weight", "folded/lm_head.weight"
# What files may hold and nothing uses: a table that is never looked up, a copy of a tied one, and
# one that the published code deletes.
UNUSED = (
    "continuous_audio_tower.audio_bos_eos_token.weight",
    HEAD + "lm_head.weight",
    HEAD_LAYERS + "embed_tokens.weight",
)


@dataclass(frozen=True)
class Layout(AnyLayout):
    """Where the parts of a checkpoint lie; the decoder and the voices are published apart."""

    decoder: Path
    voices: Path  # the file


@dataclass(frozen=True)
class Configs:
    """All sizes and numbers of a checkpoint's configs."""

    backbone: BackboneConfig
    encoder: EncoderConfig
    head: HeadConfig
    flow: FlowConfig
    vocoder: VocoderConfig
    max_positions: int
    clip_seconds: int  # of sound that the encoder hears at once
    ids: dict[str, int]  # of tokens whose names the prompts use

    @property
    def hearing(self) -> tuple[Module, Module]:
        """Encoder, and what brings its rows to the backbone."""
        return (
            Module("encoder", "continuous_audio_tower.", modules.AudioEncoder, self.encoder),
            self.tower,
        )

    @property
    def tower(self) -> Module:
        return Module("tower", TOWER, modules.AudioTower, self.head)

    @property
    def speech_head(self) -> Module:
        return Module("head", HEAD, modules.SpeechHead, self.head)

    @property
    def speech(self) -> tuple[Module, Module]:
        """Flow decoder and vocoder; folding the vocoder's weight norm computes with its weights."""
        return (
            Module("flow", "flow/", modules.Flow, self.flow),
            Module("vocoder", "vocoder/", modules.Vocoder, self.vocoder, float32=True),
        )

    def token_model(self, tokenizer: Tokenizer) -> TokenModel:
        """The backbone with its vocabulary, for a GGUF file."""
        names = gguf_names(self.backbone, BACKBONE)
        return TokenModel(names, self.backbone, tokenizer, self.max_positions)

    def head_model(self) -> TokenModel:
        """The speech head's layers, whose vocabulary is the codes, for a GGUF file."""
        names = {}
        for name, entry in gguf_names(self.head.layers, "").items():
            own = {"model.embed_tokens.weight": HEAD_TABLE, "lm_head.weight": HEAD_MATRIX}
            names[own.get(name, HEAD_LAYERS + name.removeprefix("model."))] = entry
        return TokenModel(names, self.head.layers, None, self.head.max_positions)


@dataclass(frozen=True)
class Checkpoint(ReadCheckpoint):
    """A checked checkpoint."""

    layout: Layout
    settings: Settings
    configs: Configs
    decoder: dict[str, Any]  # torch tensors of both .pt files, mapped: flow/NAME and vocoder/NAME
    voices: dict[str, Voice]  # the default one first

    def read(self, name: str) -> Any:
        """A torch tensor by its full name, in the file's own type; folded ones are float32."""
        if name == HEAD_TABLE:
            return self._table() @ self.shards.read(HEAD + "input_matching.weight").float().T
        if name == HEAD_MATRIX:
            return self._table() @ self.shards.read(HEAD + "output_matching.weight").float()
        return self.decoder[name] if name in self.decoder else self.shards.read(name)

    def _table(self) -> Any:
        return self.shards.read(TOWER + "embed_tokens.weight").float()


# ---------------------------------------------------------------- files


def locate(checkpoint: Path, places: Places = USUAL, location: str = "") -> Layout:
    """Fill in the usual places and check that they are there.

    Raises:
        InputError: the checkpoint folder does not exist.
        BundleError: it is no checkpoint; names every part that is missing.
    """
    check_folder(checkpoint)
    own = checkpoint.resolve().name
    voices = places.voice or _beside(checkpoint, VOICES_FOLDER)
    layout = Layout(
        folder=checkpoint,
        name=location.partition("@")[0].rpartition("/")[2] or own,
        location=location or own,
        decoder=places.token2wav or _beside(checkpoint, DECODER),
        voices=voice_file(voices),
    )
    problems = Problems("checkpoint.locate", "point to the folder of a Fun-Audio-Chat checkpoint")
    if places.decoder_config is not None:
        problems.add("expected no --decoder-config, the decoder's lies with it, got one")
    for name in ("config.json", "preprocessor_config.json"):
        if not (checkpoint / name).is_file():
            problems.add(f"expected the file {checkpoint / name}, got none")
    for name in DECODER_FILES:
        if not (layout.decoder / name).is_file():
            hint = f"(published apart as {DECODER}; --token2wav DIR says where it is)"
            problems.add(f"expected the file {layout.decoder / name} {hint}, got none")
    if not layout.voices.is_file():
        hint = f"(published with the code as {VOICES}; --voice says where it is)"
        problems.add(f"expected voices in {layout.voices} {hint}, got none")
    problems.raise_if_any()
    return layout


def _beside(checkpoint: Path, name: str) -> Path:
    """A folder in the checkpoint's, or beside it."""
    inside = checkpoint / name
    return inside if inside.is_dir() else checkpoint.resolve().parent / name


def read_checkpoint(layout: Layout) -> Checkpoint:
    """Read configs, tokenizer and voices, map the weights, and check all of it.

    Raises:
        BundleError: anything is missing, of a wrong shape or type, or unknown; names all of it.
        LibraryError: torch, safetensors or pyyaml is missing or too old.
    """
    require_torch()
    settings = read_settings(layout.folder, Settings)
    configs = read_configs(layout)
    problems = Problems("checkpoint.read", "fetch the checkpoint's files again")
    sizes = (configs.vocoder.n_mels, configs.flow.speaker_width)
    tokenizer = problems.collect(
        lambda: read_tokenizer(layout.folder, REQUIRED, (CALL_BEGIN, CALL_END))
    )
    shards = problems.collect(lambda: Shards(layout.folder))
    flow = problems.collect(lambda: read_state_dict(layout.decoder / "flow.pt"))
    vocoder = problems.collect(lambda: read_vocoder(layout.decoder / "hift.pt"))
    voices = problems.collect(lambda: read_voices(layout.voices, *sizes))
    if tokenizer is not None:
        _check_ids(configs, tokenizer, problems)
    _check_tensors(configs, shards, (flow, vocoder), problems)
    problems.raise_if_any()
    decoder = {f"flow/{name}": tensor for name, tensor in flow.items()}
    decoder |= {f"vocoder/{name}": tensor for name, tensor in vocoder.items()}
    return Checkpoint(
        layout=layout,
        tokenizer=tokenizer,
        shards=shards,
        settings=settings,
        configs=configs,
        decoder=decoder,
        voices=voices,
    )


def _check_ids(configs: Configs, tokenizer: Tokenizer, problems: Problems) -> None:
    if tokenizer.size > configs.backbone.vocab_size:
        problems.add(
            f"expected at most {configs.backbone.vocab_size} ids in the tokenizer (vocab_size), "
            f"got {tokenizer.size}"
        )
    for name, token in configs.ids.items():
        if tokenizer.id_of(name) != token:
            problems.add(
                f"expected {name} at id {token} of the tokenizer, as config.json says, got "
                f"{tokenizer.id_of(name)}"
            )


def _check_tensors(
    configs: Configs,
    shards: Shards | None,
    decoder: tuple[dict[str, Any] | None, dict[str, Any] | None],
    problems: Problems,
) -> None:
    """Names and shapes of what could be read."""
    if shards is not None:
        names = gguf_names(configs.backbone, BACKBONE)
        expected = {name: shape for name, (_, shape) in names.items()}
        expected |= loading.module_shapes(*configs.hearing, configs.speech_head)
        found = {n: info.shape for n, info in shards.tensors.items() if n not in UNUSED}
        loading.compare_shapes("the safetensors files", expected, found, problems)
    for module, file, tensors in zip(configs.speech, DECODER_FILES[1:], decoder, strict=True):
        if tensors is not None:
            named = {module.prefix + name: tensor for name, tensor in tensors.items()}
            found = {name: tuple(tensor.shape) for name, tensor in named.items()}
            loading.compare_shapes(file, loading.module_shapes(module), found, problems)
            loading.compare_constants(file, (module,), named, problems)


# ---------------------------------------------------------------- configs


def read_configs(layout: Layout) -> Configs:
    """Read the config files; raises BundleError that names what each section has wrong."""
    return parse_configs(
        read_json(layout.folder / "config.json"),
        read_json(layout.folder / "preprocessor_config.json"),
        read_tagged_yaml(layout.decoder / DECODER_FILES[0], "flow", "hift"),
    )


def parse_configs(
    config: dict[str, Any], extractor: dict[str, Any], decoder: dict[str, Any]
) -> Configs:
    """The sizes in the files' contents; raises BundleError as read_configs does."""
    problems = Problems("checkpoint.read_config", "only Fun-Audio-Chat checkpoints work")
    if config.get("model_type") != "funaudiochat":
        raise BundleError(
            "[checkpoint.read_config] expected model_type funaudiochat in config.json, got "
            f"{config.get('model_type')!r}; point to a Fun-Audio-Chat checkpoint"
        )
    text, heard = config.get("text_config", {}), config.get("audio_config", {})
    readers: dict[str, Callable[[], Any]] = {
        "backbone": lambda: BackboneConfig.from_dict(text, "text_config", "qwen3"),
        "encoder": lambda: EncoderConfig.from_dict(heard),
        "head": lambda: HeadConfig.from_dict(heard),
        "flow": lambda: FlowConfig.from_dict(decoder["flow"]),
        "vocoder": lambda: vocoder_config(decoder["hift"]),
        "max_positions": lambda: SectionReader("text_config", text).size("max_position_embeddings"),
        "clip_seconds": lambda: _clip_seconds(extractor),
        "ids": lambda: _ids(config),
    }
    parts = {name: problems.collect(read) for name, read in readers.items()}
    problems.raise_if_any()
    configs = Configs(**parts)
    for what, expected, got in (
        ("features as wide as the backbone", configs.backbone.width, configs.encoder.out_width),
        ("codes of the head as the flow decoder knows", configs.flow.codes, configs.head.start),
        (
            "log-mel channels as the vocoder takes",
            configs.vocoder.n_mels,
            configs.flow.field.n_mels,
        ),
    ):
        if got != expected:
            problems.add(f"expected {what}, {expected}, got {got}")
    problems.raise_if_any()
    return configs


def _ids(config: dict[str, Any]) -> dict[str, int]:
    """What the config says of tokens that the tokenizer names."""
    top, text = SectionReader("config", config), SectionReader("text_config", config["text_config"])
    return {
        AUDIO_PLACEHOLDER: top.size("audio_token_index"),
        AUDIO_BEGIN: text.size("audio_bos_index"),
        AUDIO_END: text.size("audio_eos_index"),
        SILENCE: text.size("sil_index"),
    }


def _clip_seconds(extractor: dict[str, Any]) -> int:
    read = SectionReader("preprocessor_config", extractor)
    read.expect("sampling_rate", front_end.ENCODER_HZ)
    read.expect("n_fft", front_end.N_FFT)
    read.expect("hop_length", front_end.HOP)
    return read.size("chunk_length")


# ---------------------------------------------------------------- provenance


def source_files(checkpoint: Checkpoint) -> dict[str, Path]:
    """Name in the manifest -> path of every file that the bundle is made from."""
    layout = checkpoint.layout
    files = {}
    optional = ("model.safetensors.index.json", SETTINGS_FILE, *TOKENIZER_FILES)
    for name in ("config.json", "preprocessor_config.json", *optional):
        if (layout.folder / name).is_file():
            files[name] = layout.folder / name
    files |= {path.name: path for path in checkpoint.shards.files}
    files |= {f"{DECODER}/{name}": layout.decoder / name for name in DECODER_FILES}
    files[f"{VOICES_FOLDER}/{layout.voices.name}"] = layout.voices
    licence = licence_file(layout.folder)
    if licence is not None:
        files[licence.name] = licence
    return files

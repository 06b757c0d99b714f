"""Find, read and check a Step-Audio 2 checkpoint folder; writes nothing and knows no graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from parley_export import loading
from parley_export.backbone_gguf import TokenModel
from parley_export.config_section import Section, SectionReader, read_json
from parley_export.errors import BundleError, Problems
from parley_export.families.step_audio_2 import modules
from parley_export.families.step_audio_2.configs import (
    AdapterConfig,
    EncoderConfig,
    FlowConfig,
)
from parley_export.families.step_audio_2.prompts import (
    AUDIO_BEGIN,
    CALL_BEGIN,
    CALL_END,
    REQUIRED,
    audio_token,
)
from parley_export.families.step_audio_2.settings import Settings
from parley_export.family import USUAL, Places
from parley_export.family import Checkpoint as ReadCheckpoint
from parley_export.family import Layout as AnyLayout
from parley_export.folder import check_folder
from parley_export.harmonic_vocoder import VocoderConfig, read_vocoder, vocoder_sizes
from parley_export.loading import Module
from parley_export.provenance import licence_file
from parley_export.qwen import BackboneConfig, gguf_names
from parley_export.settings import FILE as SETTINGS_FILE
from parley_export.settings import read_settings
from parley_export.state_dict import read_state_dict, require_torch
from parley_export.tagged_yaml import read_tagged_yaml
from parley_export.tokenizer import FILES as TOKENIZER_FILES
from parley_export.tokenizer import Tokenizer, read_tokenizer
from parley_export.voices import Voice, VoiceSizes, read_voice
from parley_export.weights import Shards

DEFAULT_VOICE = "default"
VOICE_FILES = ("prompt_token.npy", "prompt_mel.npy", "speaker_embed.npy")
DECODER_FILES = ("flow.yaml", "flow.pt", "hift.pt")


@dataclass(frozen=True)
class Layout(AnyLayout):
    """Where the parts of a checkpoint lie; users may point at each of them separately."""

    token2wav: Path
    voice: Path | None  # the user's; none takes those that the checkpoint names


@dataclass(frozen=True)
class Configs:
    """All sizes and numbers of a checkpoint's configs."""

    backbone: BackboneConfig
    encoder: EncoderConfig
    adapter: AdapterConfig
    flow: FlowConfig
    vocoder: VocoderConfig
    max_positions: int

    @property
    def hearing(self) -> tuple[Module, Module]:
        """Encoder and adapter."""
        return (
            Module("encoder", "encoder.", modules.AudioEncoder, self.encoder),
            Module("adapter", "adapter.", modules.AudioAdapter, self.adapter),
        )

    @property
    def speech(self) -> tuple[Module, Module]:
        """Flow decoder and vocoder; folding the vocoder's weight norm computes with its weights."""
        return (
            Module("flow", "flow/", modules.Flow, self.flow),
            Module("vocoder", "vocoder/", modules.Vocoder, self.vocoder, float32=True),
        )

    def token_model(self, tokenizer: Tokenizer) -> TokenModel:
        """The backbone with its vocabulary, for a GGUF file."""
        names = gguf_names(self.backbone, "")
        return TokenModel(names, self.backbone, tokenizer, self.max_positions)


@dataclass(frozen=True)
class Checkpoint(ReadCheckpoint):
    """A checked checkpoint."""

    layout: Layout
    settings: Settings
    configs: Configs
    decoder: dict[str, Any]  # torch tensors of both .pt files, mapped: flow/NAME and vocoder/NAME
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
    layout = Layout(
        folder=checkpoint,
        name=location.partition("@")[0].rpartition("/")[2] or own,
        location=location or own,
        token2wav=places.token2wav or checkpoint / "token2wav",
        voice=places.voice,
    )
    problems = Problems("checkpoint.locate", "point to the folder of a Step-Audio 2 checkpoint")
    if places.decoder_config is not None:
        problems.add("expected no --decoder-config, flow.yaml lies with the decoder, got one")
    if not (checkpoint / "config.json").is_file():
        problems.add(f"expected the file {checkpoint / 'config.json'}, got none")
    for name in DECODER_FILES:
        if not (layout.token2wav / name).is_file():
            hint = "(--token2wav DIR says where else it is)"
            problems.add(f"expected the file {layout.token2wav / name} {hint}, got none")
    for path in voice_folders(layout, read_settings(layout.folder, Settings)).values():
        if not path.is_dir():
            hint = "(--voice DIR says where else, made by parley voice from a recording)"
            problems.add(f"expected a voice in {path} {hint}, got none")
    problems.raise_if_any()
    return layout


def voice_folders(layout: Layout, settings: Settings) -> dict[str, Path]:
    """Name -> folder of every voice that goes into the bundle, the default one first."""
    if layout.voice is None and settings.voices:
        return {name: layout.folder / path for name, path in settings.voices.items()}
    return {DEFAULT_VOICE: layout.voice or layout.token2wav / "voice"}


def read_checkpoint(layout: Layout) -> Checkpoint:
    """Read configs, tokenizer and voice, map the weights, and check all of it.

    Raises:
        BundleError: anything is missing, of a wrong shape or type, or unknown; names all of it.
        LibraryError: torch, safetensors or pyyaml is missing or too old.
    """
    require_torch()
    settings = read_settings(layout.folder, Settings)
    configs = read_configs(layout, settings)
    problems = Problems("checkpoint.read", "fetch the checkpoint's files again")

    codes = [audio_token(code) for code in range(configs.flow.codes + 1)]
    required = (*REQUIRED, codes[0], codes[-1])
    optional = (*codes[1:-1], CALL_BEGIN, CALL_END)
    tokenizer = problems.collect(lambda: read_tokenizer(layout.folder, required, optional))
    shards = problems.collect(lambda: Shards(layout.folder))
    flow = problems.collect(lambda: read_state_dict(layout.token2wav / "flow.pt"))
    vocoder = problems.collect(lambda: read_vocoder(layout.token2wav / "hift.pt"))
    sizes = VoiceSizes(configs.flow.codes, configs.vocoder.n_mels, configs.flow.speaker_width)
    voices = {
        name: problems.collect(lambda folder=folder: read_prompt(folder, sizes))
        for name, folder in voice_folders(layout, settings).items()
    }
    if vocoder is not None:
        configs = replace(configs, vocoder=vocoder_sizes(vocoder, configs.vocoder))
    if tokenizer is not None:
        _check_ids(configs, tokenizer, codes, problems)
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


def read_prompt(folder: Path, sizes: VoiceSizes) -> Voice:
    """A voice whose frames are two a code: cut there, or filled up with the last one."""
    voice = read_voice(folder, VOICE_FILES, sizes)
    rows = [min(i, len(voice.latents) - 1) for i in range(2 * len(voice.tokens))]
    return replace(voice, latents=voice.latents[rows])


def _check_tensors(
    configs: Configs,
    shards: Shards | None,
    decoder: tuple[dict[str, Any] | None, dict[str, Any] | None],
    problems: Problems,
) -> None:
    """Names and shapes of what could be read."""
    if shards is not None:
        names = gguf_names(configs.backbone, "")
        expected = {name: shape for name, (_, shape) in names.items()}
        expected |= loading.module_shapes(*configs.hearing)
        found = {name: info.shape for name, info in shards.tensors.items()}
        loading.compare_shapes("the safetensors files", expected, found, problems)
    for module, file, tensors in zip(configs.speech, DECODER_FILES[1:], decoder, strict=True):
        if tensors is not None:
            found = {module.prefix + name: tuple(t.shape) for name, t in tensors.items()}
            loading.compare_shapes(file, loading.module_shapes(module), found, problems)


def _check_ids(
    configs: Configs, tokenizer: Tokenizer, codes: list[str], problems: Problems
) -> None:
    """Codes lie one behind the other, text before them, and all of it in the vocabulary."""
    first = tokenizer.id_of(codes[0])
    for i, name in enumerate(codes):
        if tokenizer.added.get(name) != first + i:
            got = tokenizer.added.get(name, "none")
            problems.add(f"expected {name} at id {first + i} of the tokenizer, got {got}")
            break
    if tokenizer.id_of(AUDIO_BEGIN) >= first:
        problems.add(f"expected {AUDIO_BEGIN} before {codes[0]} in the tokenizer, got it behind")
    if tokenizer.size > configs.backbone.vocab_size:
        problems.add(
            f"expected at most {configs.backbone.vocab_size} ids in the tokenizer (vocab_size), "
            f"got {tokenizer.size}"
        )


# ---------------------------------------------------------------- configs


def read_configs(layout: Layout, settings: Settings) -> Configs:
    """Read both config files; raises BundleError that names what each section has wrong.

    The vocoder's widths are the published ones; its weights tell the real ones.
    """
    config = read_json(layout.folder / "config.json")
    flow = read_tagged_yaml(layout.token2wav / "flow.yaml", "flow")["flow"]
    configs = parse_configs(config, flow)
    rows = 1 if settings.hidden_row else 0
    return replace(configs, encoder=replace(configs.encoder, hidden_rows=rows))


def parse_configs(config: dict[str, Any], flow: dict[str, Any]) -> Configs:
    """The sizes in both files' contents; raises BundleError as read_configs does."""
    problems = Problems("checkpoint.read_config", "only Step-Audio 2 checkpoints work")
    if config.get("model_type") != "step_audio_2":
        raise BundleError(
            "[checkpoint.read_config] expected model_type step_audio_2 in config.json, got "
            f"{config.get('model_type')!r}; point to a Step-Audio 2 checkpoint"
        )
    text, heard = config.get("text_config", {}), config.get("audio_encoder_config", {})
    readers: dict[str, Callable[[], Any]] = {
        "backbone": lambda: BackboneConfig.from_dict(_qwen2(text), "text_config"),
        "encoder": lambda: EncoderConfig.from_dict(heard),
        "adapter": lambda: AdapterConfig.from_dict(heard),
        "flow": lambda: FlowConfig.from_dict(flow),
        "max_positions": lambda: SectionReader("text_config", text).size("max_position_embeddings"),
    }
    parts = {name: problems.collect(read) for name, read in readers.items()}
    problems.raise_if_any()
    configs = Configs(**parts, vocoder=VocoderConfig())
    if configs.adapter.out_width != configs.backbone.width:
        problems.add(
            f"expected features as wide as the backbone, {configs.backbone.width}, got "
            f"{configs.adapter.out_width} (llm_dim)"
        )
    if configs.flow.field.n_mels != configs.vocoder.n_mels:
        problems.add(
            f"expected {configs.vocoder.n_mels} log-mel channels as the vocoder takes, got "
            f"{configs.flow.field.n_mels}"
        )
    problems.raise_if_any()
    return configs


def _qwen2(section: Section) -> Section:
    """The backbone's section as Qwen2's: the same sizes under a model type of its own."""
    reader = SectionReader("text_config", section)
    reader.expect("model_type", "step_audio_2_text", absent=True)
    reader.expect("num_attention_groups", section.get("num_key_value_heads"), absent=True)
    return {"tie_word_embeddings": False, **section, "model_type": "qwen2"}


# ---------------------------------------------------------------- provenance


def source_files(checkpoint: Checkpoint) -> dict[str, Path]:
    """Name in the manifest -> path of every file that the bundle is made from."""
    layout = checkpoint.layout
    files = {"config.json": layout.folder / "config.json"}
    for name in ("model.safetensors.index.json", SETTINGS_FILE, *TOKENIZER_FILES):
        if (layout.folder / name).is_file():
            files[name] = layout.folder / name
    files |= {path.name: path for path in checkpoint.shards.files}
    files |= {f"token2wav/{name}": layout.token2wav / name for name in DECODER_FILES}
    for voice, folder in voice_folders(layout, checkpoint.settings).items():
        place = "voice" if voice == DEFAULT_VOICE else f"voices/{voice}"
        files |= {f"{place}/{name}": folder / name for name in VOICE_FILES}
    licence = licence_file(layout.folder)
    if licence is not None:
        files[licence.name] = licence
    return files

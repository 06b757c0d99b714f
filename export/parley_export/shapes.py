"""Bundles of the published shapes with random weights, to measure them; reads no checkpoint.

One bundle per stage holds that stage in full and the others small, so that a measurement needs the
memory of one stage. They lie in a folder named after the exporter's own sources, so that a changed
exporter makes new ones, and one that is there is not made again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from parley_export import backbone_gguf, bundle, exporter, loading, random_gguf
from parley_export import tokenizer as tk
from parley_export.families.covo_audio.checkpoint import Checkpoint, Configs, Layout, parse_configs
from parley_export.families.covo_audio.configs import (
    AdapterConfig,
    EncoderConfig,
    FlowConfig,
    VocoderConfig,
)
from parley_export.families.covo_audio.voices import Voice
from parley_export.progress import MemoryWatch, size
from parley_export.settings import Settings
from parley_export.weights import TensorInfo

PUBLISHED_FILE = Path(__file__).parent / "families/covo_audio/published.json"
PUBLISHED = json.loads(PUBLISHED_FILE.read_text("utf-8"))
STAGES = ("encoder", "backbone", "flow", "vocoder")
WHOLE = "whole"  # all stages in full
PLAIN = "-plain"  # behind a stage: without the engine's own operators
TEXT_IDS = 300  # of a small vocabulary, special names and all
WRITE_PER_S = 0.25e9  # bytes per second on two cores, random numbers and hashes included

SMALL_ENCODER = EncoderConfig(
    width=64, layers=1, heads=2, ffn_width=64, n_mels=128, positions=1500, left_context_frames=64
)
SMALL_FLOW = {"layers": 1, "hidden": 64, "ffn_width": 64, "heads": 2, "code_width": 8}
SMALL_WIDTH = 64


@dataclass(frozen=True)
class Plan:
    """One bundle to make: which stage is in full, and what it will take."""

    stage: str
    folder: Path
    configs: Configs
    settings: Settings
    backbone: str
    graphs: str
    fused: bool
    bytes: int
    done: bool

    @property
    def seconds(self) -> float:
        """A guess, from two cores."""
        return 0.0 if self.done else self.bytes / WRITE_PER_S


class RandomShards:
    """Stands in for a checkpoint's files: a tensor is drawn when it is read."""

    def __init__(self, configs: Configs) -> None:
        shapes = backbone_gguf.expected_tensors(configs.backbone) | loading.module_shapes(
            **{part: getattr(configs, part) for part in loading.PARTS}
        )
        nowhere = Path("random")
        self.tensors = {name: TensorInfo(nowhere, "F32", shape) for name, shape in shapes.items()}
        self.files: list[Path] = []

    def read(self, name: str) -> Any:
        """A torch tensor of a deviation that keeps activations near unit size."""
        import torch

        shape, leaf = self.tensors[name].shape, name.rsplit(".", 1)[-1]
        if "norm" in name and leaf == "weight":
            return torch.ones(shape)
        if leaf in ("bias", "alpha", "beta"):
            return torch.zeros(shape)
        if leaf == "weight_g":
            return torch.full(shape, 0.5)
        draw = torch.Generator().manual_seed(sum(name.encode()))
        bound = math.sqrt(3.0 / max(1, math.prod(shape[1:])))
        return torch.empty(shape).uniform_(-bound, bound, generator=draw)

    def close(self) -> None:
        pass


class RandomJob(exporter.Job):
    """An export whose backbone is written quantized instead of being quantized."""

    def _sources(self) -> dict[str, Path]:
        return {}

    def _licence(self) -> tuple[str | None, str, str]:
        return None, "none", "random weights of the published shapes: for measurements only"

    def _backbone(self) -> dict[str, Any]:
        if self.options.backbone != "q4_k_m":
            return super()._backbone()
        configs = self.checkpoint.configs
        with self.progress.step("writing the backbone"):
            random_gguf.write_random_q4_k_m(
                self.folder / exporter.BACKBONE_FILE,
                configs.backbone,
                self.checkpoint.tokenizer,
                name=self.options.layout.name,
                max_positions=configs.max_positions,
                progress=self.progress.update,
            )
        return {"precision": "q4_k_m", "types": "random Q4_K and Q6_K", "fallback": []}

    def _steps(self) -> dict[str, float]:
        return super()._steps() | {"writing the backbone": 1.0}


def plan(
    cache: Path, stages: Iterable[str], backbone: str, graphs: str, settings: Settings
) -> list[Plan]:
    """What there is and what is to be made for `stages` (of STAGES and WHOLE, maybe with PLAIN)."""
    plans = []
    for wanted in stages:
        stage, fused = wanted.removesuffix(PLAIN), not wanted.endswith(PLAIN)
        configs = stage_configs(stage)
        kind = backbone if stage in ("backbone", WHOLE) else "f32"
        name = f"{wanted}-{kind}-{graphs}-{_digest(settings)}"
        folder = cache / _digest(*_sources()) / name
        parts = exporter.part_bytes_of(configs, settings, duplex=True, graphs=graphs)
        total = sum(parts.values()) + backbone_gguf.estimated_bytes(configs.backbone, kind)
        there = (folder / bundle.MANIFEST).is_file()
        plans.append(Plan(wanted, folder, configs, settings, kind, graphs, fused, total, there))
    return plans


def make(wanted: Plan, memory: MemoryWatch) -> None:
    """Write one bundle, whole or not at all.

    Raises:
        OSError: the disk is full (nothing is written then) or cannot be written.
        LibraryError: a package of the extra `export` is missing.
    """
    if wanted.done:
        return
    wanted.folder.parent.mkdir(parents=True, exist_ok=True)
    bundle.check_space(wanted.folder.parent, int(1.05 * wanted.bytes) + exporter.SPARE_BYTES)
    configs = wanted.configs
    layout = Layout(
        folder=Path(),
        token2wav=Path(),
        decoder_config=Path(),
        voice=None,
        name=f"random weights, {wanted.stage} in full",
        location="random",
    )
    checkpoint = Checkpoint(
        layout=layout,
        configs=configs,
        tokenizer=tokenizer_of(configs.audio_begin),
        shards=RandomShards(configs),  # type: ignore[arg-type]
        decoder={},
        latent_mean=np.zeros(configs.flow.z, np.float32),
        latent_var=np.ones(configs.flow.z, np.float32),
        voices={"default": voice_of(configs)},
        settings=wanted.settings,
    )
    options = exporter.Options(
        layout=layout,
        out=wanted.folder,
        backbone=wanted.backbone,
        graphs=wanted.graphs,
        duplex=True,
        system="",
        fused=wanted.fused,
    )
    exporter.write_bundle(RandomJob, checkpoint, options, memory)


def stage_configs(stage: str) -> Configs:
    """The published sizes of one stage (or all, WHOLE), and small ones that fit to it."""
    full = parse_configs(PUBLISHED["config"], PUBLISHED["decoder"])
    if stage == WHOLE:
        return full
    width = full.backbone.width if stage in ("encoder", "backbone") else SMALL_WIDTH
    codes = full.flow.codes if stage in ("backbone", "flow") else 32
    text = full.audio_begin if stage == "backbone" else TEXT_IDS
    encoder = full.encoder if stage == "encoder" else SMALL_ENCODER
    if stage != "backbone":
        heads = width // 64
        backbone = replace(
            full.backbone,
            width=width,
            ffn_width=64,
            layers=1,
            heads=heads,
            kv_heads=heads,
            head_width=64,
            vocab_size=text + codes,
        )
    else:
        backbone = full.backbone
    hidden = full.adapter.hidden if stage == "encoder" else 64
    adapter = AdapterConfig(encoder.width, width, full.adapter.stages, hidden)
    flow: FlowConfig = full.flow
    if stage != "flow":
        flow = replace(full.flow, codes=codes, **SMALL_FLOW)
    vocoder: VocoderConfig = full.vocoder
    if stage != "vocoder":
        vocoder = replace(
            full.vocoder, width=SMALL_WIDTH, block_kernels=(3,), block_dilations=((1,),)
        )
    return replace(
        full,
        backbone=backbone,
        encoder=encoder,
        adapter=adapter,
        flow=flow,
        vocoder=vocoder,
        audio_begin=text,
    )


def tokenizer_of(n: int) -> tk.Tokenizer:
    """A vocabulary of `n` ids: bytes, made-up words, and the special names at the end."""
    special = [*tk.REQUIRED, *tk.DUPLEX_CONTROL]
    plain = _byte_letters()
    words = [f"w{i}" for i in range(n - len(plain) - len(special))]
    tokens = [*plain, *words, *special]
    ids = {name: tokens.index(name) for name in special}
    return tk.Tokenizer(tokens, [], dict(ids), ids, "qwen2")


def _byte_letters() -> list[str]:
    """The printable stand-ins that byte-level BPE has for the 256 bytes (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    letters = {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(rest)}
    return [letters[b] for b in range(256)]


def voice_of(configs: Configs) -> Voice:
    """A voice of the published length."""
    draw, sizes = np.random.default_rng(0), PUBLISHED["voice"]
    return Voice(
        tokens=draw.integers(0, configs.flow.codes, sizes["codes"]).astype("<i4"),
        latents=draw.standard_normal((sizes["latent_frames"], configs.flow.z)).astype("<f4"),
        speaker=draw.standard_normal(configs.flow.speaker_width).astype("<f4"),
    )


def describe(plans: Iterable[Plan]) -> list[str]:
    """What will be made, in lines for people."""
    lines = []
    for wanted in plans:
        about = "is there" if wanted.done else f"to make, about {wanted.seconds:.0f} s"
        lines.append(f"  {wanted.stage:13s} {size(wanted.bytes):>8s}  {about}")
    return lines


def left_over(cache: Path) -> list[Path]:
    """Folders that another version of the exporter made; nothing uses them any more."""
    ours = _digest(*_sources())
    return sorted(path for path in cache.glob("*/") if path.name != ours and path.is_dir())


def _sources() -> list[bytes]:
    files = sorted(Path(__file__).parent.rglob("*.py"))
    return [path.read_bytes() for path in [*files, PUBLISHED_FILE]]


def _digest(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else repr(part).encode())
    return digest.hexdigest()[:8]

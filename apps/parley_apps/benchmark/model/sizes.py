"""Sizes of the four stages that decide what a chunk costs; knows no cost and no machine.

They come from the published config, or from a bundle's own graph and GGUF files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parley_apps.benchmark.model import weight_files


@dataclass(frozen=True)
class EncoderSizes:
    """`stem` and `adapter` are weights; the adapter's act at 4, 2, 1 positions per feature."""

    width: int
    layers: int
    ffn: int
    positions: int  # encoder frames of a whole segment
    left_context: int  # encoder frames
    stem: int
    adapter: tuple[int, ...]  # of each halving stage
    chunk_frames: int = 8

    @property
    def layer_weights(self) -> int:
        return self.layers * (4 * self.width**2 + 2 * self.width * self.ffn)

    @property
    def weights(self) -> int:
        return self.layer_weights + self.stem + sum(self.adapter)


@dataclass(frozen=True)
class BackboneSizes:
    """`body_bytes`, `head_bytes`: what one pass reads of a file; None where there is no file."""

    body: int  # weights
    width: int
    layers: int
    kv_width: int
    text_rows: int
    audio_rows: int
    body_bytes: int | None = None
    head_bytes: int | None = None

    @property
    def rows(self) -> int:
        return self.text_rows + self.audio_rows


@dataclass(frozen=True)
class FlowSizes:
    """`rest`: weights before and after the blocks; `modulation` act once per evaluation."""

    hidden: int
    layers: int
    blocks: int  # weights
    rest: int  # weights
    modulation: int  # weights
    frames_per_code: int = 4

    @property
    def weights(self) -> int:
        return self.blocks + self.rest


@dataclass(frozen=True)
class VocoderSizes:
    """Multiply-adds and values that pass an activation, for one latent frame."""

    weights: int
    macs: int
    activated: int


@dataclass(frozen=True)
class Sizes:
    """All four."""

    encoder: EncoderSizes
    backbone: BackboneSizes
    flow: FlowSizes
    vocoder: VocoderSizes


def from_config(config: dict[str, Any], decoder: dict[str, Any]) -> Sizes:
    """From a checkpoint's two config files as they are published."""
    llm, model = config["llm_config"], decoder["model"]
    return Sizes(
        encoder=_encoder_of_config(config),
        backbone=_backbone_of_config(llm, config["audio_token_index"]),
        flow=_flow_of_config(model["token2latent"]),
        vocoder=_vocoder_of_config(model["wavegan"]),
    )


def _encoder_of_config(config: dict[str, Any]) -> EncoderSizes:
    enc, out = config["encoder_config"], config["llm_config"]["hidden_size"]
    width, hidden = enc["d_model"], config.get("adapter_hidden", 2048)
    stages = int(math.log2(config["adapter_downsample"]))
    outs = [width] * (stages - 1) + [out]
    return EncoderSizes(
        width=width,
        layers=enc["encoder_layers"],
        ffn=enc["encoder_ffn_dim"],
        positions=enc["max_source_positions"],
        left_context=enc.get("left_context_frames", 64),
        stem=3 * enc["num_mel_bins"] * width + 3 * width * width,
        adapter=tuple(3 * width * width + width * hidden + hidden * o for o in outs),
        chunk_frames=enc.get("chunk_frames", 8),
    )


def _backbone_of_config(llm: dict[str, Any], text_rows: int) -> BackboneSizes:
    width, heads = llm["hidden_size"], llm["num_attention_heads"]
    kv = llm["num_key_value_heads"] * (width // heads)
    layer = 2 * width * width + 2 * width * kv + 3 * width * llm["intermediate_size"]
    layers = llm["num_hidden_layers"]
    return BackboneSizes(
        body=layers * layer,
        width=width,
        layers=layers,
        kv_width=kv,
        text_rows=text_rows,
        audio_rows=llm["vocab_size"] - text_rows,
    )


def _flow_of_config(section: dict[str, Any]) -> FlowSizes:
    inner, z = section["transformer"], section["z_dim"]
    hidden, layers = inner["hidden_size"], inner["num_layers"]
    kernel, groups = 31, 16
    return FlowSizes(
        hidden=hidden,
        layers=layers,
        blocks=layers * (4 * hidden**2 + 2 * hidden * inner["ffn_hidden_size"]),
        rest=(hidden + 2 * z) * hidden + hidden * (hidden // groups) * kernel + hidden * z,
        modulation=(6 * layers + 2) * hidden**2,
        frames_per_code=section["upsample_factor"],
    )


def _vocoder_of_config(section: dict[str, Any]) -> VocoderSizes:
    rates, width = section["upsample_rates"], section["upsample_initial_channel"]
    widths = section.get("stage_channels") or [width >> (i + 1) for i in range(len(rates))]
    layers = [("pre", (width, section["latent_dim"], 7))]
    before = width
    for stage, (rate, after) in enumerate(zip(rates, widths, strict=True)):
        layers.append((f"ups.{stage}", (before, after, 2 * rate)))
        for kernel, dilations in zip(
            section["resblock_kernel_sizes"], section["resblock_dilation_sizes"], strict=True
        ):
            layers += [(f"stage.{stage}", (after, after, kernel))] * (2 * len(dilations))
        before = after
    return _vocoder_of_layers([*layers, ("post", (1, before, 7))], rates)


def _vocoder_of_layers(
    layers: Sequence[tuple[str, tuple[int, ...]]], rates: list[int]
) -> VocoderSizes:
    """`layers`: place (pre, ups.N, stage.N, post) and shape of each convolution's weight."""
    weights = macs = activated = 0
    for place, shape in layers:
        n = math.prod(shape)
        kind, _, index = place.partition(".")
        # A transposed convolution multiplies every input; a stage's others work on its output.
        done = {"pre": 0, "ups": int(index or 0), "stage": int(index or 0) + 1}.get(
            kind, len(rates)
        )
        speed = math.prod(rates[:done])
        weights += n
        macs += n * speed
        if kind in ("stage", "post"):
            activated += shape[1] * speed
    return VocoderSizes(weights, macs, activated)


def from_bundle(folder: Path, manifest: dict[str, Any]) -> Sizes:
    """From the files of a bundle; the encoder's are those of its chunk form if it has one."""
    graphs = manifest["graphs"]

    def weights(name: str) -> dict[str, tuple[int, ...]]:
        return weight_files.onnx_shapes(folder / graphs[name]["file"])

    hearing = "encoder_chunk" if "encoder_chunk" in graphs else "encoder_segment"
    return Sizes(
        encoder=_encoder_of_graph(weights(hearing), manifest),
        backbone=_backbone_of_file(folder / manifest["backbone"]["file"], manifest),
        flow=_flow_of_graphs(weights("flow_field"), weights("flow_modulation"), manifest),
        vocoder=_vocoder_of_graph(weights("vocoder")),
    )


Shapes = dict[str, tuple[int, ...]]


def _total(shapes: Shapes, prefix: str = "") -> int:
    """Weights of matrices and convolutions; vectors cost nothing worth counting."""
    sizes = (s for n, s in shapes.items() if n.startswith(prefix) and math.prod(s[1:]) > 1)
    return sum(math.prod(s) for s in sizes)


def _encoder_of_graph(shapes: Shapes, manifest: dict[str, Any]) -> EncoderSizes:
    width, ffn = shapes["layers.0/fc1.weight"]
    layers = len({name.split("/")[0] for name in shapes if name.startswith("layers.")})
    stages = sorted({name.split("/")[0] for name in shapes if name.startswith("adapter.")})
    duplex = manifest["duplex"] or {}
    return EncoderSizes(
        width=width,
        layers=layers,
        ffn=ffn,
        positions=shapes["embed_positions"][0],
        left_context=duplex.get("left_context_frames", 0),
        stem=_total(shapes, "conv"),
        adapter=tuple(_total(shapes, f"{stage}/") for stage in stages),
        chunk_frames=duplex.get("chunk_mel_frames", 16) // 2,
    )


def _backbone_of_file(path: Path, manifest: dict[str, Any]) -> BackboneSizes:
    tensors = weight_files.gguf_tensors(path)
    layers = len({name.split(".")[1] for name in tensors if name.startswith("blk.")})
    body = {name: t for name, t in tensors.items() if name.startswith("blk.")}
    audio = manifest["vocabulary"]["audio_codes"]
    return BackboneSizes(
        body=sum(math.prod(t.shape) for t in body.values() if len(t.shape) > 1),
        width=manifest["backbone"]["width"],
        layers=layers,
        kv_width=tensors["blk.0.attn_k.weight"].shape[0],
        text_rows=manifest["backbone"]["vocab_size"] - audio,
        audio_rows=audio,
        body_bytes=sum(t.n_bytes for t in body.values()),
        head_bytes=tensors["output.weight"].n_bytes,
    )


def _flow_of_graphs(field: Shapes, modulation: Shapes, manifest: dict[str, Any]) -> FlowSizes:
    return FlowSizes(
        hidden=manifest["flow"]["hidden"],
        layers=len({name.split("/")[0] for name in field if name.startswith("blocks.")}),
        blocks=_total(field, "blocks."),
        rest=_total({n: s for n, s in field.items() if not n.startswith("blocks.")}),
        modulation=_total(modulation, "modulation."),
        frames_per_code=manifest["flow"]["frames_per_code"],
    )


def _vocoder_of_graph(shapes: Shapes) -> VocoderSizes:
    ups = sorted(n for n in shapes if n.startswith("ups.") and n.endswith("weight"))
    rates = [shapes[name][2] // 2 for name in ups]
    blocks = {int(n.split(".")[1].split("/")[0]) for n in shapes if n.startswith("resblocks.")}
    per_stage = max(1, len(blocks) // max(1, len(rates)))
    layers = []
    for name, shape in shapes.items():
        if len(shape) != 3 or not name.endswith(".weight") or "filters" in name:
            continue
        if name.startswith("ups."):
            place = f"ups.{name.split('.')[1]}"
        elif name.startswith("resblocks."):
            place = f"stage.{int(name.split('.')[1].split('/')[0]) // per_stage}"
        else:
            place = "post" if "post" in name else "pre"
        layers.append((place, shape))
    return _vocoder_of_layers(layers, rates)

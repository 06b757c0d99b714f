"""The graphs of a Covo-Audio bundle and what each is made from; knows no checkpoint file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from parley_export.families.covo_audio import probes, work
from parley_export.families.covo_audio.checkpoint import Checkpoint
from parley_export.families.covo_audio.encoder_graphs import (
    export_encoder_chunk,
    export_encoder_segment,
)
from parley_export.families.covo_audio.flow_graphs import (
    export_flow_condition,
    export_flow_field,
    export_flow_modulation,
)
from parley_export.families.covo_audio.vocoder_graphs import export_vocoder
from parley_export.family import Choices, Part, Probe
from parley_export.graph_builder import GraphInfo
from parley_export.loading import Module, count_weights

# Graph -> what writes it, and what looks inside.
GRAPHS: dict[str, tuple[Callable[..., GraphInfo], Callable[..., Probe]]] = {
    "encoder_segment": (export_encoder_segment, probes.encoder_segment),
    "encoder_chunk": (export_encoder_chunk, probes.encoder_chunk),
    "flow_condition": (export_flow_condition, probes.flow_condition),
    "flow_modulation": (export_flow_modulation, probes.flow_modulation),
    "flow_field": (export_flow_field, probes.flow_field),
    "vocoder": (export_vocoder, probes.vocoder),
}


def parts(checkpoint: Checkpoint, choices: Choices) -> list[Part]:
    """Those that the checkpoint's modes need, encoder first."""
    configs, settings = checkpoint.configs, checkpoint.settings
    width, precision = choices.graph_bytes, {"precision": choices.graphs}
    hearing, (flow, vocoder) = configs.hearing, configs.speech
    heard = width * count_weights(*hearing)
    known = width * configs.flow.codes * configs.flow.code_width
    # Nearly all of the modulation graph is one linear layer per block.
    modulation = width * (6 * configs.flow.layers + 2) * configs.flow.hidden**2
    field = max(0, width * count_weights(flow) - known - modulation)
    cache = {**precision, "cache": settings.flow_cache or choices.graphs}
    voice = {"precision": choices.vocoder or choices.graphs, "fused": choices.fused}
    found = [
        *([_part("encoder_segment", hearing, heard, precision)] if settings.turns else []),
        *([_part("encoder_chunk", hearing, heard, precision)] if choices.duplex else []),
        _part("flow_condition", (flow,), known, precision),
        _part("flow_modulation", (flow,), modulation, precision),
        _part("flow_field", (flow,), field, cache),
        _part("vocoder", (vocoder,), width * count_weights(vocoder), voice),
    ]
    counted = work.of(configs.encoder, configs.adapter, configs.flow, configs.vocoder)
    return [replace(part, work=counted.get(part.name)) for part in found]


def _part(name: str, modules: tuple[Module, ...], n_bytes: int, choices: dict[str, Any]) -> Part:
    export, probe = GRAPHS[name]
    return Part(name, modules, export, n_bytes, choices, probe)

"""The graphs of a Step-Audio 2 bundle and what each is made from; knows no checkpoint file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from parley_export.families.step_audio_2 import probes, work
from parley_export.families.step_audio_2.checkpoint import Checkpoint
from parley_export.families.step_audio_2.encoder_graphs import export_encoder_segment
from parley_export.families.step_audio_2.flow_graphs import (
    export_flow_encoder,
    export_flow_field,
    export_flow_modulation,
)
from parley_export.family import Choices, Part, Probe
from parley_export.graph_builder import GraphInfo
from parley_export.harmonic_vocoder_graph import export_vocoder
from parley_export.loading import Module, count_weights

FIELD = "decoder.estimator."
# Graph -> what writes it, and what looks inside.
GRAPHS: dict[str, tuple[Callable[..., GraphInfo], Callable[..., Probe]]] = {
    "encoder_segment": (export_encoder_segment, probes.encoder_segment),
    "flow_encoder": (export_flow_encoder, probes.flow_encoder),
    "flow_modulation": (export_flow_modulation, probes.flow_modulation),
    "flow_field": (export_flow_field, probes.flow_field),
    "vocoder_with_noise": (export_vocoder, probes.vocoder_with_noise),
}


def parts(checkpoint: Checkpoint, choices: Choices) -> list[Part]:
    """All graphs, encoder first."""
    configs, settings = checkpoint.configs, checkpoint.settings
    width, precision = choices.graph_bytes, {"precision": choices.graphs}
    hearing, (flow, vocoder) = configs.hearing, configs.speech
    all_flow, in_field = count_weights(flow), count_weights(flow, below=FIELD)
    # Nearly all of the modulation graph is one linear layer per block.
    modulation = (9 * configs.flow.field.layers + 2) * configs.flow.field.hidden**2
    past = {**precision, "past_codes": settings.encoder_past_codes}
    cache = {**precision, "cache": settings.flow_cache or choices.graphs}
    voice = {"precision": choices.vocoder or choices.graphs}

    found = [
        _part("encoder_segment", hearing, width * count_weights(*hearing), precision),
        _part("flow_encoder", (flow,), width * (all_flow - in_field), past),
        _part("flow_modulation", (flow,), width * modulation, precision),
        _part("flow_field", (flow,), width * (in_field - modulation), cache),
        _part("vocoder_with_noise", (vocoder,), width * count_weights(vocoder), voice),
    ]
    counted = work.of(configs.encoder, configs.adapter, configs.flow, configs.vocoder)
    return [replace(part, work=counted.get(part.name)) for part in found]


def _part(name: str, modules: tuple[Module, ...], n_bytes: int, choices: dict[str, Any]) -> Part:
    export, probe = GRAPHS[name]
    return Part(name, modules, export, n_bytes, choices, probe)

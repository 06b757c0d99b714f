"""The graphs of a Fun-Audio-Chat bundle and what each is made from; knows no checkpoint file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parley_export.families.fun_audio_chat import probes
from parley_export.families.fun_audio_chat.checkpoint import Checkpoint
from parley_export.families.fun_audio_chat.encoder_graphs import export_encoder_segment
from parley_export.families.fun_audio_chat.flow_graphs import (
    export_flow_encoder,
    export_flow_field,
    export_flow_modulation,
)
from parley_export.families.fun_audio_chat.head_graphs import export_head_input, export_head_slots
from parley_export.family import Choices, Part, Probe
from parley_export.graph_builder import GraphInfo
from parley_export.harmonic_vocoder_graph import export_vocoder
from parley_export.loading import Module, count_weights

FIELD = "decoder.estimator."
# Graph -> what writes it, and what looks inside.
GRAPHS: dict[str, tuple[Callable[..., GraphInfo], Callable[..., Probe]]] = {
    "encoder_segment": (export_encoder_segment, probes.encoder_segment),
    "head_input": (export_head_input, probes.head_input),
    "head_slots": (export_head_slots, probes.head_slots),
    "flow_encoder": (export_flow_encoder, probes.flow_encoder),
    "flow_modulation": (export_flow_modulation, probes.flow_modulation),
    "flow_field": (export_flow_field, probes.flow_field),
    "vocoder_with_noise": (export_vocoder, probes.vocoder_with_noise),
}


def parts(checkpoint: Checkpoint, choices: Choices) -> list[Part]:
    """All graphs, encoder first."""
    configs, settings = checkpoint.configs, checkpoint.settings
    precision, head = {"precision": choices.graphs}, configs.head
    hearing, (flow, vocoder) = configs.hearing, configs.speech
    square = head.backbone_width**2
    all_flow, in_field = count_weights(flow), count_weights(flow, below=FIELD)
    # Nearly all of the modulation graph is one linear layer per block.
    modulation = (6 * configs.flow.field.layers + 2) * configs.flow.field.hidden**2
    slots = head.group * head.layers.width * (head.backbone_width + 1)
    cache = {**precision, "cache": settings.flow_cache or choices.graphs}
    voice = {"precision": choices.vocoder or choices.graphs}

    def part(name: str, modules: tuple[Module, ...], n: int, chosen: dict[str, Any]) -> Part:
        export, probe = GRAPHS[name]
        return Part(name, modules, export, choices.graph_bytes * n, chosen, probe)

    return [
        part("encoder_segment", hearing, count_weights(hearing[0]) + square, precision),
        part("head_input", (configs.tower,), square + head.table * head.backbone_width, precision),
        part("head_slots", (configs.speech_head,), slots, precision),
        part("flow_encoder", (flow,), all_flow - in_field, precision),
        part("flow_modulation", (flow,), modulation, precision),
        part("flow_field", (flow,), in_field - modulation, cache),
        part("vocoder_with_noise", (vocoder,), count_weights(vocoder), voice),
    ]

"""The graphs of a Covo-Audio bundle and what each is made from; knows no checkpoint file."""

from __future__ import annotations

import math

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
from parley_export.family import Choices, Part
from parley_export.loading import Module, module_shapes


def parts(checkpoint: Checkpoint, choices: Choices) -> list[Part]:
    """Those that the checkpoint's modes need, encoder first."""
    configs, settings = checkpoint.configs, checkpoint.settings
    width, precision = choices.graph_bytes, {"precision": choices.graphs}
    hearing, (flow, vocoder) = configs.hearing, configs.speech
    heard = width * _weights(*hearing)
    known = width * configs.flow.codes * configs.flow.code_width
    # Nearly all of the modulation graph is one linear layer per block.
    modulation = width * (6 * configs.flow.layers + 2) * configs.flow.hidden**2
    field = max(0, width * _weights(flow) - known - modulation)
    cache = {**precision, "cache": settings.flow_cache or choices.graphs}
    voice = {"precision": choices.vocoder or choices.graphs, "fused": choices.fused}
    segment = Part("encoder_segment", hearing, export_encoder_segment, heard, precision)
    chunk = Part("encoder_chunk", hearing, export_encoder_chunk, heard, precision)
    return [
        *([segment] if settings.turns else []),
        *([chunk] if choices.duplex else []),
        Part("flow_condition", (flow,), export_flow_condition, known, precision),
        Part("flow_modulation", (flow,), export_flow_modulation, modulation, precision),
        Part("flow_field", (flow,), export_flow_field, field, cache),
        Part("vocoder", (vocoder,), export_vocoder, width * _weights(vocoder), voice),
    ]


def _weights(*modules: Module) -> int:
    return sum(math.prod(shape) for shape in module_shapes(*modules).values())

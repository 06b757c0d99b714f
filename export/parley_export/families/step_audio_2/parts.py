"""The graphs of a Step-Audio 2 bundle and what each is made from; knows no checkpoint file."""

from __future__ import annotations

import math

from parley_export.families.step_audio_2.checkpoint import Checkpoint
from parley_export.families.step_audio_2.encoder_graphs import export_encoder_segment
from parley_export.families.step_audio_2.flow_graphs import (
    export_flow_encoder,
    export_flow_field,
    export_flow_modulation,
)
from parley_export.families.step_audio_2.vocoder_graphs import export_vocoder
from parley_export.family import Choices, Part
from parley_export.loading import Module, module_shapes

FIELD = "decoder.estimator."


def parts(checkpoint: Checkpoint, choices: Choices) -> list[Part]:
    """All graphs, encoder first."""
    configs, settings = checkpoint.configs, checkpoint.settings
    width, precision = choices.graph_bytes, {"precision": choices.graphs}
    hearing, (flow, vocoder) = configs.hearing, configs.speech
    all_flow, in_field = _weights(flow), _weights(flow, below=FIELD)
    # Nearly all of the modulation graph is one linear layer per block.
    modulation = (9 * configs.flow.field.layers + 2) * configs.flow.field.hidden**2
    past = {**precision, "past_codes": settings.encoder_past_codes}
    cache = {**precision, "cache": settings.flow_cache or choices.graphs}
    voice = {"precision": choices.vocoder or choices.graphs}

    return [
        Part(
            "encoder_segment",
            hearing,
            export_encoder_segment,
            width * _weights(*hearing),
            precision,
        ),
        Part("flow_encoder", (flow,), export_flow_encoder, width * (all_flow - in_field), past),
        Part("flow_modulation", (flow,), export_flow_modulation, width * modulation, precision),
        Part("flow_field", (flow,), export_flow_field, width * (in_field - modulation), cache),
        Part("source_vocoder", (vocoder,), export_vocoder, width * _weights(vocoder), voice),
    ]


def _weights(*modules: Module, below: str = "") -> int:
    """How many they have, of those whose names begin with `below`."""
    return sum(
        math.prod(shape)
        for module in modules
        for name, shape in module_shapes(module).items()
        if name.startswith(module.prefix + below)
    )

"""The work of the four stages that decide what a chunk costs; knows no cost and no machine.

It comes from a family's sizes, or from a bundle's manifest.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parley import BundleError
from parley_export import families
from parley_export.work import Work, Works

# Stage -> its graphs of which a chunk runs the first that is there.
GRAPHS = {
    "encoder": ("encoder_chunk", "encoder_segment"),
    "field": ("flow_field",),
    "modulation": ("flow_modulation",),
    "codes": ("flow_encoder",),
    "vocoder": ("vocoder", "vocoder_with_noise"),
}
NONE = Work(0, 0)


@dataclass(frozen=True)
class Sizes:
    """Of each stage; `codes` is what the flow decoder does once for a chunk.

    audio_share: of the logits' weights, what a draw of a code reads where they are read in parts.
    """

    encoder: Work
    backbone: Work
    logits: Work
    field: Work
    modulation: Work
    codes: Work
    vocoder: Work
    audio_share: float


def published() -> Sizes:
    """Of the family whose published sizes the ways of cost.py are those of."""
    first = next(iter(families.FAMILIES.values())).rpartition(".")[0]
    return of(importlib.import_module(f"{first}.work").published())


def of(works: Works) -> Sizes:
    """Sorts graphs by stages; the encoder's is that of its chunk form if it has one."""
    graphs = works.graphs
    stages = {
        stage: next((graphs[name] for name in names if name in graphs), NONE)
        for stage, names in GRAPHS.items()
    }
    share = works.audio_share
    return Sizes(**stages, backbone=works.backbone, logits=works.logits, audio_share=share)


def of_bundle(manifest: Mapping[str, Any]) -> Sizes:
    """From what a bundle's manifest says. Raises BundleError where it does not."""
    backbone = manifest["backbone"]
    graphs = {n: Work(**g["work"]) for n, g in manifest["graphs"].items() if "work" in g}
    if "work" not in backbone or not {"flow_field", "flow_modulation"} <= set(graphs):
        raise BundleError(
            f"[bench.simulate] expected a bundle that tells the work of its graphs, got "
            f"{manifest['name']} without; export it again with this version of parley"
        )
    share = manifest["vocabulary"]["audio_codes"] / backbone["vocab_size"]
    return of(Works(graphs, Work(**backbone["work"]), Work(**backbone["logits"]), share))

"""What lies between backbone and speech head, both ways, as graphs; knows no decoder and no cache.

Linear layers that follow each other are folded into one: a position's slots come out as wide as the
head is, a quarter of what two layers would read.
"""

from __future__ import annotations

from pathlib import Path

from parley_export import contract
from parley_export.families.fun_audio_chat.modules import AudioTower, SpeechHead
from parley_export.graph_builder import GraphBuilder, GraphInfo


def export_head_slots(head: SpeechHead, path: Path, precision: str = "f32") -> GraphInfo:
    """Backbone states and texts of positions to the rows that the head is fed, but for the codes'.

    To each of them the embedding of the code before it is added.
    """
    inner = head.config.layers.width
    sizes = {"width": head.config.backbone_width, "head_width": inner}
    g = GraphBuilder(contract.graph("head_slots"), sizes, precision)
    x = g.op("Add", g.input("hidden"), g.input("text"))
    x = g.op("MatMul", x, g.weight("slots.weight", lambda: head.folded_slots()[0].T))
    x = g.op("Add", x, g.weight("slots.bias", lambda: head.folded_slots()[1]))
    g.output("slots", g.op("Reshape", x, g.ints(-1, inner)))
    return g.save(path)


def export_head_input(tower: AudioTower, path: Path, precision: str = "f32") -> GraphInfo:
    """A text token's embedding and a group of codes to the next backbone input."""
    config = tower.config
    sizes = {"width": config.backbone_width, "group": config.group}
    g = GraphBuilder(contract.graph("head_input"), sizes, precision)
    table = g.weight("embed_tokens", tower.embed_tokens.weight)
    rows = g.op("Gather", table, g.input("codes"))
    mean = g.op("ReduceMean", rows, g.ints(0), keepdims=1)
    said = g.linear(mean, tower.output_matching, "output_matching")
    both = g.op("Add", g.input("text"), said)
    g.output("row", g.op("Mul", both, g.scalar(0.5)))
    return g.save(path)

"""The layers of tests/README.md: tells from what a test uses to which one it belongs."""

from __future__ import annotations

import functools
from pathlib import Path

import source_reading as reading

# Layer -> what it is in few words; the later one wins. These are pytest's markers.
LAYERS = {
    "unit": "no models",
    "synthetic": "graphs whose output follows a formula, scripted stages",
    "golden": "a tiny checkpoint with reproducible random weights",
    "nano": "the small model that ships",
    "device": "a GPU",
}
# Helper modules and fixtures -> the layer of a test that uses them.
USES = {
    "scripted_bundle": "synthetic",
    "scripted_core": "synthetic",
    "scripted_workbench": "synthetic",
    "tiny_checkpoint": "golden",
    "tiny_models": "golden",
    "small_checkpoint": "golden",
    "tiny_bundle": "golden",
    "step_audio_2_bundle": "golden",
    "fun_audio_chat_bundle": "golden",
    "intact_checkpoint": "golden",
    "checkpoint": "golden",
    "bundle_run": "nano",
}


@functools.cache
def imports(path: Path) -> frozenset[str]:
    return frozenset(m.split(".")[0] for m in reading.python_imports(path.read_text("utf-8")))


def layer_of(path: Path, fixtures: list[str], marks: set[str]) -> str:
    """The layer that a test is marked with, else the highest that it uses something of."""
    order = list(LAYERS)
    marked = [layer for layer in order if layer in marks]
    used = [USES[name] for name in (*imports(path), *fixtures) if name in USES]
    return (marked or [max(used, key=order.index, default="unit")])[-1]

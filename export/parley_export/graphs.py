"""ONNX graphs of the modules; knows neither checkpoint files nor the manifest around them."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from parley_export.modules import AudioAdapter, AudioEncoder, FlowField, Vocoder


class GraphInfo(TypedDict, total=False):
    """One entry of the manifest's `graphs`; `states` only where there are any."""

    file: str
    external: list[str]
    precision: str
    opset: int
    inputs: list[dict[str, object]]
    outputs: list[dict[str, object]]
    states: list[dict[str, object]]


def export_encoder_segment(
    encoder: AudioEncoder, adapter: AudioAdapter, path: Path, precision: str = "f32"
) -> GraphInfo:
    """Whole segments as published: log-mel of 30 s to encoder frames and features."""
    raise NotImplementedError


def export_encoder_chunk(
    encoder: AudioEncoder,
    adapter: AudioAdapter,
    path: Path,
    left_context_frames: int = 64,
    precision: str = "f32",
) -> GraphInfo:
    """One chunk with its streaming states."""
    raise NotImplementedError


def export_flow_condition(flow: FlowField, path: Path, precision: str = "f32") -> GraphInfo:
    """Codes to token features."""
    raise NotImplementedError


def export_flow_modulation(flow: FlowField, path: Path, precision: str = "f32") -> GraphInfo:
    """Times and a speaker to modulation vectors."""
    raise NotImplementedError


def export_flow_field(flow: FlowField, path: Path, precision: str = "f32") -> GraphInfo:
    """One evaluation of the velocity."""
    raise NotImplementedError


def export_vocoder(vocoder: Vocoder, path: Path, precision: str = "f32") -> GraphInfo:
    """Latents to samples; folds the weight norm in place."""
    raise NotImplementedError

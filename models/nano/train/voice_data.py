"""The reply voices' recordings as both voice trainings read them, and where weights are kept."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from parley_export.modules import FlowField, Vocoder
from train.latents import FRAMES_PER_CODE, HOP

ROOT = Path(__file__).resolve().parents[3]
NANO = ROOT / "build" / "nano"
CHECKPOINTS = ROOT / "models" / "nano" / "checkpoints"
VOICES = ("a", "b")
CHUNK_CODES = 4
CODE_SAMPLES = FRAMES_PER_CODE * HOP
TRAINING = ("train", "sentence")


@dataclass(frozen=True)
class Reply:
    """A sentence of one voice: `wave` int16 [960 N] at 24 kHz, `codes` int64 [N], whole chunks."""

    voice: int
    wave: np.ndarray
    codes: np.ndarray
    text: str = ""


def load_replies(*splits: str, folder: Path | None = None) -> list[Reply]:
    """Replies of the bank's splits, voice a's before voice b's; reads nothing of the users.

    Training reads "train" and "sentence"; "prompt" is the sentence of the voices' own prompts.
    """
    folder = folder or NANO / "bank"
    rows = json.loads((folder / "replies.json").read_text())
    with np.load(folder / "replies.npz") as file:
        ends = np.cumsum(file["lengths"])
        codes = file["codes"].reshape(-1).astype(np.int64)
        waves = [file[f"wave_{voice}"] for voice in VOICES]
    found = []
    for voice, wave in enumerate(waves):
        for row, begin, end in zip(rows, [0, *ends[:-1]], ends, strict=True):
            if row["split"] in splits:
                part = codes[begin // CODE_SAMPLES : end // CODE_SAMPLES]
                found.append(Reply(voice, wave[begin:end].copy(), part, row["text"]))
    return found


def save_half(state: dict[str, Tensor], path: Path) -> None:
    """Write the weights in half precision, replaced in one piece."""
    partial = path.with_suffix(".partial")
    save_file({name: tensor.half().contiguous() for name, tensor in state.items()}, partial)
    os.replace(partial, path)


def weights_of(prefix: str, run: Path, file: str, *, averaged: bool = True) -> dict[str, Tensor]:
    """Weights of a training, or else of the committed half-precision file; names lose `prefix`.

    Raises:
        FileNotFoundError: there is neither.
    """
    last, kept = run / "last.pt", CHECKPOINTS / file
    if last.is_file():
        parts = torch.load(last, map_location="cpu", weights_only=True)["parts"]
        return parts["average"]["weights"] if averaged else parts["model"]
    if not kept.is_file():
        raise FileNotFoundError(
            f"[voice.weights] expected {last} or {kept}, got neither; train that part first"
        )
    state = load_file(kept)
    return {name.removeprefix(prefix): tensor.float() for name, tensor in state.items()}


def module_with(module: Vocoder | FlowField, weights: dict[str, Tensor]) -> Vocoder | FlowField:
    """The module with these weights, for use."""
    module.load_state_dict(weights)
    return module.eval().requires_grad_(False)

"""The reply voices' recordings as both voice trainings read them, and where weights are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from parley_export.families.covo_audio.modules import FlowField, Vocoder
from train.latents import FRAMES_PER_CODE, HOP

ROOT = Path(__file__).resolve().parents[3]
NANO = ROOT / "build" / "nano"
VOICES = ("a", "b")
CHUNK_CODES = 4
CODE_SAMPLES = FRAMES_PER_CODE * HOP
TRAINING = ("train", "sentence")
Weights = dict[str, Tensor]


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


def weights_of(run: Path, shipped: Callable[[], Weights]) -> Weights:
    """The averaged weights of a training, finished or not; where there is none, what ships."""
    last = run / "last.pt"
    if not last.is_file():
        return shipped()
    return torch.load(last, map_location="cpu", weights_only=True)["parts"]["average"]["weights"]


def module_with(module: Vocoder | FlowField, weights: dict[str, Tensor]) -> Vocoder | FlowField:
    """The module with these weights, for use."""
    module.load_state_dict(weights)
    return module.eval().requires_grad_(False)

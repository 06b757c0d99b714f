"""Latents of the training replies as the flow decoder makes them; knows no vocoder.

The vocoder's last part of training hears them beside the true ones, since they are smoother.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from parley_export.families.covo_audio.modules import FlowField
from train import flow as flow_training
from train.latents import BANDS, FRAMES_PER_CODE
from train.voice_data import CHUNK_CODES, TRAINING, load_replies

BATCH = 64
Window = tuple[int, int, int]  # reply, first code, codes; its last chunk is the own one


def midpoint(flow: FlowField, batch: dict[str, Tensor]) -> Tensor:
    """One midpoint step without guidance from noise to normalised latents `[n, T, z]`."""
    x = torch.randn_like(batch["latents"])
    prompt = flow_training.PROMPT_CODES * FRAMES_PER_CODE
    condition = torch.zeros_like(x)
    condition[:, :prompt] = batch["latents"][:, :prompt]
    with torch.autocast("cpu", torch.bfloat16):
        fixed = (flow.condition(batch["codes"]), condition, batch["speaker"])
        begin, middle = torch.zeros(len(x)), torch.full((len(x),), 0.5)
        velocity = flow(x, begin, *fixed).float()
        return x + flow(x + velocity / 2, middle, *fixed).float()


def windows_of(sizes: np.ndarray, chosen: list[int]) -> dict[int, list[Window]]:
    """The runtime's windows of the chosen replies, by their length in codes."""
    found: dict[int, list[Window]] = {}
    for which in chosen:
        for own in range(0, int(sizes[which]), CHUNK_CODES):
            begin = max(own - flow_training.PAST_CODES, 0)
            size = own + CHUNK_CODES - begin
            found.setdefault(size, []).append((which, begin, size))
    return found


@torch.no_grad()
def predict(path: Path, *, every: int = 2, seed: int = 0) -> None:
    """Write raw latents of every `every`-th training reply: arrays "0", "1"... by its number."""
    torch.manual_seed(seed)
    replies = load_replies(*TRAINING)
    flow, stats = flow_training.load_flow(), flow_training.read_stats()
    windows = flow_training.Windows(replies, load_replies("prompt"), stats, seed)
    chosen = list(range(0, len(replies), every))
    made = {
        i: np.zeros((FRAMES_PER_CODE * len(replies[i].codes), BANDS), np.float16) for i in chosen
    }
    for size, rows in windows_of(windows.sizes, chosen).items():
        for at in range(0, len(rows), BATCH):
            part = rows[at : at + BATCH]
            batch = windows.gather([[windows.fixed[windows.voices[r[0]]], r] for r in part])
            own = midpoint(flow, batch)[:, -CHUNK_CODES * FRAMES_PER_CODE :].numpy()
            raw = own * np.sqrt(stats.var) + stats.mean
            for (which, begin, _), latents in zip(part, raw, strict=True):
                end = FRAMES_PER_CODE * (begin + size)
                made[which][end - len(latents) : end] = latents
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, **{str(i): latents for i, latents in made.items()})
    partial.replace(path)


def read_predicted(path: Path) -> dict[int, np.ndarray]:
    """Raw latents `[F, 64]` by the number of the training reply; empty where there are none."""
    if not path.is_file():
        return {}
    with np.load(path) as file:
        return {int(name): file[name].astype(np.float32) for name in file.files}

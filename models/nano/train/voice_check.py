"""Measures the trained voice on held-out sentences: numbers and a picture; trains nothing.

`python -m train.voice_check --picture out.png` from models/nano.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import torch

from train import flow as flow_training
from train import vocoder as vocoder_training
from train.latents import BANDS, FRAMES_PER_CODE, HOP, NEPERS, raw_latents_of
from train.voice_data import CHUNK_CODES, TRAINING, VOICES, Reply, load_replies

DECIBELS = NEPERS * 10 / math.log(10)  # of power per unit of raw latents
CHUNK_SAMPLES = CHUNK_CODES * FRAMES_PER_CODE * HOP


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute distance of raw latents `[F, 64]`."""
    return float(np.abs(a - b).mean() * DECIBELS)


def centroids(replies: list[Reply]) -> list[np.ndarray]:
    """Mean raw latents of each code per voice, `[512, 4, 64]`: what one gets without a flow."""
    found = []
    for voice in range(len(VOICES)):
        sums = np.zeros((flow_training.CONFIG.codes, FRAMES_PER_CODE, BANDS), np.float32)
        counts = np.zeros((flow_training.CONFIG.codes, 1, 1), np.float32)
        for reply in replies:
            if reply.voice == voice:
                stacked = raw_latents_of(reply.wave).reshape(-1, FRAMES_PER_CODE, BANDS)
                np.add.at(sums, reply.codes, stacked)
                np.add.at(counts, reply.codes, 1)
        found.append(sums / np.maximum(counts, 1))
    return found


def border_step(wave: np.ndarray) -> float:
    """Mean jump of the second difference at chunk borders over that elsewhere (1 = no click)."""
    bend = np.abs(np.diff(wave, 2))
    borders = np.arange(CHUNK_SAMPLES, len(wave) - 2, CHUNK_SAMPLES)
    near = np.concatenate([bend[borders + k] for k in (-2, -1, 0)])
    around = np.concatenate(
        [bend[borders + k] for k in range(-HOP, HOP) if abs(k) > 8 and -HOP < k < HOP]
    )
    return float(near.mean() / max(around.mean(), 1e-9))


class Voice:
    """Codes to samples, as the runtime's stages do it in PyTorch."""

    def __init__(self, points: int) -> None:
        self.flow = flow_training.load_flow()
        self.flow.config = dataclasses.replace(self.flow.config, points=points)
        self.vocoder = vocoder_training.load_vocoder()
        self.voices = [flow_training.read_voice(name) for name in VOICES]
        self.stats = flow_training.read_stats()

    def latents(self, voice: int, codes: np.ndarray, seed: int = 0) -> np.ndarray:
        made = flow_training.stream(self.flow, self.voices[voice], torch.from_numpy(codes), seed)
        return made.numpy() * np.sqrt(self.stats.var) + self.stats.mean

    def wave(self, raw: np.ndarray) -> np.ndarray:
        inputs = torch.from_numpy(np.ascontiguousarray(raw.T, np.float32))[None]
        return self.vocoder(inputs)[0, 0].numpy()


@torch.no_grad()
def measure(replies: list[Reply], points: int) -> tuple[dict[str, float], list[list[np.ndarray]]]:
    """Mean distances in dB, and of each reply the latents of original, copy and full path."""
    voice, means = Voice(points), centroids(load_replies(*TRAINING))
    rows: list[dict[str, float]] = []
    pictures = []
    for reply in replies:
        real = raw_latents_of(reply.wave)
        copy = voice.wave(real)
        flat = means[reply.voice][reply.codes].reshape(-1, BANDS)
        made = voice.latents(reply.voice, reply.codes)
        full = voice.wave(made)
        copied, heard = raw_latents_of(copy), raw_latents_of(full)
        rows.append(
            {
                "copy_wave_db": decibels(real, copied),
                "centroid_latent_db": decibels(real, flat),
                "flow_latent_db": decibels(real, made),
                "centroid_wave_db": decibels(real, raw_latents_of(voice.wave(flat))),
                "full_wave_db": decibels(real, heard),
                "border_step_original": border_step(reply.wave / 32768),
                "border_step_full": border_step(full),
            }
        )
        pictures.append([real, copied, heard])
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}, pictures


def draw(pictures: list[list[np.ndarray]], replies: list[Reply], path: Path) -> None:
    """Log-mel spectrograms: original, copy by the vocoder, codes through flow and vocoder."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = ("original", "vocoder", "codes, flow, vocoder")
    figure, axes = pyplot.subplots(3, len(pictures), figsize=(7 * len(pictures), 9), squeeze=False)
    for column, (rows, reply) in enumerate(zip(pictures, replies, strict=True)):
        for row, (raw, name) in enumerate(zip(rows, names, strict=True)):
            axis = axes[row][column]
            axis.imshow(raw.T, origin="lower", aspect="auto", vmin=0, vmax=4.5, cmap="magma")
            axis.set_title(f"{name}: voice {VOICES[reply.voice]}, {reply.text}", fontsize=8)
            for border in range(16, len(raw), 16):
                axis.axvline(border, color="white", linewidth=0.2)
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def spread(replies: list[Reply], count: int) -> list[Reply]:
    """`count` replies spread over the list, both voices alike."""
    return [replies[i] for i in np.linspace(0, len(replies) - 1, count).astype(int)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--points", type=int, default=2)
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    replies = spread(load_replies("held", "held_sentence"), arguments.count)
    numbers, pictures = measure(replies, arguments.points)
    print(json.dumps({name: round(value, 3) for name, value in numbers.items()}, indent=2))
    if arguments.picture:
        chosen = [0, len(replies) - 1]
        some = [replies[i] for i in chosen]
        draw([pictures[i] for i in chosen], some, arguments.picture)


if __name__ == "__main__":
    main()

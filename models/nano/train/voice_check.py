"""Measures the trained voice on held-out sentences: numbers and a picture; trains nothing.

`python -m train.voice_check --listen 120 --picture voice.png` from models/nano; listening needs
`pip install 'parley[eval]'`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from train import flow as flow_training
from train import vocoder as vocoder_training
from train.latents import BANDS, FRAMES_PER_CODE, HOP, NEPERS, RATE, raw_latents_of
from train.voice_data import CHUNK_CODES, ROOT, TRAINING, VOICES, Reply, load_replies

DECIBELS = NEPERS * 10 / math.log(10)  # of power per unit of raw latents
CHUNK_SAMPLES = CHUNK_CODES * FRAMES_PER_CODE * HOP
WINDOW = 1024  # of spectrograms
COLOURS = 40  # of the picture, which is kept small


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

    def __init__(self, points: int, flow: Path, vocoder: Path | None) -> None:
        self.flow = flow_training.load_flow(flow)
        self.flow.config = dataclasses.replace(self.flow.config, points=points)
        self.vocoder = vocoder_training.load_vocoder(vocoder)
        self.voices = [flow_training.read_voice(name) for name in VOICES]
        self.stats = flow_training.read_stats()

    def latents(self, voice: int, codes: np.ndarray, seed: int = 0) -> np.ndarray:
        made = flow_training.stream(self.flow, self.voices[voice], torch.from_numpy(codes), seed)
        return made.numpy() * np.sqrt(self.stats.var) + self.stats.mean

    def wave(self, raw: np.ndarray) -> np.ndarray:
        inputs = torch.from_numpy(np.ascontiguousarray(raw.T, np.float32))[None]
        return self.vocoder(inputs)[0, 0].numpy()


@torch.no_grad()
def measure(voice: Voice, replies: list[Reply]) -> tuple[dict[str, float], list[list[np.ndarray]]]:
    """Mean distances in dB, and of each reply the waves: original, copy and full path."""
    means = centroids(load_replies(*TRAINING))
    rows: list[dict[str, float]] = []
    waves = []
    for reply in replies:
        real = raw_latents_of(reply.wave)
        copy = voice.wave(real)
        flat = means[reply.voice][reply.codes].reshape(-1, BANDS)
        made = voice.latents(reply.voice, reply.codes)
        full = voice.wave(made)
        rows.append(
            {
                "copy_wave_db": decibels(real, raw_latents_of(copy)),
                "centroid_latent_db": decibels(real, flat),
                "flow_latent_db": decibels(real, made),
                "centroid_wave_db": decibels(real, raw_latents_of(voice.wave(flat))),
                "full_wave_db": decibels(real, raw_latents_of(full)),
                "harmonics_original_db": harmonics(reply.wave / 32768),
                "harmonics_copy_db": harmonics(copy),
                "harmonics_full_db": harmonics(full),
                "border_step_original": border_step(reply.wave / 32768),
                "border_step_full": border_step(full),
            }
        )
        waves.append([reply.wave / 32768, copy, full])
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}, waves


def harmonics(wave: np.ndarray) -> float:
    """How far peaks stand above the valleys between them, 1.5 to 4 kHz, in dB; noise gives 11.

    Of the frames that are loud there: the 90th over the 10th percentile of 300 Hz around.
    """
    power = spectrogram(wave)[round(1500 * WINDOW / RATE) : round(4000 * WINDOW / RATE)]
    loud = power.mean(0)
    power = 10 * np.log10(power[:, loud > np.quantile(loud, 0.7)] + 1e-12)
    width = round(300 * WINDOW / RATE)
    bands = power[: len(power) // width * width].reshape(-1, width, power.shape[1])
    high, low = np.quantile(bands, (0.9, 0.1), axis=1)
    return float((high - low).mean())


def spectrogram(wave: np.ndarray) -> np.ndarray:
    """Power `[WINDOW / 2 + 1, frames]`, of windows long enough to tell harmonics apart."""
    samples = torch.from_numpy(np.asarray(wave, np.float32))
    shape = torch.hann_window(WINDOW)
    spectrum = torch.stft(samples, WINDOW, HOP // 2, window=shape, return_complex=True)
    return spectrum.abs().square().numpy()


@torch.no_grad()
def hear(voice: Voice, replies: list[Reply]) -> dict[str, float]:
    """Shares of replies that pocketsphinx with the list of all replies hears right, in percent:
    of the synthesizer's own and of the full path."""
    sys.path.insert(0, str(ROOT / "apps"))  # where parley is not installed
    from parley_apps.evaluation.judge import normal
    from parley_apps.evaluation.speech import Recogniser

    recogniser = Recogniser(sorted({normal(r.text) for r in load_replies("held", "train")}))
    known = [reply for reply in replies if normal(reply.text) in recogniser.known]
    right = {"original": 0, "full": 0}
    for reply in known:
        made = voice.wave(voice.latents(reply.voice, reply.codes))
        for name, wave in (("original", reply.wave / np.float32(32768)), ("full", made)):
            right[name] += recogniser.hear(wave, RATE) == normal(reply.text)
    shares = {f"heard_{name}_percent": 100 * n / len(known) for name, n in right.items()}
    return {"heard_of": len(known), **shares}


def draw(waves: list[list[np.ndarray]], replies: list[Reply], path: Path) -> None:
    """Spectrograms, a column for each reply: the synthesizer's own, nano's below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from PIL import Image

    figure, axes = pyplot.subplots(2, len(waves), figsize=(11, 5.5), squeeze=False, sharey=True)
    for column, ((real, _, full), reply) in enumerate(zip(waves, replies, strict=True)):
        draw_one(axes[0][column], real, f"espeak-ng, voice {VOICES[reply.voice]}: {reply.text}")
        draw_one(axes[1][column], full, f"nano, voice {VOICES[reply.voice]}: {reply.text}")
        axes[1][column].set_xlabel("s")
    for row in axes:
        row[0].set_ylabel("kHz")
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    Image.open(path).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def draw_one(axis: Any, wave: np.ndarray, title: str) -> None:
    """The spectrogram up to 6 kHz and 65 dB below its peak."""
    power = 10 * np.log10(spectrogram(wave)[: 6000 * WINDOW // RATE] + 1e-9)
    axis.imshow(
        power,
        origin="lower",
        aspect="auto",
        extent=(0, len(wave) / RATE, 0, 6),
        vmin=power.max() - 65,
        vmax=power.max(),
        cmap="magma",
    )
    axis.set_title(title, fontsize=9)


def spread(replies: list[Reply], count: int) -> list[Reply]:
    """`count` replies spread over the list, both voices alike."""
    return [replies[i] for i in np.linspace(0, len(replies) - 1, count).astype(int)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--points", type=int, default=2)
    parser.add_argument("--listen", type=int, default=0, help="replies for the recogniser")
    parser.add_argument("--flow", type=Path, default=flow_training.RUN, help="its run folder")
    parser.add_argument("--vocoder", type=Path, help="its run folder (default: the furthest)")
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    voice = Voice(arguments.points, arguments.flow, arguments.vocoder)
    replies = spread(load_replies("held", "held_sentence"), arguments.count)
    numbers, waves = measure(voice, replies)
    if arguments.listen:
        held, known = load_replies("held"), load_replies("train")
        some = spread(known, max(arguments.listen - len(held), 0))
        numbers |= hear(voice, [*held, *some][: arguments.listen])
    print(json.dumps({name: round(value, 3) for name, value in numbers.items()}, indent=2))
    if arguments.picture:
        chosen = [0, len(replies) - 1]
        draw([waves[i] for i in chosen], [replies[i] for i in chosen], arguments.picture)


if __name__ == "__main__":
    main()

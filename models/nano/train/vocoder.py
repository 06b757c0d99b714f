"""Train the vocoder on both reply voices; knows no code and no flow.

Losses: multi-resolution STFT (Yamamoto et al., 2020) and the L1 distance of raw latents.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from parley_export.families.covo_audio.modules import Vocoder, VocoderConfig
from train.discriminators import Contest
from train.flow_latents import predict, read_predicted
from train.fused import fuse
from train.latents import BANDS, HOP, raw_latents, raw_latents_of
from train.optim import Average, Optimizers, Run, time_schedule
from train.shipped_voice import shipped_vocoder
from train.voice_data import (
    NANO,
    TRAINING,
    Reply,
    load_replies,
    module_with,
    weights_of,
)

CONFIG = VocoderConfig(
    z=BANDS,
    width=192,
    rates=(5, 3, 2, 2, 2, 2),
    block_kernels=(3, 7),
    block_dilations=((1,), (3,)),
    stage_widths=(128, 96, 64, 48, 24, 12),
)
RUN = NANO / "runs" / "vocoder"
CONTEST_RUN = NANO / "runs" / "vocoder_contest"  # adversarial training
PREDICTED = RUN / "predicted.npz"  # latents of the flow decoder
RESOLUTIONS = (256, 512, 1024, 2048)  # window lengths of the loss in samples
OWN_FRAMES, LEFT_FRAMES, RIGHT_FRAMES = 48, 16, 4
LR, CONTEST_LR = 1e-3, 3e-4
CONTEST_SHARE = 0.5  # size of the judges' gradient beside the spectral one (Défossez et al., 2022)
CONTEST_WARM = 0.1  # part of the time until the judges know enough to be heard in full
HALF_STAGES = 4  # stages whose convolutions run in bfloat16


class MixedVocoder(Vocoder):
    """The same arithmetic with the early stages' convolutions in bfloat16, for training."""

    half_stages = HALF_STAGES

    def forward(self, latents: Tensor) -> Tensor:
        n_blocks = len(self.config.block_kernels)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half_stages > 0):
            x = self.conv_pre(functional.pad(latents, (3, 3)))
        for stage, up in enumerate(self.ups):
            with torch.autocast("cpu", torch.bfloat16, enabled=stage < self.half_stages):
                x = up[0](x if stage < self.half_stages else x.float())
                blocks = self.resblocks[stage * n_blocks : (stage + 1) * n_blocks]
                x = torch.stack([block(x) for block in blocks]).mean(0)
        return torch.tanh(self.conv_post(self.activation_post(x.float())))


def spectral_loss(made: Tensor, real: Tensor) -> Tensor:
    """Relative L1 and log L1 of magnitudes over RESOLUTIONS; waves `[B, samples]`."""
    total = made.new_zeros(())
    for window in RESOLUTIONS:
        a, b = (magnitudes(wave, window) for wave in (made, real))
        relative = (a - b).abs().sum((1, 2)) / b.sum((1, 2)).clamp(min=1.0)
        total = total + relative.mean() + (a.log() - b.log()).abs().mean()
    return total / len(RESOLUTIONS)


def magnitudes(wave: Tensor, window: int) -> Tensor:
    """`[B, bins, frames]`, not below a floor that keeps silence from dominating its logarithm."""
    shape = torch.hann_window(window)
    spectrum = torch.stft(wave, window, window // 4, window=shape, return_complex=True)
    power = torch.view_as_real(spectrum).square().sum(-1)
    return (power + 1e-4 * window / 1024).sqrt()


class Crops:
    """Random pieces `[B, z, left + own + right]` with their waves `[B, samples of own]`.

    Half of the latents of a reply that is in `predicted` (by its number) are the predicted ones.
    """

    def __init__(
        self, replies: list[Reply], seed: int, predicted: dict[int, np.ndarray] | None = None
    ) -> None:
        self.waves = [np.pad(r.wave, (LEFT_FRAMES * HOP, RIGHT_FRAMES * HOP)) for r in replies]
        self.latents = [[self.padded(raw_latents_of(r.wave))] for r in replies]
        for which, latents in (predicted or {}).items():
            self.latents[which].append(self.padded(latents))
        self.random = np.random.default_rng(seed)
        lengths = np.array([len(r.wave) for r in replies], np.float64)
        self.chances = lengths / lengths.sum()

    @staticmethod
    def padded(latents: np.ndarray) -> np.ndarray:
        return np.pad(latents, ((LEFT_FRAMES, RIGHT_FRAMES), (0, 0)))

    def batch(self, n: int) -> tuple[Tensor, Tensor]:
        latents, waves = [], []
        size = LEFT_FRAMES + OWN_FRAMES + RIGHT_FRAMES
        for which in self.random.choice(len(self.waves), n, p=self.chances):
            kinds = self.latents[which]
            whole = kinds[int(self.random.integers(len(kinds)))]
            at = int(self.random.integers(0, max(len(whole) - size, 0) + 1))
            begin = (at + LEFT_FRAMES) * HOP
            piece = whole[at : at + size]
            wave = self.waves[which][begin : begin + OWN_FRAMES * HOP]
            latents.append(np.pad(piece, ((0, size - len(piece)), (0, 0))))
            waves.append(np.pad(wave, (0, OWN_FRAMES * HOP - len(wave))))
        return (
            torch.from_numpy(np.stack(latents)).transpose(1, 2).contiguous(),
            torch.from_numpy(np.stack(waves).astype(np.float32) / 32768),
        )


def own_part(vocoder: Vocoder, latents: Tensor) -> Tensor:
    """What the vocoder makes of crops, without their sides: `[B, samples of own]`."""
    return vocoder(latents)[:, 0, LEFT_FRAMES * HOP : (LEFT_FRAMES + OWN_FRAMES) * HOP]


def losses(made: Tensor, waves: Tensor) -> tuple[Tensor, Tensor]:
    """Spectral loss and mel L1."""
    mel = (raw_latents(made) - raw_latents(waves)).abs().mean()
    return spectral_loss(made, waves), mel


def train(
    seconds: float,
    *,
    batch: int = 8,
    lr: float = LR,
    run: Path = RUN,
    start: dict[str, Any] | None = None,
    contest: Contest | None = None,
) -> None:
    """Train for `seconds` in all; goes on where an earlier call was stopped.

    start: what a new run begins with (a run's parts), else random weights. contest: adversarial
    training.
    """
    vocoder = MixedVocoder(CONFIG)
    if not fuse(vocoder):
        print("vocoder: no C++ compiler found; every step takes about ten times as long")
    optimizers = Optimizers(
        vocoder.named_parameters(), lr, matrix=lambda name, p: False, betas=(0.8, 0.99), clip=10.0
    )
    for name, state in (start or {}).items():
        {"model": vocoder, "optimizers": optimizers}[name].load_state_dict(state)
    average = Average(vocoder, 0.998)
    parts = {"model": vocoder, "optimizers": optimizers, "average": average}
    loop = Run(run, parts | (contest.parts if contest else {}), seconds)
    crops = Crops(load_replies(*TRAINING), loop.steps, read_predicted(PREDICTED))
    while loop.goes_on:
        latents, waves = crops.batch(batch)
        made, factor = own_part(vocoder, latents), time_schedule(loop.progress, decay_from=0.4)
        spectral, mel = losses(made, waves)
        terms = {"spectral": spectral, "mel": mel}
        (gradient,) = torch.autograd.grad(spectral + 2 * mel, made)
        if contest:
            fooling, judgement = contest.step(made, waves, factor)
            (other,) = torch.autograd.grad(fooling, made)
            share = CONTEST_SHARE * min(loop.progress / CONTEST_WARM, 1)
            gradient = gradient + share * gradient.norm() / other.norm() * other
            terms |= judgement
        made.backward(gradient)
        optimizers.step(factor)
        average.update(vocoder)
        loop.after_step(**terms)


def plain_start() -> dict[str, Any]:
    """Where adversarial training begins: the plain training's end, or else what ships."""
    start: dict[str, Any] = {"model": load_vocoder(RUN).state_dict()}
    last = RUN / "last.pt"
    if last.is_file():
        parts = torch.load(last, map_location="cpu", weights_only=True)["parts"]
        start["optimizers"] = parts["optimizers"]
    return start


def load_vocoder(run: Path | None = None) -> Vocoder:
    """The vocoder for use, in float32 with plain activations: trained, or else as it ships.

    run: of the furthest training unless given.
    """
    vocoder = Vocoder(CONFIG)
    if run is None:
        run = CONTEST_RUN if (CONTEST_RUN / "last.pt").is_file() else RUN
    return module_with(vocoder, weights_of(run, lambda: shipped_vocoder(vocoder)))


def vocoder_state_dict(run: Path | None = None) -> dict[str, Tensor]:
    """The vocoder's weights under the checkpoint's names (`wavegan.`), float32."""
    return {f"wavegan.{name}": tensor for name, tensor in load_vocoder(run).state_dict().items()}


def overfits(steps: int = 150) -> Iterator[float]:
    """Mel L1 on two fixed crops, step by step: it must fall far before a long run is worth it."""
    torch.manual_seed(0)
    vocoder = MixedVocoder(CONFIG)
    fuse(vocoder)
    optimizers = Optimizers(
        vocoder.named_parameters(), 1e-3, matrix=lambda name, p: False, betas=(0.8, 0.99), clip=10.0
    )
    latents, waves = Crops(load_replies(*TRAINING)[:4], seed=1).batch(2)
    for _ in range(steps):
        spectral, mel = losses(own_part(vocoder, latents), waves)
        (spectral + 2 * mel).backward()
        optimizers.step(1.0)
        yield float(mel.detach())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=50)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, help=f"default: {LR:g}, adversarial {CONTEST_LR:g}")
    parser.add_argument("--run", type=Path, help="default: runs/vocoder or runs/vocoder_contest")
    parser.add_argument(
        "--predict", action="store_true", help="first make latents with the trained flow decoder"
    )
    parser.add_argument(
        "--shipped", action="store_true", help="a new run begins with the shipped bundle's weights"
    )
    parser.add_argument(
        "--adversarial",
        action="store_true",
        help="a new run begins with the plain training's weights and goes on against judges",
    )


def run(arguments: argparse.Namespace) -> None:
    """`python -m train vocoder`"""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    start = None
    if arguments.shipped:
        start = {"model": shipped_vocoder(Vocoder(CONFIG))}
    elif arguments.adversarial:
        start = plain_start()
    if arguments.predict:
        RUN.mkdir(parents=True, exist_ok=True)
        predict(PREDICTED)
    train(
        arguments.minutes * 60,
        batch=arguments.batch,
        lr=arguments.lr or (CONTEST_LR if arguments.adversarial else LR),
        run=arguments.run or (CONTEST_RUN if arguments.adversarial else RUN),
        start=start,
        contest=Contest() if arguments.adversarial else None,
    )

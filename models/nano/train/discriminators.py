"""Judges that tell made speech from real speech, to train the vocoder; knows no vocoder.

Source: periods of samples (Kong et al., 2020) and spectra at several resolutions (Jang et al.,
2021), with the least-squares loss (Mao et al., 2017). Sized for a CPU: judging and learning from a
judgement cost less than the vocoder's own step.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from train.optim import Optimizers

PERIODS = (2, 3, 5, 7, 11)
PERIOD_WIDTHS = (1, 16, 32, 64, 64)
WINDOWS = (512, 1024, 2048)
SPECTRUM_WIDTHS = (1, 8, 16, 16, 32)
LEAK = 0.1
LR = 1e-3
FOOLING, MATCHING = 0.2, 1.0  # weights beside one another
Features = list[Tensor]  # of the layers, the last one are the scores: near 1 sounds real


class PeriodJudge(nn.Module):
    """Looks at every `period`-th sample: waves `[B, samples]`."""

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period
        pairs = itertools.pairwise(PERIOD_WIDTHS)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv1d(a, b, 5, stride=3, padding=2)) for a, b in pairs
        )
        self.score = weight_norm(nn.Conv1d(PERIOD_WIDTHS[-1], 1, 3, padding=1))

    def forward(self, waves: Tensor) -> Features:
        short = -waves.shape[-1] % self.period
        rows = functional.pad(waves, (0, short)).unflatten(1, (-1, self.period))
        return judged(rows.transpose(1, 2).flatten(0, 1)[:, None], self.layers, self.score)


class SpectrumJudge(nn.Module):
    """Looks at magnitudes of one resolution: waves `[B, samples]`."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window
        pairs = itertools.pairwise(SPECTRUM_WIDTHS)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (7, 3), stride=(2, 1), padding=(3, 1))) for a, b in pairs
        )
        self.score = weight_norm(nn.Conv2d(SPECTRUM_WIDTHS[-1], 1, 3, padding=1))

    def forward(self, waves: Tensor) -> Features:
        shape = torch.hann_window(self.window)
        spectrum = torch.stft(
            waves, self.window, self.window // 4, window=shape, return_complex=True
        )
        power = torch.view_as_real(spectrum).square().sum(-1)
        # Compressed, since speech falls by 40 dB from its low to its high harmonics.
        loudness = (power / self.window + 1e-6).pow(0.15)
        return judged(loudness[:, None], self.layers, self.score)


def judged(x: Tensor, layers: nn.ModuleList, score: nn.Module) -> Features:
    """What each layer makes of it, then the scores."""
    found = []
    with torch.autocast("cpu", torch.bfloat16):
        for layer in layers:
            x = functional.leaky_relu(layer(x), LEAK)
            found.append(x)
        return [*found, score(x)]


class Judges(nn.Module):
    """All of them: waves `[B, samples]` -> one list of features for each."""

    def __init__(self) -> None:
        super().__init__()
        self.all = nn.ModuleList(
            [*map(PeriodJudge, PERIODS), *map(SpectrumJudge, WINDOWS)],
        )

    def forward(self, waves: Tensor) -> list[Features]:
        return [judge(waves) for judge in self.all]


class Contest:
    """The judges and their training; gives the vocoder its part of the loss.

    `parts` is what a `Run` keeps.
    """

    def __init__(self, lr: float = LR) -> None:
        self.judges = Judges()
        self.optimizers = Optimizers(
            self.judges.named_parameters(),
            lr,
            matrix=lambda name, p: False,
            betas=(0.8, 0.99),
            clip=10.0,
        )
        self.parts = {"judges": self.judges, "judges_optimizers": self.optimizers}

    def step(self, made: Tensor, real: Tensor, factor: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Train the judges once; then what the vocoder is to lower for `made` [B, samples]."""
        learnt = self.judges(real)
        judging = judges_loss(learnt, self.judges(made.detach()))
        judging.backward()
        self.optimizers.step(factor)
        self.judges.requires_grad_(False)
        judgement = self.judges(made)
        self.judges.requires_grad_(True)
        fooling, matching = fooling_loss(judgement), matching_loss(learnt, judgement)
        terms = {"judging": judging, "fooling": fooling, "matching": matching}
        return FOOLING * fooling + MATCHING * matching, terms


def judges_loss(real: list[Features], made: list[Features]) -> Tensor:
    """What the judges lower: real is to score 1, made 0."""
    pairs = zip(real, made, strict=True)
    losses = [(a[-1].float() - 1).square().mean() + b[-1].float().square().mean() for a, b in pairs]
    return torch.stack(losses).mean()


def fooling_loss(made: list[Features]) -> Tensor:
    """What the vocoder lowers: its waves are to score 1."""
    return torch.stack([(part[-1].float() - 1).square().mean() for part in made]).mean()


def matching_loss(real: list[Features], made: list[Features]) -> Tensor:
    """Distance of the layers' features, relative to the real ones' size (Kumar et al., 2019)."""
    losses = [
        (a.detach().float() - b.float()).abs().mean() / a.detach().float().abs().mean()
        for reals, mades in zip(real, made, strict=True)
        for a, b in zip(reals[:-1], mades[:-1], strict=True)
    ]
    return torch.stack(losses).mean()

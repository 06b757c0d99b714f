"""What every training shares: optimizers, a schedule by time, checkpoints; knows no model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SAVE_SECONDS = 120.0
REPORT_SECONDS = 30.0


def hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Whether Muon takes it: matrices between hidden layers, so no embedding and no head."""
    ends = ("embed", "head", "position", "rates")
    return parameter.ndim == 2 and not any(end in name for end in ends)


class Optimizers:
    """Muon (Jordan et al., 2024) for hidden matrices and AdamW for the rest, as one.

    Args:
        lr: the peak rate of both; Muon's updates are scaled to AdamW's size.
        matrix: which parameters Muon takes; none where torch has no Muon.
        scale: a factor of the rate by the parameter's name.
        clip: the largest norm of the gradient.
    """

    def __init__(
        self,
        named: Iterable[tuple[str, nn.Parameter]],
        lr: float,
        *,
        matrix: Callable[[str, Tensor], bool] = hidden_matrix,
        scale: Callable[[str], float] = lambda name: 1.0,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 0.0,
        clip: float = 1.0,
    ) -> None:
        self.lr, self.clip = lr, clip
        groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
        has_muon = hasattr(torch.optim, "Muon")
        for name, parameter in named:
            if parameter.requires_grad:
                key = (has_muon and matrix(name, parameter), scale(name))
                groups.setdefault(key, []).append(parameter)
        self.parts: list[torch.optim.Optimizer] = []
        for is_matrix in (True, False):
            chosen = [
                {"params": parameters, "lr": lr * factor, "factor": factor}
                for (kind, factor), parameters in groups.items()
                if kind == is_matrix
            ]
            if chosen and is_matrix:
                adjust: dict[str, Any] = {"adjust_lr_fn": "match_rms_adamw", "momentum": 0.95}
                self.parts.append(
                    torch.optim.Muon(chosen, lr=lr, weight_decay=weight_decay, **adjust)
                )
            elif chosen:
                self.parts.append(
                    torch.optim.AdamW(chosen, lr=lr, betas=betas, weight_decay=weight_decay)
                )

    def step(self, factor: float) -> float:
        """One step at `factor` of the peak rate; clears the gradients, returns their norm.

        A step whose gradient is not finite changes nothing.
        """
        parameters = [p for part in self.parts for g in part.param_groups for p in g["params"]]
        norm = float(nn.utils.clip_grad_norm_(parameters, self.clip))
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = self.lr * group["factor"] * factor
            if math.isfinite(norm):
                part.step()
            part.zero_grad(set_to_none=True)
        return norm

    def state_dict(self) -> dict[str, Any]:
        return {str(i): part.state_dict() for i, part in enumerate(self.parts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for i, part in enumerate(self.parts):
            part.load_state_dict(state[str(i)])


class Average:
    """Moving average of a module's weights; young averages forget faster."""

    def __init__(self, module: nn.Module, decay: float = 0.999) -> None:
        self.decay, self.steps = decay, 0
        self.weights = {n: p.detach().clone() for n, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 10))
        for name, parameter in module.named_parameters():
            self.weights[name].lerp_(parameter, 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps, self.weights = state["steps"], state["weights"]


def time_schedule(progress: float, warm: float = 0.02, decay_from: float = 0.5) -> float:
    """Factor of the rate at `progress` 0..1 of the time: up, level, linearly down to 2 %."""
    if progress < warm:
        return max(progress / warm, 0.02)
    if progress < decay_from:
        return 1.0
    return max(1 - (progress - decay_from) / (1 - decay_from), 0.02)


class Run:
    """A training bounded by wall-clock time that can be stopped and taken up again.

    The folder gets `last.pt` (parts, step, seconds used; replaced in one piece) and `log.tsv`.
    Time in which it does not run does not count.

    Args:
        parts: name -> anything with state_dict and load_state_dict.
        seconds: how long it trains in all.
        say: where progress goes, a line at a time.
    """

    def __init__(
        self,
        folder: Path,
        parts: dict[str, Any],
        seconds: float,
        *,
        say: Callable[[str], None] = print,
    ) -> None:
        self.folder, self.parts, self.seconds, self.say = folder, parts, seconds, say
        self.steps, self.used = 0, 0.0
        folder.mkdir(parents=True, exist_ok=True)
        if self.path.is_file():
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            for name, part in parts.items():
                part.load_state_dict(state["parts"][name])
            self.steps, self.used = state["steps"], state["used"]
            say(f"{folder.name}: goes on at step {self.steps}, {self.used:.0f} of {seconds:.0f} s")
        self._clock = self._saved = self._told = time.monotonic()
        self._sums: dict[str, float] = {}
        self._count = 0

    @property
    def path(self) -> Path:
        return self.folder / "last.pt"

    @property
    def progress(self) -> float:
        """Part of the time that is used, 0 to 1."""
        return min(self.used / self.seconds, 1.0)

    @property
    def goes_on(self) -> bool:
        return self.used < self.seconds

    def after_step(self, **metrics: float | Tensor) -> None:
        """Count a step; now and then save and report the metrics' means since the last report."""
        now = time.monotonic()
        self.used += now - self._clock
        self._clock = now
        self.steps += 1
        self._count += 1
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(torch.as_tensor(value).detach())
        if now - self._told > REPORT_SECONDS or not self.goes_on:
            self._report()
            self._told = now
        if now - self._saved > SAVE_SECONDS or not self.goes_on:
            self.save()
            self._saved = now

    def save(self) -> None:
        state = {name: part.state_dict() for name, part in self.parts.items()}
        partial = self.path.with_suffix(".partial")
        torch.save({"parts": state, "steps": self.steps, "used": self.used}, partial)
        partial.replace(self.path)

    def _report(self) -> None:
        means = {name: total / self._count for name, total in self._sums.items()}
        text = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
        left = max(self.seconds - self.used, 0) / 60
        self.say(f"{self.folder.name}: step {self.steps}, {left:.1f} min left  {text}")
        with (self.folder / "log.tsv").open("a") as log:
            row = "\t".join(f"{name}={value:.5f}" for name, value in means.items())
            log.write(f"{self.steps}\t{self.used:.1f}\t{row}\n")
        self._sums, self._count = {}, 0

"""Minutes of checks before hours of training: what must hold of each part; trains nothing to keep.

Causality: what has been heard or decoded does not change with what follows, or the runtime, which
streams, would run another model than the one that was trained. Learning: each part can learn a
few examples by heart, or something between data, loss and optimiser is wrong.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import torch

from parley_export.families.covo_audio.modules import Vocoder
from train import flow, vocoder
from train.listen import STAGES, Batch, Listener, open_listener
from train.optim import Optimizers

SAME = 1e-4  # of the largest value: float32, sums in another order
FALLS_TO = 0.5  # of the first loss; what learns ends far below
LOOKAHEAD = 13  # latent frames that the vocoder's sound depends on


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference in parts of the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())


@torch.no_grad()
def listen_is_causal(listener: Listener, batch: Batch) -> float:
    """How much the first half of a dialogue's features depends on its second half."""
    wave = torch.from_numpy(batch["wave16k"])
    offset = torch.zeros(len(wave), dtype=torch.long)
    half = batch["kinds"].shape[1] // 2
    _, whole = listener.model.features(listener.model.log_mel(wave), offset)
    samples = wave.shape[1] * half // batch["kinds"].shape[1]
    _, first = listener.model.features(listener.model.log_mel(wave[:, :samples]), offset)
    return difference(first, whole[:, :half])


@torch.no_grad()
def vocoder_is_bounded(model: Vocoder) -> float:
    """How much samples depend on latents beyond the look-ahead."""
    latents = torch.randn(1, model.config.z, 60)
    whole = model(latents)
    own = (40 - LOOKAHEAD) * model.config.samples_per_latent
    return difference(model(latents[..., :40])[..., :own], whole[..., :own])


def listen_overfits(listener: Listener, batch: Batch, steps: int = 60) -> Iterator[float]:
    """Loss on two fixed dialogues, step by step."""
    optimizers = Optimizers(listener.model.named_parameters(), 2e-3)
    for step in range(steps):
        loss, _ = listener.duplex_loss(batch, STAGES["B"])
        loss.backward()
        optimizers.step(min(1.0, (step + 1) / 5))
        yield float(loss.detach())


def check_same(what: str, found: float) -> None:
    """Says what was found; ends where a part depends on what it cannot know."""
    print(f"check: {what}: {found:.1e} (at most {SAME:.0e})", flush=True)
    if found > SAME:
        raise SystemExit(f"[check.causal] expected {what} below {SAME:.0e}, got {found:.1e}; "
                         "mend the part before it trains")  # fmt: skip


def check_falls(what: str, losses: Iterator[float]) -> None:
    """Says how far the loss fell; ends where a part does not learn."""
    found = list(losses)
    first, last = found[0], found[-1]
    print(f"check: {what} learns by heart: loss {first:.3f} to {last:.3f}", flush=True)
    if not last < FALLS_TO * first:
        raise SystemExit(f"[check.learn] expected {what}'s loss below {FALLS_TO:g} of {first:.3f}, "
                         f"got {last:.3f}; mend data, loss or optimiser first")  # fmt: skip


def checks(draw: Callable[[], Batch]) -> None:
    """All of them; `draw` gives two dialogues."""
    torch.manual_seed(0)
    listener, batch = open_listener(), draw()
    check_same("features, by what is heard later", listen_is_causal(listener, batch))
    check_falls("listen", listen_overfits(listener, batch))
    model = Vocoder(vocoder.CONFIG)
    check_same("samples, by latents beyond the look-ahead", vocoder_is_bounded(model))
    check_falls("vocoder", vocoder.overfits(60))
    check_falls("flow", flow.overfits(60))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `python -m train check`: none."""


def run(args: argparse.Namespace) -> None:
    """The step `check`."""
    from train.bank import Bank
    from train.dialogues import DialogueSampler

    torch.set_num_threads(1)
    checks(lambda: DialogueSampler(Bank(), "train", 1).batch(2, 7.68))

"""Trains what listens and thinks, in three stages; knows no synthesizer and no engine.

The encoder is the distilled one and stays as it is: what it knows of people is not in the bank.
A: the adapter learns words. B: adapter and backbone learn to converse in the session's own layout
and window. C: the same with nearly equal weights, so that its decisions need no threshold.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from train.distill import distilled
from train.listen_model import (
    ADAPTER,
    ENCODER,
    WINDOW,
    AdapterConfig,
    EncoderConfig,
    ListenConfig,
    ListenModel,
    backbone_config,
)
from train.listen_sequence import Sequences, build_sequences, legal_ids
from train.optim import Optimizers, Run, time_schedule
from train.shipped import load_shipped_backbone
from train.vocabulary import BREAK, END_OF_TEXT, SHIFT, THINK, Vocabulary

FORGOTTEN = "<|im_start|>"  # an id that no dialogue of nano has
RUNS = Path(__file__).resolve().parents[3] / "build/nano/runs"
Batch = dict[str, np.ndarray]
Ears = tuple[EncoderConfig, AdapterConfig]
EARS = (ENCODER, ADAPTER)


@dataclass(frozen=True)
class Stage:
    """One stage's numbers. `weights`: of THINK, SHIFT, BREAK, word, text-pad, code."""

    name: str
    minutes: float
    batch: int
    seconds: float
    lr: float
    decay_from: float
    before: str = ""  # the stage whose weights it starts from
    encoder_rate: float = 0.0  # of the encoder, as a factor; 0 leaves it as it is
    adapter_rate: float = 1.0
    weights: tuple[float, ...] = ()
    phone_weight: float = 1.0
    word_weight: float = 0.7
    hidden_bands: int = 0  # mel bands that are blotted out, at most, twice in each dialogue
    forget: float = 0.0  # share of what was said that is hidden when it is read back
    scenes: dict[str, float] = field(default_factory=dict)  # for the sampler


STAGES = {
    "A": Stage(
        "A",
        30,
        batch=16,
        seconds=7.68,
        lr=2e-3,
        decay_from=0.1,
        hidden_bands=16,
        scenes={"speed": 0.12},
    ),
    "B": Stage(
        "B",
        20,
        batch=8,
        seconds=15.36,
        lr=2e-3,
        decay_from=1.0,  # C goes on where it ends
        before="A",
        adapter_rate=0.6,
        weights=(0.3, 3.0, 3.0, 2.0, 0.5, 0.5),
        phone_weight=0.15,
        word_weight=0.4,
    ),
    "C": Stage(
        "C",
        90,
        batch=4,
        seconds=35.84,  # so long that most of it is read with a full window
        lr=2e-3,
        decay_from=0.05,
        before="B",
        weights=(1.0, 1.5, 1.5, 2.0, 0.7, 0.5),
        phone_weight=0.3,
        word_weight=0.6,
        hidden_bands=16,
        forget=0.15,
        scenes={"pauses": 0.6, "backchannels": 0.35, "speed": 0.12},
    ),
}


class Listener:
    """A model with its vocabulary: batches to losses and counts."""

    def __init__(
        self, vocabulary: Vocabulary, n_phones: int, n_words: int, ears: Ears = EARS
    ) -> None:
        self.vocabulary = vocabulary
        backbone = backbone_config(vocabulary.size)
        self.model = ListenModel(ListenConfig(backbone, n_phones, n_words, *ears))
        self.illegal = torch.zeros(5, vocabulary.size).masked_fill(~legal_ids(vocabulary), -1e9)
        self.random = np.random.default_rng()

    def hear(self, batch: Batch, stage: Stage) -> tuple[Tensor, Tensor, Tensor]:
        """Loss of the phones, encoder frames, and features; positions start anywhere."""
        wave = torch.from_numpy(batch["wave16k"])
        with torch.autocast("cpu", enabled=False):
            log_mel = self.hide_bands(self.model.log_mel(wave), stage.hidden_bands)
        positions = self.model.config.encoder.positions
        offset = torch.from_numpy(self.random.integers(0, positions, len(wave)))
        frozen = stage.encoder_rate == 0
        encoded, features = self.model.features(log_mel, offset, frozen=frozen)
        phones = self.model.phone_head(encoded).float().flatten(0, 1)
        target = torch.from_numpy(batch["phones"]).long().flatten()
        return functional.cross_entropy(phones, target, ignore_index=-1), phones, features

    def hide_bands(self, log_mel: Tensor, most: int) -> Tensor:
        """`[B, bands, T]` with two runs of up to `most` bands at their mean (Park et al., 2019)."""
        if not most:
            return log_mel
        band = torch.arange(log_mel.shape[1])[:, None]
        for _ in range(2):
            width = torch.from_numpy(self.random.integers(0, most + 1, (len(log_mel), 1, 1)))
            first = torch.from_numpy(
                self.random.integers(0, log_mel.shape[1] - most + 1, (len(log_mel), 1, 1))
            )
            hidden = (band >= first) & (band < first + width)
            log_mel = torch.where(hidden, log_mel.mean(-1, keepdim=True), log_mel)
        return log_mel

    def pretrain_loss(self, batch: Batch, stage: Stage) -> tuple[Tensor, dict[str, Tensor]]:
        """Stage A: phones of the frames, words of the chunks from the features alone."""
        phone_loss, phones, features = self.hear(batch, stage)
        words = self.model.early_word_head(features).float().flatten(0, 1)
        target = torch.from_numpy(batch["words"]).long().flatten()
        word_loss = functional.cross_entropy(words, target, ignore_index=-1)
        loss = stage.phone_weight * phone_loss + stage.word_weight * word_loss
        phone_target = torch.from_numpy(batch["phones"]).flatten()
        counts = {
            "phone": hits(phones, phone_target, phone_target > 0),
            "word": hits(words, target, target > 0),
        }
        return loss, counts

    def duplex_loss(self, batch: Batch, stage: Stage) -> tuple[Tensor, dict[str, Tensor]]:
        """Stages B and C: every draw of the session, phones and words beside it."""
        phone_loss, _, features = self.hear(batch, stage)
        sequences = build_sequences(
            batch["kinds"], batch["text"], batch["codes"], self.vocabulary, WINDOW
        )
        ids = self.forget(sequences.ids, stage.forget)
        hidden = self.model.read(features, ids, sequences.chunk, sequences.keep)
        logits, target = self.draws(hidden, sequences)
        weight = self.weights(target, stage.weights)
        losses = functional.cross_entropy(logits, target, reduction="none")
        token_loss = (losses * weight).sum() / weight.sum()
        word_loss = self.word_loss(hidden, sequences, batch["words"])
        loss = token_loss + stage.word_weight * word_loss + stage.phone_weight * phone_loss
        return loss, self.counts(logits, target, sequences)

    def forget(self, ids: Tensor, share: float) -> Tensor:
        """`ids` with a share of words and codes replaced by a mark (Bowman et al., 2016).

        What the start of a reply usually leads to must not outweigh what the user said: a
        combination of slots that never occurred is lost to its neighbours otherwise.
        """
        special = self.vocabulary.special
        control = (ids >= min(special.values())) & (ids < self.vocabulary.audio_begin)
        hidden = (ids >= 0) & ~control & (torch.rand(ids.shape) < share)
        return torch.where(hidden, special[FORGOTTEN], ids)

    def draws(self, hidden: Tensor, sequences: Sequences) -> tuple[Tensor, Tensor]:
        """Logits `[n, vocab]` of all draws, legal ids only, and what should be drawn."""
        drawn = sequences.slot > 0
        logits = self.model.backbone.lm_head(hidden[drawn]).float()
        return logits + self.illegal[sequences.slot[drawn]], sequences.target[drawn]

    def word_loss(self, hidden: Tensor, sequences: Sequences, words: np.ndarray) -> Tensor:
        """The user's word of each chunk, where its feature is read; padding repeats chunk C - 1."""
        heard = (sequences.ids < 0) & (sequences.slot > 0)
        target = torch.from_numpy(words).long().gather(1, sequences.chunk)[heard]
        logits = self.model.word_head(hidden[heard]).float()
        return functional.cross_entropy(logits, target, ignore_index=-1)

    def weights(self, target: Tensor, weights: tuple[float, ...]) -> Tensor:
        """Weight of each draw by what should be drawn."""
        think, shift, stop, word, pad, code = weights
        special = self.vocabulary.special
        result = torch.full(target.shape, word)
        result[target >= self.vocabulary.audio_begin] = code
        for name, weight in ((THINK, think), (SHIFT, shift), (BREAK, stop), (END_OF_TEXT, pad)):
            result[target == special[name]] = weight
        return result

    def counts(self, logits: Tensor, target: Tensor, sequences: Sequences) -> dict[str, Tensor]:
        """Kind of draw -> [right ones, all]; `false_shift` counts SHIFT where THINK is right."""
        special, audio = self.vocabulary.special, self.vocabulary.audio_begin
        is_word = target < min(special.values())
        result = {
            "think": hits(logits, target, target == special[THINK]),
            "shift": hits(logits, target, target == special[SHIFT]),
            "break": hits(logits, target, target == special[BREAK]),
            "pad": hits(logits, target, target == special[END_OF_TEXT]),
            "word": hits(logits, target, is_word),
            "code": hits(logits, target, target >= audio),
        }
        right, total = result["think"]
        result["false_shift"] = torch.stack([total - right, total])
        return result


def hits(logits: Tensor, target: Tensor, which: Tensor) -> Tensor:
    """[right, all] among `which`."""
    right = (logits.detach().argmax(-1) == target)[which].sum()
    return torch.stack([right, which.sum()]).float()


class Gauges:
    """Moving averages of rates over the last `steps` or so."""

    def __init__(self, steps: float = 20.0) -> None:
        self.keep = 1 - 1 / steps
        self.sums: dict[str, Tensor] = {}

    def update(self, counts: dict[str, Tensor]) -> dict[str, float]:
        for name, count in counts.items():
            self.sums[name] = self.sums.get(name, torch.zeros(2)) * self.keep + count
        return {name: float(s[0] / s[1].clamp(min=1e-6)) for name, s in self.sums.items()}


def rates(stage: Stage) -> Callable[[str], float]:
    """Factor of the rate by name: what is pre-trained moves slower."""
    factors = {"encoder": stage.encoder_rate, "adapter": stage.adapter_rate}
    return lambda name: factors.get(name.partition(".")[0], 1.0)


def train(
    listener: Listener,
    stage: Stage,
    draw: Callable[[], Batch],
    folder: Path,
    *,
    minutes: float,
    start: Path | None = None,
    shipped_backbone: bool = False,
) -> Run:
    """Run one stage from the weights in `start` to its end, or on from where it stopped.

    The weights lie in folder/last.pt. `shipped_backbone`: that of the bundle instead of start's.
    """
    model = listener.model
    names = ("encoder", "adapter", "phone_head", "early_word_head")
    rate = rates(stage)
    named = [
        (name, parameter)
        for name, parameter in model.named_parameters()
        if rate(name) and (stage.before or name.startswith(names))
    ]
    fresh = not (folder / "last.pt").is_file()
    if start is not None and fresh:
        load_weights(model, start)
    if shipped_backbone and fresh:
        load_shipped_backbone(model.backbone)
    optimizers = Optimizers(named, stage.lr, scale=rate)
    run = Run(folder, {"model": model, "optimizers": optimizers}, 60 * minutes)
    gauges = Gauges()
    loss_of = listener.duplex_loss if stage.before else listener.pretrain_loss
    while run.goes_on:
        batch = draw()
        with torch.autocast("cpu", torch.bfloat16):
            loss, counts = loss_of(batch, stage)
        loss.backward()
        norm = optimizers.step(time_schedule(run.progress, decay_from=stage.decay_from))
        run.after_step(loss=loss.item(), norm=norm, **gauges.update(counts))
    return run


def load_weights(model: ListenModel, path: Path) -> None:
    """The weights of a finished or running stage."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    weights = state["parts"]["model"]
    for name, tensor in model.state_dict().items():
        if "word_head" in name and len(weights[name]) < len(tensor):
            # Words that training hears since then come last.
            weights[name] = torch.cat([weights[name], tensor[len(weights[name]) :]])
    model.load_state_dict(weights)


def open_listener(ears: Ears = EARS) -> Listener:
    """A model of the domain's sizes that hears with an encoder and adapter of these."""
    from train.domain import load_domain
    from train.paraphrases import load_more
    from train.phones import PHONES

    domain = load_domain()
    vocabulary = Vocabulary(tuple(domain.reply_words))
    n_words = 1 + len(load_more(domain).user_words)
    return Listener(vocabulary, n_phones=len(PHONES), n_words=n_words, ears=ears)


def add_arguments(parser: Any) -> None:
    """Of `python -m train listen`."""
    parser.add_argument("--stage", choices=tuple(STAGES), required=True)
    parser.add_argument("--minutes", type=float, help="training time (default: the recipe's)")
    parser.add_argument(
        "--start", type=Path, help="last.pt to start from (default: of the stage before)"
    )
    parser.add_argument(
        "--shipped-backbone",
        action="store_true",
        help="start with the backbone of the bundle that ships, whatever hears before it",
    )
    parser.add_argument("--seed", type=int, default=1)


def run(args: Any) -> None:
    """The step `listen`."""
    from train.bank import Bank
    from train.dialogues import DialogueSampler

    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    stage = STAGES[args.stage]
    listener = open_listener()
    if not stage.before:
        listener.model.encoder.load_state_dict(distilled().state_dict())
    # A run that is taken up again must not see the same dialogues once more.
    sampler = DialogueSampler(Bank(), "train", int.from_bytes(os.urandom(4)))
    sample = sampler.batch if stage.before else sampler.dense

    def draw() -> Batch:
        return sample(stage.batch, stage.seconds, **stage.scenes)

    start: Path | None = args.start
    if start is None and stage.before:
        start = RUNS / f"listen_{stage.before}/last.pt"
    minutes = args.minutes or stage.minutes
    train(
        listener,
        stage,
        draw,
        RUNS / f"listen_{stage.name}",
        minutes=minutes,
        start=start,
        shipped_backbone=args.shipped_backbone,
    )

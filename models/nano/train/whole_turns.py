"""A half-duplex sister of nano: the shipped weights learn the published layout of whole turns.

A conversation is the family's own prompts with the features of a whole turn in them, and replies of
5 text and 15 audio tokens in turn. It goes on from the shipped bundle, encoder included, since
whole segments are heard differently from chunks. Afterwards `assemble --whole-turns` writes it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from parley_export.families.covo_audio.modules.front_end import (
    FrontEndConfig,
    count_features,
    segment_log_mel,
)
from parley_export.families.covo_audio.prompts import AUDIO_PLACEHOLDER, IM_END, turn_templates
from train.dialogues import DialogueSampler, Mix
from train.listen import RUNS, Gauges, Listener, hits, load_weights, open_listener
from train.listen_model import think
from train.optim import Optimizers, Run, time_schedule
from train.scene import USER_HZ, Answer
from train.shipped import load_shipped, shipped_ears
from train.vocabulary import Vocabulary, write_tokenizer

RUN = RUNS / "whole_turns"
TEXT_RUN, AUDIO_RUN = 5, 15  # tokens of each kind, in turn
BATCH, TURNS = 6, 3  # conversations, and their turns at the most
RATE, ENCODER_RATE, DECAY_FROM = 1e-3, 0.3, 0.3
MINUTES = 90.0
WEIGHTS = {"word": 2.0, "code": 0.5, "end": 2.0}
CUT = 0.25  # share of replies that were interrupted
HEAR = Mix(leakage=0.0, pauses=0.4, speed=0.1, longest_pause=0.9)


@dataclass
class Layout:
    """The ids of prompts; a feature is -1."""

    first: tuple[list[int], list[int]]  # before and behind the features
    next: tuple[list[int], list[int]]
    end: int

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> Layout:
        """As the exporter's tokenizer reads the family's templates."""
        from tokenizers import Tokenizer

        with TemporaryDirectory() as folder:
            write_tokenizer(Path(folder), vocabulary)
            tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        found = []
        for name in ("first", "next"):
            text = turn_templates()[name].replace("{system}", "")
            ids = tokenizer.encode(text.replace("{user}", AUDIO_PLACEHOLDER)).ids
            at = ids.index(vocabulary.special[AUDIO_PLACEHOLDER])
            found.append((ids[:at], ids[at + 1 :]))
        return cls(found[0], found[1], vocabulary.special[IM_END])


def reply_ids(answer: Answer, vocabulary: Vocabulary) -> list[int]:
    """5 words, 15 codes, 5 words, ... and what is left of the longer kind."""
    words = [vocabulary.word_id(int(word)) for word in answer.words if word >= 0]
    codes = (vocabulary.audio_begin + answer.codes.reshape(-1).astype(int)).tolist()
    ids: list[int] = []
    while words or codes:
        ids += words[:TEXT_RUN] + (codes[:AUDIO_RUN] if words[TEXT_RUN:] else codes)
        words, codes = words[TEXT_RUN:], codes[AUDIO_RUN:] if words[TEXT_RUN:] else []
    return ids


def turn_log_mel(wave: Tensor, front: FrontEndConfig) -> tuple[Tensor, int]:
    """`[n]` at 16 kHz as the engine hears it without its segment's silence, and its features."""
    factor = front.input_hz // 100, front.encoder_hz // 100
    n_features = count_features(len(wave) * factor[0] // factor[1], front)
    frames = (n_features + 1) << front.feature_halvings
    samples = frames * front.hop
    short = FrontEndConfig(
        n_mels=front.n_mels, segment_samples=samples * front.input_hz // front.encoder_hz
    )
    return segment_log_mel(wave[:samples], short), n_features


class Conversations:
    """Endless conversations of whole turns out of the bank's train items."""

    def __init__(self, sampler: DialogueSampler, vocabulary: Vocabulary) -> None:
        self.sampler, self.vocabulary = sampler, vocabulary
        self.layout = Layout.of(vocabulary)
        self.rng = sampler.rng

    def turn(self) -> tuple[np.ndarray, Answer]:
        """What the microphone heard of a command, from before it to a pause behind it."""
        command, spoken = self.sampler.command(HEAR)
        before, after = (
            int(self.rng.uniform(*span) * USER_HZ) for span in ((0.1, 0.7), (0.2, 0.9))
        )
        heard = self.sampler.microphone(np.pad(spoken.wave, (before, after)), None, HEAR)
        return heard, self.sampler.answer_of(command)

    def ids(self) -> Iterator[tuple[np.ndarray, list[int], list[int], list[int]]]:
        """Of each turn: its sound, ids before and behind its features, ids of the reply."""
        last = int(self.rng.integers(1, TURNS + 1)) - 1
        for n in range(last + 1):
            wave, answer = self.turn()
            before, behind = self.layout.next if n else self.layout.first
            reply = reply_ids(answer, self.vocabulary)
            if n < last and self.rng.random() < CUT:
                reply = reply[: int(self.rng.integers(TEXT_RUN + 1, len(reply)))]
            yield wave, before, behind, [*reply, self.layout.end]


class WholeTurns:
    """A model and what it reads: conversations to losses and counts."""

    def __init__(self, listener: Listener, conversations: Conversations) -> None:
        self.listener, self.model = listener, listener.model
        self.conversations = conversations
        self.front = FrontEndConfig(n_mels=self.model.config.encoder.n_mels)

    def features(self, wave: np.ndarray) -> Tensor:
        """`[n, width]` of a turn."""
        with torch.autocast("cpu", enabled=False):
            log_mel, n = turn_log_mel(torch.from_numpy(wave), self.front)
        return self.model.adapter(self.model.encoder(log_mel[None]))[0, :n]

    def conversation(self) -> tuple[Tensor, Tensor]:
        """Rows `[L, width]`, and the target of each (-1: none)."""
        embed = self.model.backbone.model.embed_tokens
        rows: list[Tensor] = []
        targets: list[int] = []
        for wave, before, behind, reply in self.conversations.ids():
            features = self.features(wave)
            rows += [embed(torch.tensor(before)), features.float()]
            rows += [embed(torch.tensor([*behind, *reply]))]
            targets += [-1] * (len(before) + len(features) + len(behind) - 1) + [*reply, -1]
        return torch.cat(rows), torch.tensor(targets)

    def loss(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Every id of every reply."""
        held = [self.conversation() for _ in range(BATCH)]
        length = max(len(rows) for rows, _ in held)
        x = torch.stack([functional.pad(rows, (0, 0, 0, length - len(rows))) for rows, _ in held])
        target = torch.stack([functional.pad(t, (0, length - len(t)), value=-1) for _, t in held])
        keep = torch.ones(1, length, length, dtype=torch.bool).tril_()
        hidden = think(self.model.backbone, x, keep, reach=length)
        logits = self.model.backbone.lm_head(hidden[target >= 0]).float()
        target = target[target >= 0]
        weight, kinds = torch.zeros(len(target)), self.kinds(target)
        for name, which in kinds.items():
            weight[which] = WEIGHTS[name]
        losses = functional.cross_entropy(logits, target, reduction="none")
        counts = {name: hits(logits, target, which) for name, which in kinds.items()}
        return (losses * weight).sum() / weight.sum(), counts

    def kinds(self, target: Tensor) -> dict[str, Tensor]:
        """Which targets are words, codes, the end."""
        code = target >= self.listener.vocabulary.audio_begin
        end = target == self.conversations.layout.end
        return {"word": ~code & ~end, "code": code, "end": end}


def load_whole_turns() -> Listener:
    """What was trained so far. Raises FileNotFoundError where nothing was."""
    listener = open_listener(shipped_ears())
    load_weights(listener.model, RUN / "last.pt")
    return listener


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `python -m train whole_turns`."""
    parser.add_argument("--minutes", type=float, default=MINUTES, help="training time")


def run(args: argparse.Namespace) -> None:
    """The step `whole_turns`."""
    from train.bank import Bank

    torch.set_num_threads(1)
    listener = open_listener(shipped_ears())
    load_shipped(listener.model)
    sampler = DialogueSampler(Bank(), "train", int.from_bytes(os.urandom(4)))
    trained = WholeTurns(listener, Conversations(sampler, listener.vocabulary))
    named = [
        (name, parameter)
        for name, parameter in listener.model.named_parameters()
        if name.startswith(("encoder", "adapter", "backbone"))
    ]
    optimizers = Optimizers(
        named, RATE, scale=lambda name: ENCODER_RATE if name.startswith("encoder") else 1.0
    )
    training = Run(RUN, {"model": listener.model, "optimizers": optimizers}, 60 * args.minutes)
    gauges = Gauges()
    while training.goes_on:
        with torch.autocast("cpu", torch.bfloat16):
            loss, counts = trained.loss()
        loss.backward()
        norm = optimizers.step(time_schedule(training.progress, decay_from=DECAY_FROM))
        training.after_step(loss=loss.item(), norm=norm, **gauges.update(counts))

"""A listening model on held-out dialogues without teacher, as a quick look; knows no engine.

The real measurement goes through the engine. This one follows the session's rules in PyTorch: the
same window, legal ids and greedy draws, on the encoder's training form (equal to its streamed one).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parley_export.modules.rotary import rotary_angles, rotary_rates
from train.assemble import latest_listener
from train.listen import Listener
from train.listen_model import WINDOW
from train.listen_sequence import (
    KIND_BREAK,
    KIND_SHIFT,
    KIND_SPEAK,
    KIND_THINK,
    SLOT_AUDIO,
    SLOT_LISTEN,
    SLOT_SPEAK,
    SLOT_TEXT,
    legal_ids,
)
from train.vocabulary import BREAK, CODES_PER_CHUNK, END_OF_TEXT, SHIFT, THINK

Cache = list[tuple[Tensor, Tensor]]


@dataclass
class Reply:
    """What was said from chunk `first` on; `stopped` is the chunk of its BREAK, -1 at the end."""

    first: int
    ids: list[int] = field(default_factory=list)  # words
    texts: list[int] = field(default_factory=list)  # a text id per chunk
    codes: list[list[int]] = field(default_factory=list)
    stopped: int = -1


class Conversation:
    """One session: features in, draws out, chunk by chunk."""

    def __init__(self, listener: Listener) -> None:
        self.listener, self.backbone = listener, listener.model.backbone
        self.legal = legal_ids(listener.vocabulary)
        self.cache: Cache = []
        self.starts: list[int] = []
        self.next = 0  # position of what is fed next
        self.pending: int | None = None
        self.speaking = False
        self.chunk = 0
        self.replies: list[Reply] = []

    def feed(self, rows: Tensor) -> Tensor:
        """Embeddings `[n, width]`; returns the last position's logits."""
        config, n = self.backbone.config, len(rows)
        positions = torch.arange(self.next, self.next + n)
        angles = rotary_angles(positions, rotary_rates(config.head_width, config.rope_theta))
        n_past = self.cache[0][0].shape[2] if self.cache else 0
        mask = torch.ones(n, n_past + n, dtype=torch.bool).tril(n_past)
        x, after = rows[None], []
        for i, layer in enumerate(self.backbone.model.layers):
            past = self.cache[i] if self.cache else None
            mixed, kept = layer.self_attn(layer.input_layernorm(x), angles, mask, past)
            x = x + mixed
            x = x + layer.mlp(layer.post_attention_layernorm(x))
            after.append(kept)
        self.cache = after
        self.next += n
        return self.backbone.lm_head(self.backbone.model.norm(x[0, -1]))

    def draw(self, rows: Tensor, slot: int) -> int:
        logits = self.feed(rows).masked_fill(~self.legal[slot], -torch.inf)
        self.pending = int(logits.argmax())
        return self.pending

    def embed(self, token: int) -> Tensor:
        return self.backbone.model.embed_tokens.weight[token][None]

    def step(self, feature: Tensor) -> int:
        """One chunk with its feature `[width]`; returns its kind."""
        self.starts.append(self.next)
        rows = feature[None]
        if self.pending is not None:
            rows = torch.cat([self.embed(self.pending), rows])
        kind = self.decide(rows)
        self.chunk += 1
        self.forget()
        return kind

    def decide(self, rows: Tensor) -> int:
        special = self.listener.vocabulary.special
        if not self.speaking:
            if self.draw(rows, SLOT_LISTEN) == special[THINK]:
                return KIND_THINK
            self.speaking = True
            self.replies.append(Reply(self.chunk))
            self.speak(self.draw(self.embed(special[SHIFT]), SLOT_TEXT))
            return KIND_SHIFT
        drawn = self.draw(rows, SLOT_SPEAK)
        if drawn == special[BREAK]:
            self.speaking = False
            self.replies[-1].stopped = self.chunk
            return KIND_BREAK
        self.speak(drawn)
        return KIND_SPEAK

    def speak(self, text: int) -> None:
        reply, first = self.replies[-1], self.listener.vocabulary.audio_begin
        reply.texts.append(text)
        if text != self.listener.vocabulary.special[END_OF_TEXT]:
            reply.ids.append(text)
        codes = []
        for _ in range(CODES_PER_CHUNK):
            assert self.pending is not None
            codes.append(self.draw(self.embed(self.pending), SLOT_AUDIO) - first)
        reply.codes.append(codes)

    def forget(self) -> None:
        """Drop the oldest whole chunks; positions go on."""
        dropped = 0
        while len(self.starts) > 1 and self.next - self.starts[0] > WINDOW:
            dropped += self.starts[1] - self.starts[0]
            self.starts.pop(0)
        if dropped:
            self.cache = [(k[:, :, dropped:], v[:, :, dropped:]) for k, v in self.cache]


# ---------------------------------------------------------------- score

# Kind of scene -> shares of what happens in it.
SCENES = {
    "turns": {"pauses": 0.0, "backchannels": 0.0, "stops": 0.0, "new_commands": 0.0},
    "pauses": {"pauses": 1.0, "backchannels": 0.0, "stops": 0.0, "new_commands": 0.0},
    "backchannels": {"pauses": 0.0, "backchannels": 1.0, "stops": 0.0, "new_commands": 0.0},
    "stops": {"pauses": 0.0, "backchannels": 0.0, "stops": 1.0, "new_commands": 0.0},
    "new_commands": {"pauses": 0.0, "backchannels": 0.0, "stops": 0.0, "new_commands": 0.5},
}
EARLY, LATE, STOP_LATE = 2, 4, 3  # chunks around the labels that still count


@torch.no_grad()
def converse(listener: Listener, wave: np.ndarray, offset: int) -> list[Reply]:
    """What the model says to one recording `[samples]` at 16 kHz."""
    log_mel = listener.model.log_mel(torch.from_numpy(wave)[None])
    _, features = listener.model.features(log_mel, torch.tensor([offset]))
    conversation = Conversation(listener)
    for feature in features[0]:
        conversation.step(feature)
    return conversation.replies


def expected_replies(kinds: np.ndarray, text: np.ndarray, listener: Listener) -> list[Reply]:
    """The labels of one dialogue as replies; the end may cut off the last."""
    found: list[Reply] = []
    for chunk, kind in enumerate(kinds.tolist()):
        if kind == KIND_SHIFT:
            found.append(Reply(chunk))
        if kind in (KIND_SHIFT, KIND_SPEAK) and text[chunk] >= 0:
            found[-1].ids.append(listener.vocabulary.word_id(int(text[chunk])))
        if kind == KIND_BREAK:
            found[-1].stopped = chunk
    return found


def score(expected: list[Reply], said: list[Reply]) -> dict[str, int]:
    """Counts: replies expected, begun in time, of the exact text, ended in time; and false ones."""
    counts = {"n": 0, "turn": 0, "exact": 0, "stop": 0, "false": 0}
    used: set[int] = set()
    for reply in expected:
        near = [
            i
            for i, other in enumerate(said)
            if -EARLY <= other.first - reply.first <= LATE and i not in used
        ]
        used.update(near[:1])
        if reply.stopped < 0:  # cut off by the end: neither right nor false
            continue
        counts["n"] += 1
        if not near:
            continue
        other = said[near[0]]
        n = min(len(reply.ids), len(other.ids))
        interrupted = abs(len(reply.ids) - len(other.ids)) <= STOP_LATE
        counts["turn"] += 1
        counts["exact"] += interrupted and reply.ids[:n] == other.ids[:n]
        counts["stop"] += abs(other.stopped - reply.stopped) <= STOP_LATE
    counts["false"] = len(said) - len(used)
    return counts


def evaluate(listener: Listener, sampler: Any, scene: str, n: int, seconds: float) -> dict:
    """Totals of `score` over about n expected replies."""
    total: dict[str, int] = {}
    random = np.random.default_rng(5)
    while total.get("n", 0) < n:
        batch = sampler.batch(1, seconds, unanswered=0.0, **SCENES[scene])
        offset = int(random.integers(listener.model.config.encoder.positions))
        said = converse(listener, batch["wave16k"][0], offset)
        expected = expected_replies(batch["kinds"][0], batch["text"][0], listener)
        for name, count in score(expected, said).items():
            total[name] = total.get(name, 0) + count
    return total


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `python -m train rollout`."""
    parser.add_argument("--n", type=int, default=100, help="replies per kind of scene")
    parser.add_argument("--seconds", type=float, default=16.0)
    parser.add_argument("--split", default="held_voices")
    parser.add_argument("--scenes", nargs="+", choices=tuple(SCENES), default=tuple(SCENES))


def run(args: argparse.Namespace) -> None:
    """The step `rollout`."""
    from train.bank import Bank
    from train.dialogues import DialogueSampler

    torch.set_num_threads(1)
    listener = latest_listener()
    listener.model.eval()
    sampler = DialogueSampler(Bank(), args.split, 5)
    for scene in args.scenes:
        total = evaluate(listener, sampler, scene, args.n, args.seconds)
        n = total.pop("n")
        shares = "  ".join(f"{name} {count / n:.1%}" for name, count in total.items())
        print(f"{args.split} {scene}: n {n}  {shares}", flush=True)

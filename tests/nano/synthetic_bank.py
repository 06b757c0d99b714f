"""A tiny bank of tones instead of speech, for tests of what reads banks; needs no synthesizer."""

import json
from pathlib import Path

import numpy as np
from train.bank import Bank
from train.domain import Domain, load_domain
from train.synthesis import Speech
from train.user_bank import Plan, write_shard

CHUNKS = 12  # of every reply

DOMAIN = """
version: 1
slots:
  room: [kitchen, garage, garden, office]
  switch: ["on", "off"]
intents:
  light:
    phrasings: ["turn {switch} the {room} light", "{room} light {switch}"]
    held: "make the {room} light go {switch}"
    reply: "the {room} light is {switch}"
    held_every: 3
  joke:
    phrasings: ["tell me a joke", "tell me a joke about lights"]
    held: "a joke please"
    reply: "no more jokes"
stop_words: {train: [stop], held: [enough]}
backchannels: {train: [okay], held: [aha]}
"""


def small_domain(folder: Path) -> Domain:
    """A domain of two intents with everything that a domain can have."""
    path = folder / "domain.yaml"
    path.write_text(DOMAIN)
    return load_domain(path)


def tone_speech(text: str, pitch: float) -> Speech:
    """A quarter of a second of a tone for each word; a word is one phone, its length's id."""
    words = text.split()
    starts = np.arange(len(words)) * 4000
    time = np.arange(4000 * len(words)) / 16000
    wave = (0.1 * np.sin(2 * np.pi * pitch * time)).astype(np.float32)
    return Speech(wave, 16000, starts, np.array([len(word) for word in words]), starts)


def write_bank(folder: Path) -> Bank:
    """A complete bank: every command, stop word and backchannel by a train and a held voice."""
    domain = small_domain(folder)
    said = [(c.split, c.text, c.intent, c.slots, c.reply) for c in domain.commands]
    for group in ("stop_words", "backchannels"):
        said += [(group, text, "", (), "") for text in getattr(domain, group)["train"]]
    plans = [
        Plan(voices, *row, number)
        for number, voices in enumerate(("train", "held"))
        for row in said
        if voices == "held" or row[0] in ("train", "stop_words", "backchannels")
    ]
    for group in ("stop_words", "backchannels"):
        plans += [Plan("held", group, t, "", (), "", 1) for t in getattr(domain, group)["held"]]
    spoken = ((p, f"voice {p.voices}", tone_speech(p.text, 200 + 100 * p.number)) for p in plans)
    write_shard(folder / "users_espeak_000.npz", spoken)
    _write_replies(folder, domain)
    return Bank(folder, domain)


def _write_replies(folder: Path, domain: Domain) -> None:
    train = domain.train_replies
    rows = [{"text": t, "split": "train" if t in train else "held"} for t in domain.replies]
    words = []
    for row in rows:
        ids = [domain.reply_words.index(word) for word in row["text"].split()]
        words += [*ids, *[-1] * (CHUNKS - len(ids))]
    chunks = CHUNKS * len(rows)
    waves = {f"wave_{v}": np.full(3840 * chunks, 1000, np.int16) for v in "ab"}
    latents = {f"latents_{v}": np.zeros((16 * chunks, 64), np.float16) for v in "ab"}
    np.savez(
        folder / "replies.npz",
        lengths=np.full(len(rows), CHUNKS * 3840),
        codes=(np.arange(4 * chunks) % 512).astype(np.int16),
        words=np.array(words, np.int16),
        latent_mean=np.zeros(64, np.float32),
        latent_var=np.ones(64, np.float32),
        silence=np.int64(7),
        **waves,
        **latents,
    )
    (folder / "replies.json").write_text(json.dumps(rows))

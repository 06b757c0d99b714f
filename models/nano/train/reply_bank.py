"""Builds the assistant's side of the bank: two voices, latents, codes, words; knows no user.

Both voices speak each reply with the same phone times: voice b is warped in time, phone by phone,
onto voice a (a few per cent). Codes come from a k-means over both voices' normalised latents side
by side, so a code says what is spoken and never who speaks.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from train.domain import Domain
from train.latents import BANDS, FRAMES_PER_CODE, HOP, RATE, raw_latents_of
from train.paraphrases import More
from train.synthesis import ESPEAK_HZ, Espeak, Speech, resample_exactly

VOICES = {"a": ("en-US+f3", 50), "b": ("en-US+m1", 40)}
SPEAKING_RATE = 165
LEVEL = 0.08
CHUNK_SAMPLES = 3840
CODES = 512
SENTENCES = 600
TAIL_SAMPLES = 1200
PROMPT = "the nearest library is three miles away and your window is open today"
CODEBOOK = Path(__file__).resolve().parent.parent / "checkpoints" / "codebook.npz"

Array = npt.NDArray[np.float32]


def sentences(domain: Domain, count: int = SENTENCES) -> list[str]:
    """Made-up sentences of 4 to 8 reply words; each word comes about equally often."""
    rng = np.random.default_rng(17)
    words = list(domain.reply_words)
    queue: list[str] = []
    made = []
    for _ in range(count):
        length = int(rng.integers(4, 9))
        while len(queue) < length:
            queue += [words[index] for index in rng.permutation(len(words))]
        made.append(" ".join(queue[:length]))
        queue = queue[length:]
    return made


def warp(wave: Array, own: npt.NDArray[np.int64], target: npt.NDArray[np.int64]) -> Array:
    """`wave` played so that its samples `own` come at the samples `target` [target[-1]]."""
    dense = resample_exactly(wave, 8, 1)
    times = np.interp(np.arange(target[-1]), target, own) * 8
    return np.interp(times, np.arange(len(dense)), dense).astype(np.float32)


def speak_both(espeak: Espeak, text: str) -> tuple[Array, Array, Speech]:
    """Both voices at 24 kHz with voice a's times, and voice a's speech (at espeak-ng's rate)."""
    a, b = (
        espeak.say(text, name, rate=SPEAKING_RATE, pitch=pitch, spread=50)
        for name, pitch in VOICES.values()
    )
    if a.phone_ids.tolist() != b.phone_ids.tolist():
        raise ValueError(f"[bank.replies] expected the same phones from both voices for {text!r}")
    ends = (np.append(s.phone_starts, len(s.wave)) for s in (b, a))
    own, target = (np.insert(places, 0, 0) for places in ends)
    warped = warp(b.wave, own, target)
    waves = [resample_exactly(wave, 160, 147) for wave in (a.wave, warped)]
    return waves[0], waves[1], a


def on_grid(wave: Array) -> Array:
    """`wave` with a short silence and then zeros up to a whole chunk."""
    length = -(-(len(wave) + TAIL_SAMPLES) // CHUNK_SAMPLES) * CHUNK_SAMPLES
    return np.pad(wave, (0, length - len(wave)))


def schedule(starts: Sequence[int], chunks: int) -> list[int]:
    """The chunk of each word: at or before the chunk where it starts, one a chunk, in order.

    `starts` are the chunks in which the words start. Where too many words start at once for
    that, they are pushed to later chunks.
    """
    placed = list(starts)
    for index in range(len(placed) - 2, -1, -1):
        placed[index] = min(placed[index], placed[index + 1] - 1)
    last = -1
    for index, chunk in enumerate(placed):
        last = max(chunk, last + 1)
        placed[index] = last
    if placed and placed[-1] >= chunks:
        raise ValueError("[bank.schedule] expected fewer words than chunks; speak slower")
    return placed


def k_means(points: Array, count: int, rounds: int = 25) -> Array:
    """Centres [count, D] of `points` [N, D] by Lloyd's rounds; an empty one moves to the worst."""
    rng = np.random.default_rng(23)
    centres = points[rng.choice(len(points), count, replace=False)].copy()
    for _ in range(rounds):
        nearest, distance = assign(points, centres)
        sizes = np.bincount(nearest, minlength=count)
        order = np.argsort(nearest, kind="stable")
        filled = np.flatnonzero(sizes)
        begins = np.concatenate([[0], np.cumsum(sizes[filled])[:-1]])
        sums = np.add.reduceat(points[order], begins, axis=0)
        centres[filled] = sums / sizes[filled, None]
        empty = np.flatnonzero(sizes == 0)
        centres[empty] = points[np.argsort(-distance)[: len(empty)]]
    return centres


def assign(points: Array, centres: Array) -> tuple[npt.NDArray[np.int64], Array]:
    """The nearest of `centres` for each of `points`, and its squared distance."""
    nearest = np.empty(len(points), np.int64)
    distance = np.empty(len(points), np.float32)
    norms = (centres**2).sum(1)
    for begin in range(0, len(points), 8192):
        part = points[begin : begin + 8192]
        scores = norms - 2 * part @ centres.T
        nearest[begin : begin + 8192] = scores.argmin(1)
        distance[begin : begin + 8192] = scores.min(1) + (part**2).sum(1)
    return nearest, distance


def build_replies(domain: Domain, folder: Path) -> None:
    """Writes replies.npz and replies.json into `folder`, if they are not there."""
    if (folder / "replies.json").exists():
        return
    train = set(domain.train_replies)
    rows = [(text, "train" if text in train else "held") for text in domain.replies]
    made_up = sentences(domain)
    rows += [(text, "sentence") for text in made_up[:-40]]
    rows += [(text, "held_sentence") for text in made_up[-40:]]
    rows.append((PROMPT, "prompt"))
    waves, words = _speak_all(domain, [text for text, _ in rows])
    _write(folder, rows, waves, words)


def build_more_replies(domain: Domain, more: More, folder: Path) -> None:
    """Writes what only training reads: replies_more.npz and .json, without latents."""
    if (folder / "replies_more.json").exists():
        return
    texts = [text for text in more.replies if text not in set(domain.replies)]
    waves, words = _speak_all(domain, texts)
    latents = {
        voice: np.concatenate([raw_latents_of(wave) for wave in waves[voice]]) for voice in VOICES
    }
    partial = folder / "replies_more.partial"
    with partial.open("wb") as file:
        np.savez(
            file,
            lengths=np.array([len(wave) for wave in waves["a"]], np.int64),
            codes=Codebook.read(folder / CODEBOOK.name).codes(latents).astype(np.int16),
            words=np.concatenate(words),
            **_as_int16(waves),
        )
    partial.rename(folder / "replies_more.npz")
    rows = [{"text": text, "split": "more"} for text in texts]
    (folder / "replies_more.json").write_text(json.dumps(rows))


def _as_int16(waves: Mapping[str, list[Array]]) -> dict[str, npt.NDArray[np.int16]]:
    return {
        f"wave_{voice}": np.round(np.concatenate(waves[voice]) * 32767).astype(np.int16)
        for voice in VOICES
    }


def _speak_all(
    domain: Domain, texts: Sequence[str]
) -> tuple[dict[str, list[Array]], list[npt.NDArray[np.int16]]]:
    """Each text on the chunk grid in both voices, and its words' places."""
    espeak = Espeak()
    index_of = {word: index for index, word in enumerate(domain.reply_words)}
    waves: dict[str, list[Array]] = {voice: [] for voice in VOICES}
    words = []
    for number, text in enumerate(texts):
        a, b, speech = speak_both(espeak, text)
        for voice, wave in zip(VOICES, (a, b), strict=True):
            level = np.sqrt(np.mean(wave**2))
            waves[voice].append(on_grid(wave * min(LEVEL / level, 0.95 / np.abs(wave).max())))
        chunks = len(waves["a"][-1]) // CHUNK_SAMPLES
        starts = speech.word_starts / ESPEAK_HZ * RATE // CHUNK_SAMPLES
        text_ids = np.full(chunks, -1, np.int16)
        placed = schedule(starts.astype(int).tolist(), chunks)
        for word, chunk in zip(text.split(), placed, strict=True):
            text_ids[chunk] = index_of.get(word, -1)
        words.append(text_ids)
        if number % 200 == 199:
            print(f"bank: {number + 1}/{len(texts)} replies", file=sys.stderr, flush=True)
    return waves, words


@dataclass(frozen=True)
class Codebook:
    """What makes codes of both voices' latents: centres [512, 512] of both side by side.

    mean and spread [2, 64] are each voice's own: what is left is what both say.
    """

    centres: Array
    mean: Array
    spread: Array

    @classmethod
    def of(cls, latents: Mapping[str, Array], readable: npt.NDArray[np.bool_]) -> "Codebook":
        """A codebook from the `readable` codes [N] of both voices' latents [4 N, 64]."""
        frames = np.repeat(readable, FRAMES_PER_CODE)
        chosen = [latents[voice][frames] for voice in VOICES]
        mean = np.stack([part.mean(0) for part in chosen])
        spread = np.stack([part.std(0) for part in chosen])
        book = cls(np.empty((0, 0), np.float32), mean, spread)
        return replace(book, centres=k_means(book.points(latents)[readable], CODES))

    @classmethod
    def read(cls, path: Path) -> "Codebook":
        """The codebook in a file that `write` wrote."""
        with np.load(path) as file:
            return cls(*(file[name].astype(np.float32) for name in ("centres", "mean", "spread")))

    def write(self, path: Path) -> None:
        """Writes the codebook; centres as float16, as small as a checkpoint's."""
        np.savez(path, centres=self.centres.astype(np.float16), mean=self.mean, spread=self.spread)

    def points(self, latents: Mapping[str, Array]) -> Array:
        """What the centres are compared with, [N, 512]."""
        stacked = []
        for voice, mean, spread in zip(VOICES, self.mean, self.spread, strict=True):
            scaled = (latents[voice] - mean) / spread
            stacked.append(scaled.reshape(-1, FRAMES_PER_CODE * BANDS))
        return np.concatenate(stacked, 1).astype(np.float32)

    def codes(self, latents: Mapping[str, Array]) -> npt.NDArray[np.int64]:
        """The codes [N] of latents [4 N, 64]."""
        points = self.points(latents)
        codes, distance = assign(points, self.centres)
        share = 100 * float(distance.mean() / points.var(0).sum())
        print(
            f"bank: {len(codes)} codes, {len(np.unique(codes))} different, "
            f"{share:.1f} % of the variance left",
            file=sys.stderr,
        )
        return codes


def _write(
    folder: Path,
    rows: list[tuple[str, str]],
    waves: dict[str, list[Array]],
    words: list[npt.NDArray[np.int16]],
) -> None:
    lengths = np.array([len(wave) for wave in waves["a"]], np.int64)
    latents = {
        voice: np.concatenate([raw_latents_of(wave) for wave in waves[voice]]) for voice in VOICES
    }
    readable = np.repeat(
        [split in ("train", "sentence") for _, split in rows], lengths // (HOP * FRAMES_PER_CODE)
    )
    frames = np.repeat(readable, FRAMES_PER_CODE)
    both = np.concatenate([latents[voice][frames] for voice in VOICES])
    mean, variance = both.mean(0), both.var(0)
    # The checkpoints know the codes of one codebook: the one that is committed with them.
    book = Codebook.read(CODEBOOK) if CODEBOOK.exists() else Codebook.of(latents, readable)
    book.write(folder / CODEBOOK.name)
    codes = book.codes(latents)
    partial = folder / "replies.partial"
    with partial.open("wb") as file:
        np.savez(
            file,
            lengths=lengths,
            codes=codes.astype(np.int16),
            words=np.concatenate(words),
            latent_mean=mean.astype(np.float32),
            latent_var=variance.astype(np.float32),
            silence=np.int64(codes[-1]),
            **_as_int16(waves),
            **{f"latents_{voice}": latents[voice].astype(np.float16) for voice in VOICES},
        )
    partial.rename(folder / "replies.npz")
    (folder / "replies.json").write_text(
        json.dumps([{"text": text, "split": split} for text, split in rows])
    )

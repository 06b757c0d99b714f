"""How well an encoder's frames can be read: word error through tiny.en's decoder; trains nothing.

What is read was never trained on: a person's prompts and recordings of others (packages that are
only evaluated), and Kokoro's held-out voices from the bank. `python -m train read_check`.
"""

from __future__ import annotations

import argparse
import gzip
import io
import re
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from parley_export.families.covo_audio.modules import AudioEncoder
from parley_export.families.covo_audio.modules.front_end import (
    FrontEndConfig,
    chunk_log_mel,
    segment_log_mel,
)
from train.assets import AssetError, fetch, open_tar, read_member
from train.bank import BANK, read_users
from train.distill import RUN, load_student
from train.listen_model import encode
from train.reader import Reader, plain_words, word_errors
from train.whisper import build_encoder, published_weights

HZ, CHUNK = 16000, 2560
LEVEL = 0.08
LEAD = np.zeros(HZ // 2, np.float32)  # a stream has begun before somebody speaks
SOUNDS = "./usr/share/asterisk/sounds/en_US_f_Allison/"
TEXTS = "./usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
RECORDED = "./usr/share/pocketsphinx/test/data/"
_ONES = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen
"""
ONES = tuple(_ONES.split())
_TENS = """
twenty thirty forty fifty sixty seventy eighty ninety
"""
TENS = tuple(_TENS.split())
Item = tuple[np.ndarray, str]


@dataclass(frozen=True)
class Score:
    """Words in error of all words."""

    errors: int
    words: int

    def __str__(self) -> str:
        return f"{self.errors}/{self.words} = {100 * self.errors / max(self.words, 1):.1f} %"


# ---------------------------------------------------------------- what is read


def prompts(count: int) -> Iterator[Item]:
    """A person's prompts of 4 to 16 words, evenly from all, in 16 kHz."""
    from G722 import G722  # decodes them; only here

    listing = gzip.decompress(read_member(fetch("prompt-texts"), TEXTS)).decode("utf-8", "replace")
    rows = re.findall(r"^([\w/-]+): (.+)$", listing, re.MULTILINE)
    tar = open_tar(fetch("prompts"))
    names = set(tar.getnames())
    fitting = [
        (path, text)
        for name, text in rows
        if not re.search(r"[\[(*#]", text)
        and 4 <= len(text.split()) <= 16
        and (path := f"{SOUNDS}{name}.g722") in names
    ]
    for index in np.linspace(0, len(fitting) - 1, count).astype(int):
        path, text = fitting[index]
        file = tar.extractfile(path)
        assert file is not None
        samples = np.asarray(G722(HZ, 64000).decode(file.read()), np.float32)
        yield samples / 32768, text


def recordings() -> Iterator[Item]:
    """Other people: read books, playing cards, numbers."""
    path = fetch("recordings")
    for folder, listing in (("librivox", "transcription"), ("cards", "cards.transcription")):
        rows = read_member(path, f"{RECORDED}{folder}/{listing}").decode().splitlines()
        for row in rows:
            found = re.fullmatch(r"(?:<s> )?(.*?)(?: </s>)? \((\S+)\)", row.strip())
            if found:
                yield read_wave(read_member(path, f"{RECORDED}{folder}/{found[2]}.wav")), found[1]
    raw = np.frombuffer(read_member(path, f"{RECORDED}goforward.raw"), "<i2")
    yield raw.astype(np.float32) / 32768, "go forward ten meters"


def read_wave(content: bytes) -> np.ndarray:
    """A 16-bit file at 16 kHz as floats."""
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getframerate(), file.getnchannels()) == (HZ, 1)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return samples.astype(np.float32) / 32768


def neural(count: int, folder: Path = BANK) -> Iterator[Item]:
    """Kokoro's held-out voices, from the bank."""
    users = [
        user
        for path in sorted(folder.glob("users_kokoro_*.npz"))
        for user in read_users(path)
        if user.voices == "neural" and len(user.text.split()) > 2
    ]
    for user in users[:count]:
        yield user.wave.astype(np.float32) / 32768, user.text


# ---------------------------------------------------------------- how it is read


def published_frames(encoder: AudioEncoder, samples: Tensor) -> Tensor:
    """The published form: the whole segment of 30 s."""
    return encoder(segment_log_mel(samples, FrontEndConfig(n_mels=encoder.config.n_mels))[None])


def chunk_frames(encoder: AudioEncoder, samples: Tensor) -> Tensor:
    """The chunk form from the start of a stream to a second after the end."""
    chunks = -(-(len(samples) + HZ) // CHUNK)
    whole = torch.nn.functional.pad(samples, (0, chunks * CHUNK - len(samples)))
    mel = chunk_log_mel(whole, FrontEndConfig(n_mels=encoder.config.n_mels))
    return encode(encoder, mel[None], torch.zeros(1, dtype=torch.int64))


def score(read: Callable[[Tensor], str], items: Iterator[Item], say: bool) -> Score:
    """Read each at one level; number words and figures count as the same."""
    errors = words = 0
    for samples, text in items:
        samples = samples * np.float32(LEVEL / np.sqrt(np.mean(samples**2) + 1e-9))
        heard = read(torch.from_numpy(np.concatenate([LEAD, samples[: 28 * HZ]])))
        wrong = word_errors(spelled(heard), spelled(text))
        errors, words = errors + wrong, words + len(spelled(text))
        if say and wrong:
            print(f"  {wrong}: {text!r} read as {heard.strip()!r}", flush=True)
    return Score(errors, words)


def spelled(text: str) -> list[str]:
    """plain_words with figures below a million as words."""
    text = re.sub(r"(?<=\d)[,:](?=\d)", lambda m: "" if m.group() == "," else " ", text)
    text = re.sub(r"\d+", lambda m: " " + number(int(m.group()) % 1000000) + " ", text)
    text = re.sub(r"\bmr\b\.?", "mister", text.lower())
    return plain_words(text.replace("-", " "))


def number(n: int) -> str:
    """`n` below a million in words."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10 - 2] + (" " + ONES[n % 10] if n % 10 else "")
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if n >= size:
            rest = " " + number(n % size) if n % size else ""
            return f"{number(n // size)} {name}{rest}"
    raise AssertionError(n)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `python -m train read_check`."""
    parser.add_argument("--student", type=Path, default=RUN / "last.pt", help="a run's last.pt")
    parser.add_argument(
        "--form", choices=("student", "published", "untrained"), default="student",
        help="the distilled one; the published one; its weights in chunks, as they are",
    )  # fmt: skip
    parser.add_argument("--count", type=int, default=60, help="of each set")
    parser.add_argument("--say", action="store_true", help="show what was misread")


def run(args: argparse.Namespace) -> None:
    """The step `read_check`."""
    torch.set_num_threads(1)
    weights = published_weights()
    reader = Reader(weights)
    student = args.form == "student"
    encoder = (load_student(args.student) if student else build_encoder(weights)).eval()
    frames = published_frames if args.form == "published" else chunk_frames

    def read(samples: Tensor) -> str:
        with torch.inference_mode():
            return reader.read(frames(encoder, samples))[0]

    for name, items in (
        ("prompts", prompts(args.count)),
        ("recordings", recordings()),
        ("neural", neural(args.count)),
    ):
        try:
            print(f"{name}: {score(read, items, args.say)} of words in error", flush=True)
        except (AssetError, ImportError) as error:
            print(f"{name}: left out, {error}")

"""The bank of speech that trainings read: `python -m train bank` builds it; knows no dialogue.

Users: 16 kHz. Replies: 24 kHz in two voices with common codes, word and chunk times. Everything
carries what it may be used for; `Bank.replies_of("train")` and `Bank.users_of("train", ...)` never
give a held-out item.
"""

import argparse
import json
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from train.domain import Domain, load_domain
from train.paraphrases import More, load_more
from train.phones import PHONES
from train.synthesis import FLITE_VOICES

BANK = Path(__file__).resolve().parents[3] / "build" / "nano" / "bank"
REPLY_VOICES = ("a", "b")


class BankError(RuntimeError):
    """The bank is missing or incomplete; the message says what to run."""


@dataclass(frozen=True)
class Utterance:
    """What a user says: int16 wave [samples] at 16 kHz, starts in samples.

    `group` is a split of commands ("train", "phrasing", "combination", "more", "more_phrasing"),
    "stop_words", "backchannels" or "generic" (sentences without meaning); `voices` is "train",
    "held" or "neural" (held out too). `reply` is "" for the latter three groups.
    """

    wave: npt.NDArray[np.int16]
    text: str
    intent: str
    slots: dict[str, str]
    reply: str
    group: str
    voices: str
    voice: str
    word_starts: npt.NDArray[np.int32]
    phone_ids: npt.NDArray[np.uint8]
    phone_starts: npt.NDArray[np.int32]

    @property
    def synthesizer(self) -> str:
        """Who spoke it, by the name of the voice: "kokoro", "flite", else "espeak"."""
        if self.voice[2:3] == "_":
            return "kokoro"
        return "flite" if self.voice in FLITE_VOICES else "espeak"


@dataclass(frozen=True)
class Reply:
    """One reply on the chunk grid: C chunks, 4 C codes, 16 C latent frames, 3840 C samples.

    waves: voice -> int16 [3840 C] at 24 kHz; latents: voice -> raw latents f16 [16 C, 64];
    codes i16 [C, 4], the same for both voices; words i16 [C]: index into `Bank.reply_words` or
    -1. `split`: "train", "more" (without latents) and "sentence" (made-up words) may be trained
    on; "held", "held_sentence" and "prompt" (the sentence of the voices' prompts; its sound may be
    a condition) may not.
    """

    text: str
    split: str
    waves: dict[str, npt.NDArray[np.int16]]
    latents: dict[str, npt.NDArray[np.float16]]
    codes: npt.NDArray[np.int16]
    words: npt.NDArray[np.int16]


class Bank:
    """What is in a bank's folder; unfinished shards are simply not there yet.

    `more` is what training hears beyond `domain`; of domain.yaml that is more.yaml.

    latent_mean, latent_var [64]: of raw latents over both voices. silence_code: the code of
    closing silence. reply_words, user_words, phones: what the indices mean. users=False leaves the
    users' side unread.
    """

    def __init__(
        self,
        folder: Path | None = None,
        domain: Domain | None = None,
        *,
        more: More | None = None,
        users: bool = True,
    ) -> None:
        folder = folder or BANK
        self.domain = domain or load_domain()
        self.more = load_more(self.domain) if domain is None else more
        self.reply_words = list(self.domain.reply_words)
        self.user_words = list((self.more or self.domain).user_words)
        self.phones = list(PHONES)
        shards = sorted(folder.glob("users_*.npz"))
        if not shards or not (folder / "replies.json").exists():
            raise BankError(
                f"[bank.open] expected users_*.npz and replies.json in {folder}, got "
                f"{len(shards)} shards; run `python -m train bank` in models/nano"
            )
        self.users: list[Utterance] = []
        for shard in shards if users else ():
            self.users += read_users(shard)
        self.replies: list[Reply] = []
        data = self._read_replies(folder / "replies.npz")
        self.latent_mean: npt.NDArray[np.float32] = data["latent_mean"]
        self.latent_var: npt.NDArray[np.float32] = data["latent_var"]
        self.silence_code = int(data["silence"])
        if self.more is not None and (folder / "replies_more.json").exists():
            self._read_replies(folder / "replies_more.npz")

    def _read_replies(self, path: Path) -> dict[str, npt.NDArray[Any]]:
        rows = json.loads(path.with_suffix(".json").read_text())
        with np.load(path) as file:
            data = {name: file[name] for name in file.files}
        chunk = 0
        for row, length in zip(rows, data["lengths"], strict=True):
            count = int(length) // 3840
            part = {unit: slice(chunk * unit, (chunk + count) * unit) for unit in (1, 4, 16, 3840)}
            self.replies.append(Reply(
                row["text"],
                row["split"],
                {voice: data[f"wave_{voice}"][part[3840]] for voice in REPLY_VOICES},
                {
                    voice: data[f"latents_{voice}"][part[16]]
                    for voice in REPLY_VOICES
                    if f"latents_{voice}" in data
                },
                data["codes"][part[4]].reshape(-1, 4),
                data["words"][part[1]],
            ))  # fmt: skip
            chunk += count
        return data

    def pause_places(self, text: str, *, training: bool) -> tuple[int, ...]:
        """Domain.pause_places; in training also with what only training hears."""
        return (self.more if training and self.more else self.domain).pause_places(text)

    def replies_of(self, *splits: str) -> list[Reply]:
        """Replies of the given splits; ("train", "sentence") is what training may read."""
        return [reply for reply in self.replies if reply.split in splits]

    def users_of(self, voices: str, *groups: str) -> list[Utterance]:
        """Utterances of the given voices and groups."""
        return [user for user in self.users if user.voices == voices and user.group in groups]


def read_users(path: Path) -> list[Utterance]:
    """A shard's utterances; the waves stay in the file until they are heard."""
    with np.load(path) as file:
        data = {name: file[name] for name in file.files if name != "wave"}
    data["wave"] = map_array(path, "wave")
    rows = json.loads(data["rows"].tobytes())
    ends = [np.cumsum(data[name]) for name in ("lengths", "word_counts", "phone_counts")]
    cuts = [np.split(data[name], end[:-1]) for name, end in (
        ("wave", ends[0]), ("word_starts", ends[1]), ("phone_ids", ends[2]),
        ("phone_starts", ends[2]),
    )]  # fmt: skip
    return [
        Utterance(
            wave=wave, word_starts=words, phone_ids=phones, phone_starts=starts,
            **{key: row[key] for key in
               ("text", "intent", "slots", "reply", "group", "voices", "voice")},
        )
        for row, wave, words, phones, starts in zip(rows, *cuts, strict=True)
    ]  # fmt: skip


def map_array(path: Path, name: str) -> npt.NDArray[Any]:
    """An array of an uncompressed .npz, mapped: trainings of one bank share its memory."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
    assert info.compress_type == zipfile.ZIP_STORED, path
    with path.open("rb") as file:
        # A local header of 30 bytes ends with the lengths of the name and of the extra field.
        file.seek(info.header_offset + 26)
        file.seek(sum(struct.unpack("<HH", file.read(4))), 1)
        version = np.lib.format.read_magic(file)
        read = getattr(np.lib.format, f"read_array_header_{version[0]}_{version[1]}")
        shape, _, dtype = read(file)
        return np.memmap(path, dtype, "r", file.tell(), shape)


def main(arguments: list[str] | None = None) -> int:
    """`python -m train bank`: makes what is missing of the bank."""
    from train.reply_bank import build_more_replies, build_replies
    from train.user_bank import SYNTHESIZERS, build

    parser = argparse.ArgumentParser(prog="python -m train bank", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=BANK, help="the bank's folder")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual utterances")
    parser.add_argument(
        "--part", choices=("all", "replies", *SYNTHESIZERS), default="all", help="what to make"
    )
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    domain = load_domain()
    more = load_more(domain)
    if options.part in ("all", "replies"):
        build_replies(domain, options.out)
        build_more_replies(domain, more, options.out)
    for synthesizer in SYNTHESIZERS:
        if options.part in ("all", synthesizer):
            build(domain, options.out, synthesizer, options.scale, more)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

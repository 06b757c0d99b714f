"""The demo's recording: one user's side of a conversation that shows everything; knows no model.

`python -m train demo` writes FILE.wav (16 kHz, 16 bit) and FILE.json beside it, which tells what is
said when and what should be answered, as a scenario of `parley eval duplex`. The model is expected
to begin as trained, so what is said over a reply lies in it when the model does begin so.
"""

import argparse
import json
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train.acoustics import SPEECH_LEVEL
from train.bank import BANK, Bank, Utterance
from train.dialogues import DialogueSampler, Mix
from train.scenarios import describe
from train.scene import (
    CHUNK,
    USER_HZ,
    Answer,
    Scene,
    Spoken,
    answer_chunk,
    break_chunk,
    with_pauses,
)
from train.synthesis import FLITE_VOICES, Espeak, Flite, Speech, change

OUT = Path(__file__).resolve().parents[3] / "apps/parley_apps/data/conversation.wav"
LONGEST_SECONDS = 90.0
LEAD_SECONDS, TAIL_SECONDS = 1.0, 3.0
NEAR = Mix(leakage=0.0, echo=0.0, lowest_gain=-3.0, least_snr=35.0)


@dataclass(frozen=True)
class Line:
    """Something to say. `kind`: command, backchannels or stop_words, as in the domain.

    It begins `gap` seconds after all is silent, or where `over` is given so many seconds after the
    reply to the last command began. `pause`: a word's index and the silence before it in seconds.
    """

    text: str
    kind: str = "command"
    gap: float = 1.1
    over: float | None = None
    pause: tuple[int, float] | None = None


SCRIPT = (
    Line("good morning nano", gap=0.0),
    Line("remind me to water the plants on friday", pause=(3, 0.8)),
    Line("uh huh", "backchannels", over=0.9),
    Line("take me to the station along the coast"),
    Line("where is the nearest bakery", over=0.7),
    Line("what is the weather in rome tomorrow"),
    Line("tell me a story"),
    Line("stop", "stop_words", over=0.8),
    Line("thank you nano", gap=1.6),
)


class Speaker:
    """Speaks lines by one voice: an espeak-ng voice file ("en-US+Mike") or a voice of flite."""

    def __init__(self, sampler: DialogueSampler, voice: str, rate: int, pitch: int) -> None:
        self._sampler, self._voice, self._rate, self._pitch = sampler, voice, rate, pitch
        self._commands = {command.text: command for command in sampler.bank.domain.commands}
        self._flite = Flite() if voice in FLITE_VOICES else None
        self._espeak = None if self._flite else Espeak()

    def say(self, line: Line) -> tuple[Spoken, Answer | None]:
        """The line's sound, and the reply that it should get."""
        speech = change(self._speech(line.text), USER_HZ, 1.0)
        level = np.sqrt(np.mean(speech.wave**2))
        command = self._commands.get(line.text) if line.kind == "command" else None
        if line.kind == "command" and command is None:
            raise ValueError(f"[demo.say] expected a command of domain.yaml, got {line.text!r}")
        user = Utterance(
            np.round(np.clip(speech.wave * SPEECH_LEVEL / level, -1, 1) * 32767).astype(np.int16),
            line.text,
            command.intent if command else "",
            dict(command.slots) if command else {},
            command.reply if command else "",
            line.kind,
            "held",
            self._voice,
            speech.word_starts.astype(np.int32),
            speech.phone_ids.astype(np.uint8),
            speech.phone_starts.astype(np.int32),
        )
        spoken = self._sampler.spoken(user)
        if line.pause:
            spoken = with_pauses(spoken, [line.pause[0]], [round(line.pause[1] * USER_HZ)])
        return spoken, self._sampler.answer_of(user) if command else None

    def _speech(self, text: str) -> Speech:
        if self._flite:
            return self._flite.say(text, self._voice, stretch=160 / self._rate)
        assert self._espeak
        return self._espeak.say(text, self._voice, rate=self._rate, pitch=self._pitch)


def compose(script: Sequence[Line], speaker: Speaker) -> tuple[Scene, int]:
    """The script as a scene of LONGEST_SECONDS, and the chunk after which nothing happens."""
    scene = Scene(round(LONGEST_SECONDS * USER_HZ / CHUNK))
    at = round(LEAD_SECONDS * USER_HZ)
    answer: Answer | None = None
    first = 0
    for line in script:
        spoken, following = speaker.say(line)
        if line.over is None:
            at = scene.reply(answer, first) * CHUNK if answer else at
            answer, begin = None, at + round(line.gap * USER_HZ)
        else:
            begin = first * CHUNK + round(line.over * USER_HZ)
        end = scene.say(line.kind, spoken, begin, key=following.key if following else -1)
        if line.kind != "backchannels":
            if answer:
                scene.reply(answer, first, break_chunk(begin, end))
            answer, first, at = following, answer_chunk(end), end
    last = scene.reply(answer, first) if answer else at // CHUNK
    return scene, last + round(TAIL_SECONDS * USER_HZ / CHUNK)


def write_demo(out: Path, sampler: DialogueSampler, speaker: Speaker) -> None:
    """Writes the recording and, beside it, what happens in it."""
    scene, chunks = compose(SCRIPT, speaker)
    heard = sampler.heard(scene, NEAR)[: chunks * CHUNK]
    with wave.open(str(out), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(USER_HZ)
        file.writeframes(np.round(np.clip(heard, -1, 1) * 32767).astype("<i2").tobytes())
    entry = {"kind": "long", **describe(scene.events, sampler), "tags": {"split": "demo"}}
    out.with_suffix(".json").write_text(json.dumps(entry, indent=1) + "\n")
    print(f"{out}: {chunks * CHUNK / USER_HZ:.1f} s")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `python -m train demo`."""
    parser.add_argument("--out", type=Path, default=OUT, help="the recording to write")
    parser.add_argument("--bank", type=Path, default=BANK, help="the bank's folder")
    parser.add_argument("--voice", default="en-US+Mike", help="of espeak-ng or flite")
    parser.add_argument("--rate", type=int, default=160, help="words a minute")
    parser.add_argument("--pitch", type=int, default=50, help="0 to 99, espeak-ng only")
    parser.add_argument("--seed", type=int, default=1, help="of loudness and noise")


def run(args: argparse.Namespace) -> None:
    """The step `demo`."""
    sampler = DialogueSampler(Bank(args.bank, users=False), "held_voices", args.seed)
    write_demo(args.out, sampler, Speaker(sampler, args.voice, args.rate, args.pitch))

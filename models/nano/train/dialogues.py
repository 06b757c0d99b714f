"""Dialogues made while training, no two alike, from the bank's train items; knows no model.

`DialogueSampler.batch(n, seconds)` gives, for T chunks of 0.16 s (seconds rounded to chunks):
wave16k f32 [n, 2560 T]; kinds i64 [n, T] (THINK, SHIFT, SPEAK, BREAK = 0..3); text i64 [n, T], an
index into reply_words or -1 (text-pad); codes i64 [n, T, 4], -1 where nobody answers; phones
i64 [n, 8 T], an index into phones, 0 = silence; words i64 [n, T], an index into user_words + 1,
0 = none, -1 = unknown word. The labels' rules are in scene.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from train.acoustics import Acoustics
from train.bank import Bank, Utterance
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
from train.synthesis import resample_exactly

Batch = dict[str, np.ndarray]
# How much of what training hears is of which synthesizer, where the bank has it.
SHARES = {"kokoro": 0.5, "espeak": 0.4, "flite": 0.1}


@dataclass(frozen=True)
class Mix:
    """How often things happen: shares of commands with pauses, of replies that are talked over,
    of what is said while nobody is to answer, of dialogues with leakage, echo and noise."""

    pauses: float = 0.5
    backchannels: float = 0.3
    stops: float = 0.2
    new_commands: float = 0.22
    unanswered: float = 0.1
    leakage: float = 0.6
    echo: float = 0.5
    noise: float = 1.0
    speed: float = 0.0  # how much faster or slower, and so higher or lower, at most
    longest_pause: float = 1.3
    lowest_gain: float = -30.0  # dB
    least_snr: float = 6.0  # dB


def _by_synthesizer(users: list[Utterance]) -> tuple[np.ndarray, list[list[Utterance]]]:
    """Shares that add up to one, and the utterances of each."""
    lists = [[user for user in users if user.synthesizer == name] for name in SHARES]
    found = [(share, own) for share, own in zip(SHARES.values(), lists, strict=True) if own]
    shares = np.array([share for share, _ in found])
    return shares / shares.sum(), [own for _, own in found]


class DialogueSampler:
    """Endless dialogues from `bank`; the same seed gives the same ones.

    split "train" reads nothing held out. Others: "held_voices" (commands of training, other
    voices), "held_phrasings", "held_combinations" and "second_phrasings" (also other voices),
    "neural_voices" and "neural_phrasings" (Kokoro's held-out voices), for evaluation only.
    """

    GROUPS: Mapping[str, tuple[str, ...]] = {
        "train": ("train", "train", "more"),
        "held_voices": ("held", "train"),
        "held_phrasings": ("held", "phrasing"),
        "held_combinations": ("held", "combination"),
        "second_phrasings": ("held", "more_phrasing"),
        "neural_voices": ("neural", "train"),
        "neural_phrasings": ("neural", "phrasing"),
    }

    def __init__(self, bank: Bank, split: str = "train", seed: int = 0) -> None:
        voices, *groups = self.GROUPS[split]
        self.training = split == "train"
        self.bank, self.rng = bank, np.random.default_rng([seed, len(split)])
        self.reply_words, self.user_words = bank.reply_words, bank.user_words
        self.phones = bank.phones
        self._word_ids = {word: index + 1 for index, word in enumerate(bank.user_words)}
        self.commands = bank.users_of(voices, *groups)
        self.stop_words = bank.users_of(voices, "stop_words")
        self.backchannels = bank.users_of(voices, "backchannels")
        readable = ("train", "more") if self.training else ("train", "held")
        self.replies = bank.replies_of(*readable)
        self._by_synthesizer = {
            kind: _by_synthesizer(getattr(self, kind))
            for kind in ("commands", "stop_words", "backchannels")
        }
        self._reply_of = {reply.text: key for key, reply in enumerate(self.replies)}
        self.answers = [
            Answer(key, reply.words, reply.codes) for key, reply in enumerate(self.replies)
        ]
        self._sounds: dict[tuple[int, str], np.ndarray] = {}
        # Rooms and noises of evaluation are others.
        self._acoustics = Acoustics(np.random.default_rng(29 if split == "train" else 31))

    def batch(self, n: int, seconds: float, mix: Mix | None = None, **changes: float) -> Batch:
        """n dialogues; `changes` are fields of Mix, for instance pauses=0.7."""
        mix = replace(mix or Mix(), **changes)
        chunks = max(1, round(seconds * USER_HZ / CHUNK))
        return self._finish([self.scene(chunks, mix) for _ in range(n)], mix)

    def dense(self, n: int, seconds: float, **changes: float) -> Batch:
        """n recordings of speech with short gaps and no answers (kinds are all THINK)."""
        mix = replace(Mix(leakage=0.0), **changes)
        chunks = max(1, round(seconds * USER_HZ / CHUNK))
        scenes = []
        for _ in range(n):
            scene = Scene(chunks)
            at = self._samples(0.05, 0.4)
            while at < scene.samples:
                at = scene.say("command", self.command(mix)[1], at) + self._samples(0.1, 0.5)
            scenes.append(scene)
        return self._finish(scenes, mix)

    def scene(self, chunks: int, mix: Mix) -> Scene:
        """One dialogue without its acoustics."""
        scene = Scene(chunks)
        at = self._samples(0.2, 2.0)
        while at < scene.samples:
            if self.rng.random() < mix.unanswered:
                at = self.unanswered(scene, at, mix.speed) + self._samples(0.7, 2.0)
            else:
                at = self.turn(scene, at, mix)
        return scene

    def unanswered(self, scene: Scene, at: int, speed: float = 0.0) -> int:
        """A stop word or a backchannel while nobody speaks; returns its end."""
        if self.rng.random() < 0.5:
            return self._say(scene, "stop_words", at, speed)
        return self._say(scene, "backchannels", at, speed)

    def turn(self, scene: Scene, at: int, mix: Mix) -> int:
        """A command, its reply and what is said over it; returns when the next thing may begin."""
        command, spoken = self.command(mix)
        answer = self.answer_of(command)
        first = answer_chunk(scene.say("command", spoken, at, key=answer.key))
        while True:
            last = first + len(answer.codes)
            kind = self._overlap(mix)
            # While it speaks: from a little after its first sample to a little before its last.
            room = (first * CHUNK + 1600, last * CHUNK - 4800)
            if kind == "nothing" or room[1] <= room[0]:
                scene.reply(answer, first)
                return last * CHUNK + self._samples(0.2, 2.5)
            onset = int(self.rng.integers(*room))
            if kind == "backchannels":
                scene.reply(answer, first)
                end = self._say(scene, kind, onset, mix.speed)
                return max(end + 4800, last * CHUNK) + self._samples(0.2, 2.0)
            if kind == "stop_words":
                end = self._say(scene, kind, onset, mix.speed)
                stopped = scene.reply(answer, first, break_chunk(onset, end))
                return max(end, stopped * CHUNK) + self._samples(0.5, 2.5)
            command, spoken = self.command(mix)
            following = self.answer_of(command)
            end = scene.say("command", spoken, onset, key=following.key)
            scene.reply(answer, first, break_chunk(onset, end))
            answer, first = following, answer_chunk(end)

    def answer_of(self, command: Utterance) -> Answer:
        """The reply that a command gets."""
        return self.answers[self._reply_of[command.reply]]

    def _overlap(self, mix: Mix) -> str:
        draw = float(self.rng.random())
        for kind, share in (
            ("backchannels", mix.backchannels),
            ("stop_words", mix.stops),
            ("command", mix.new_commands),
        ):
            if draw < share:
                return kind
            draw -= share
        return "nothing"

    def command(self, mix: Mix) -> tuple[Utterance, Spoken]:
        """A command, perhaps with pauses at safe places."""
        command = self._choose("commands")
        spoken = self.spoken(command, mix.speed)
        places = self.bank.pause_places(command.text, training=self.training)
        if places and self.rng.random() < mix.pauses:
            count = min(len(places), 1 + int(self.rng.random() < 0.3))
            chosen = sorted(self.rng.choice(places, count, replace=False).tolist())
            silences = [self._samples(0.2, mix.longest_pause) for _ in chosen]
            spoken = with_pauses(spoken, chosen, silences)
        return command, spoken

    def _say(self, scene: Scene, kind: str, at: int, speed: float) -> int:
        return scene.say(kind, self.spoken(self._choose(kind), speed), at)

    def _choose(self, kind: str) -> Utterance:
        """One of the sampler's list `kind`; in training of a synthesizer by SHARES."""
        users: list[Utterance] = getattr(self, kind)
        if self.training:
            shares, lists = self._by_synthesizer[kind]
            users = lists[self.rng.choice(len(lists), p=shares)]
        return users[self.rng.integers(len(users))]

    def spoken(self, user: Utterance, speed: float = 0.0) -> Spoken:
        """An utterance of the bank, a little louder or softer, with its labels.

        speed: played faster or slower by up to this share (Ko et al., 2015), as if another,
        smaller or larger, speaker said it.
        """
        gain = 10 ** (self.rng.uniform(-3, 3) / 20) / 32768
        wave, factor = user.wave * np.float32(gain), 1.0
        if speed:
            factor = float(self.rng.uniform(1 - speed, 1 + speed))
            times = np.arange(int(len(wave) / factor)) * factor
            wave = np.interp(times, np.arange(len(wave)), wave).astype(np.float32)
        return Spoken(
            wave,
            np.array([self._word_ids.get(word, -1) for word in user.text.split()], np.int64),
            (user.word_starts / factor).astype(np.int64),
            user.phone_ids.astype(np.int64),
            (user.phone_starts / factor).astype(np.int64),
            user.text,
            voice=user.voice,
        )

    def _samples(self, low: float, high: float) -> int:
        return int(self.rng.uniform(low, high) * USER_HZ)

    def _sound(self, key: int, voice: str) -> np.ndarray:
        """A reply's own sound at 16 kHz, for its leakage into the microphone."""
        if (key, voice) not in self._sounds:
            wave = self.replies[key].waves[voice].astype(np.float32) / 32768
            self._sounds[key, voice] = resample_exactly(wave, 2, 3)
        return self._sounds[key, voice]

    def _leakage(self, scene: Scene) -> np.ndarray:
        """The replies as a loudspeaker plays them: a chunk is heard when the next one is read."""
        leaked = np.zeros(scene.samples, np.float32)
        voice = "ab"[self.rng.integers(2)]
        delay = CHUNK + self._samples(-0.16, 0.25)
        for event in scene.events:
            begin = event.begin + delay
            if event.kind == "reply" and begin < scene.samples:
                sound = self._sound(event.key, voice)[: event.end - event.begin]
                sound = sound[: scene.samples - begin]
                leaked[begin : begin + len(sound)] += sound
        return leaked

    def heard(self, scene: Scene, mix: Mix) -> np.ndarray:
        """What the user's microphone hears of a scene [samples]."""
        leaked = self._leakage(scene) if self.rng.random() < mix.leakage else None
        return self.microphone(scene.user, leaked, mix)

    def microphone(self, clean: np.ndarray, leaked: np.ndarray | None, mix: Mix) -> np.ndarray:
        """What it hears of clean speech and of the assistant's own voice [samples]."""
        return self._acoustics.mix(
            self.rng,
            clean,
            leaked,
            echo=bool(self.rng.random() < mix.echo),
            noisy=bool(self.rng.random() < mix.noise),
            lowest_gain=mix.lowest_gain,
            least_snr=mix.least_snr,
        )

    def _finish(self, scenes: list[Scene], mix: Mix) -> Batch:
        waves = [self.heard(scene, mix) for scene in scenes]
        stack: Callable[[str], np.ndarray] = lambda name: np.stack(  # noqa: E731
            [getattr(scene, name) for scene in scenes]
        )
        labels = {name: stack(name) for name in ("kinds", "text", "codes", "phones", "words")}
        return {"wave16k": np.stack(waves), **labels}

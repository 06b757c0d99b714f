"""Builds the users' side of the bank: what people say, by many voices; knows no dialogue.

The work is a list of shards, each a random mix, so any finished shards are a usable bank. A shard
is a file users_<synthesizer>_<number>.npz; a finished one is never made again.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from train import kokoro
from train.domain import Command, Domain
from train.paraphrases import More
from train.sentences import sentences
from train.synthesis import ACCENTS, FLITE_VOICES, VARIANTS, Espeak, Flite, Speech, change

USER_HZ = 16000
HELD_VARIANTS = ("Alicia", "Mike", "belinda", "f4", "m3", "linda", "pablo", "klatt3", "steph2",
                 "victor")  # fmt: skip
TRAIN_VARIANTS = tuple(variant for variant in VARIANTS if variant not in HELD_VARIANTS)
HELD_FLITE = ("rms",)
TRAIN_FLITE = tuple(voice for voice in FLITE_VOICES if voice not in HELD_FLITE)
# Synthesizer -> number of its random streams, utterances of a shard.
SYNTHESIZERS = {"espeak": (6, 500), "flite": (5, 500), "kokoro": (9, 100)}
# Utterances to make: (voices, what is said) -> by each of SYNTHESIZERS. flite's are used twice.
# Voices: those of training; "held", and "neural" for Kokoro's, which only the evaluation hears.
AMOUNTS = {
    ("train", "train"): (40000, 5000, 4200),
    ("train", "stop_words"): (1800, 320, 260),
    ("train", "backchannels"): (1800, 320, 260),
    ("held", "train"): (1200, 300, 0),
    ("held", "phrasing"): (1000, 300, 0),
    ("held", "combination"): (700, 150, 0),
    ("held", "stop_words"): (250, 40, 0),
    ("held", "backchannels"): (250, 40, 0),
    ("neural", "train"): (0, 0, 330),
    ("neural", "phrasing"): (0, 0, 150),
    ("neural", "stop_words"): (0, 0, 60),
    ("neural", "backchannels"): (0, 0, 60),
}
# The same beyond domain.yaml; a share of the commands is the domain's with words around them.
AMOUNTS_MORE = {
    ("train", "more"): (24000, 3500, 2600),
    ("train", "stop_words"): (1500, 250, 160),
    ("train", "backchannels"): (1500, 250, 160),
    ("held", "more_phrasing"): (900, 200, 0),
}
# Sentences without meaning, for what the encoder learns from.
AMOUNTS_GENERIC = {("train", "generic"): (3000, 400, 2600)}
SHARE_AROUND = 0.2
# Numbers of their plans, so that their voices are drawn anew.
FIRST_OF_MORE, FIRST_OF_GENERIC = 1_000_000, 2_000_000
FLITE_USES = 2
SHARE_BLENDED = 0.55  # of Kokoro's utterances: a voice between two
Choice = Callable[[str, str, int, np.random.Generator], Iterable[Command]]


@dataclass(frozen=True)
class Plan:
    """One utterance to make; `group` is a split of commands, or stop_words, backchannels."""

    voices: str
    group: str
    text: str
    intent: str
    slots: tuple[tuple[str, str], ...]
    reply: str
    number: int


def plan(domain: Domain, synthesizer: str, scale: float) -> list[list[Plan]]:
    """The shards to make, each a random mix of everything; the same for the same arguments."""
    choose: Choice = lambda voices, group, amount, rng: (  # noqa: E731
        _choose(domain, voices, group, amount, rng)
    )
    return _shuffled(AMOUNTS, choose, synthesizer, scale, (3, 0))


def _shuffled(
    amounts: Mapping[tuple[str, str], tuple[int, ...]],
    choose: Choice,
    synthesizer: str,
    scale: float,
    seed_and_first: tuple[int, int],
) -> list[list[Plan]]:
    """Shards of what `choose` gives for each row of `amounts`, in random order, numbered."""
    stream, size = SYNTHESIZERS[synthesizer]
    column = list(SYNTHESIZERS).index(synthesizer)
    seed, first = seed_and_first
    rng = np.random.default_rng([seed, stream])
    chosen: list[tuple[str, str, Command]] = []
    for (voices, group), row in amounts.items():
        amount = round(row[column] * scale)
        chosen += [(voices, group, said) for said in choose(voices, group, amount, rng)]
    made = [
        Plan(voices, group, said.text, said.intent, said.slots, said.reply, first + number)
        for number, (voices, group, said) in enumerate(
            chosen[index] for index in rng.permutation(len(chosen))
        )
    ]
    return [made[begin : begin + size] for begin in range(0, len(made), size)]


def _choose(
    domain: Domain, voices: str, group: str, amount: int, rng: np.random.Generator
) -> Iterator[Command]:
    if group in ("stop_words", "backchannels"):
        said = getattr(domain, group)
        texts = [*said["train"], *(said["held"] if voices == "held" else ())]
        for index in range(amount):
            yield Command(texts[index % len(texts)], "", (), "", group)
        return
    commands = domain.commands_of(group)
    # Between an equal share for each intent and one for each command.
    for index in _evenly(commands, amount, 0.5, rng):
        yield commands[index]


def plan_more(more: More, synthesizer: str, scale: float) -> list[list[Plan]]:
    """The shards of what training hears beyond domain.yaml."""
    choose: Choice = lambda _, group, amount, rng: _choose_more(more, group, amount, rng)  # noqa: E731
    return _shuffled(AMOUNTS_MORE, choose, synthesizer, scale, (13, FIRST_OF_MORE))


def plan_generic(synthesizer: str, scale: float) -> list[list[Plan]]:
    """The shards of sentences without meaning."""
    choose: Choice = lambda _, group, amount, rng: (  # noqa: E731
        Command(text, "", (), "", group) for text in sentences(amount, rng)
    )
    return _shuffled(AMOUNTS_GENERIC, choose, synthesizer, scale, (17, FIRST_OF_GENERIC))


def _choose_more(
    more: More, group: str, amount: int, rng: np.random.Generator
) -> Iterator[Command]:
    if group in ("stop_words", "backchannels"):
        texts = getattr(more, group)
        for index in range(amount):
            yield Command(texts[index % len(texts)], "", (), "", group)
        return
    if group == "more_phrasing":
        yield from (more.held[i] for i in _evenly(more.held, amount, 0.75, rng))
        return
    around = round(SHARE_AROUND * amount)
    known = more.domain.commands_of("train")
    for commands, count in ((more.commands, amount - around), (known, around)):
        for index in _evenly(commands, count, 0.75, rng):
            command = commands[index]
            yield replace(command, text=more.around(command.text, rng), split="more")


def _evenly(
    commands: Sequence[Command], amount: int, power: float, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Indices of commands; power 1 gives each intent the same share, 0 each command."""
    by_intent = Counter(command.intent for command in commands)
    weights = np.array([by_intent[command.intent] ** -power for command in commands])
    return rng.choice(len(commands), amount, p=weights / weights.sum())


def _say_espeak(espeak: Espeak, item: Plan, voice: str) -> Speech:
    rng = np.random.default_rng([5, item.number])
    speech = espeak.say(
        item.text,
        voice,
        rate=int(rng.integers(125, 216)),
        pitch=int(rng.integers(15, 86)),
        spread=int(rng.integers(20, 81)),
        gap=int(rng.choice([0, 0, 0, 1, 2, 3])),
    )
    factor = float(np.exp(rng.normal(0, 0.06))) if rng.random() < 0.6 else 1.0
    return change(speech, USER_HZ, float(np.clip(factor, 0.86, 1.16)))


def _espeak_voice(item: Plan) -> str:
    rng = np.random.default_rng([7, item.number])
    variants = TRAIN_VARIANTS if item.voices == "train" else HELD_VARIANTS
    return f"{ACCENTS[rng.integers(len(ACCENTS))]}+{variants[rng.integers(len(variants))]}"


def _flite_voice(item: Plan) -> str:
    voices = TRAIN_FLITE if item.voices == "train" else HELD_FLITE
    return voices[item.number % len(voices)]


def espeak_utterances(shard: Sequence[Plan], espeak: Espeak) -> Iterator[tuple[Plan, str, Speech]]:
    """Speaks a shard, voice by voice, because changing the voice costs more than a word."""
    for voice, item in sorted(((_espeak_voice(item), item) for item in shard), key=lambda x: x[0]):
        yield item, voice, _say_espeak(espeak, item, voice)


def flite_utterances(shard: Sequence[Plan], flite: Flite) -> Iterator[tuple[Plan, str, Speech]]:
    """Speaks a shard; training voices are used twice, higher and lower."""
    for item in shard:
        rng = np.random.default_rng([11, item.number])
        voice = _flite_voice(item)
        speech = flite.say(item.text, voice, stretch=float(rng.uniform(0.8, 1.3)))
        for _ in range(FLITE_USES if item.voices == "train" else 1):
            factor = float(np.exp(rng.normal(0, 0.1)))
            yield item, voice, change(speech, USER_HZ, float(np.clip(factor, 0.8, 1.25)))


def _kokoro_voice(item: Plan) -> str:
    """A voice, or a blend of two of one accent; of "neural" voices never a blend."""
    rng = np.random.default_rng([19, item.number])
    if item.voices != "train":
        return kokoro.HELD[item.number % len(kokoro.HELD)]
    voice = str(rng.choice(kokoro.TRAIN))
    if rng.random() >= SHARE_BLENDED:
        return voice
    other = rng.choice([name for name in kokoro.TRAIN if name[0] == voice[0] and name != voice])
    return f"{voice}*{rng.uniform(0.25, 0.75):.2f}+{other}"


def kokoro_utterances(
    shard: Sequence[Plan], speaker: kokoro.Kokoro
) -> Iterator[tuple[Plan, str, Speech]]:
    """Speaks a shard, faster and slower, some of it a little higher or lower."""
    for item in shard:
        rng = np.random.default_rng([23, item.number])
        voice = _kokoro_voice(item)
        speech = speaker.say(item.text, voice, speed=float(rng.uniform(0.85, 1.25)))
        factor = float(np.exp(rng.normal(0, 0.05))) if rng.random() < 0.4 else 1.0
        yield item, voice, change(speech, USER_HZ, float(np.clip(factor, 0.88, 1.14)))


def write_shard(path: Path, utterances: Iterator[tuple[Plan, str, Speech]]) -> float:
    """Writes utterances to `path`; returns their seconds."""
    rows, waves, words, phones, starts = [], [], [], [], []
    for item, voice, speech in utterances:
        peak = np.abs(speech.wave).max()
        level = np.sqrt(np.mean(speech.wave**2))
        # One level for all voices; the dialogues change it. 0.99 / peak keeps it from clipping.
        gain = min(0.08 / max(level, 1e-4), 0.99 / max(peak, 1e-4))
        waves.append(np.round(speech.wave * gain * 32767).astype(np.int16))
        words.append(speech.word_starts)
        phones.append(speech.phone_ids)
        starts.append(speech.phone_starts)
        rows.append({
            "text": item.text, "intent": item.intent, "slots": dict(item.slots),
            "reply": item.reply, "group": item.group, "voices": item.voices, "voice": voice,
        })  # fmt: skip
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(
            file,
            wave=np.concatenate(waves),
            lengths=np.array([len(wave) for wave in waves], np.int64),
            word_counts=np.array([len(row) for row in words], np.int64),
            word_starts=np.concatenate(words).astype(np.int32),
            phone_counts=np.array([len(row) for row in phones], np.int64),
            phone_ids=np.concatenate(phones).astype(np.uint8),
            phone_starts=np.concatenate(starts).astype(np.int32),
            rows=np.frombuffer(json.dumps(rows).encode(), np.uint8),
        )
    partial.rename(path)
    return sum(map(len, waves)) / USER_HZ


def build(
    domain: Domain, folder: Path, synthesizer: str, scale: float = 1.0, more: More | None = None
) -> None:
    """Makes the shards of one synthesizer that are not there yet.

    Those of the lists come in turn, so that a part of them is a fair mix.
    """
    lists = [("", plan(domain, synthesizer, scale))]
    if more is not None:
        lists.append(("more_", plan_more(more, synthesizer, scale)))
        lists.append(("generic_", plan_generic(synthesizer, scale)))
    missing = [
        (number / len(shards), path, shard)
        for prefix, shards in lists
        for number, shard in enumerate(shards)
        if not (path := folder / f"users_{prefix}{synthesizer}_{number:03}.npz").exists()
    ]
    if missing:
        _speak(sorted(missing, key=lambda row: row[0]), synthesizer)


def _speaker(synthesizer: str) -> Callable[[Sequence[Plan]], Iterator[tuple[Plan, str, Speech]]]:
    if synthesizer == "espeak":
        espeak = Espeak()
        return lambda shard: espeak_utterances(shard, espeak)
    if synthesizer == "flite":
        flite = Flite()
        return lambda shard: flite_utterances(shard, flite)
    neural = kokoro.Kokoro()
    return lambda shard: kokoro_utterances(shard, neural)


def _speak(missing: Sequence[tuple[float, Path, Sequence[Plan]]], synthesizer: str) -> None:
    speak = _speaker(synthesizer)
    begin, seconds = time.monotonic(), 0.0
    for done, (_, path, shard) in enumerate(missing, 1):
        seconds += write_shard(path, speak(shard))
        spent = time.monotonic() - begin
        print(
            f"bank: {synthesizer} shard {done}/{len(missing)}, {seconds / 3600:.2f} h of speech, "
            f"{spent:.0f} s, about {spent / done * (len(missing) - done):.0f} s left",
            file=sys.stderr,
            flush=True,
        )

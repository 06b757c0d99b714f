"""Held-out scenarios for `parley eval duplex`: recordings and what happens in them; knows no model.

`python -m train scenarios --out DIR` writes NAME.wav (24 kHz, 16 bit, the user's microphone) with
NAME.json, in the format that `parley eval duplex --help` documents, and some reference renderings
of replies. Kinds: turn, pause, backchannel, interruption_stop, interruption_command, noise, long.
All voices are held out. The tag "split" is held_voice; held_phrasing; held_combination (of slot
values); noisy; unseen_synthesizer and unseen_rhvoice (festival and RHVoice, which no training
hears); neural_voice and neural_phrasing (Kokoro's held-out voices). `--second` writes turns with
the tag second_phrasing alone. The assistant is expected to begin as trained; what is said over
a reply is placed well inside it, so an answer that begins a little late is still talked over.
"""

import argparse
import json
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np

from train import festival, rhvoice
from train.acoustics import SPEECH_LEVEL
from train.bank import BANK, Bank, BankError, Utterance
from train.dialogues import DialogueSampler, Mix
from train.scene import CHUNK, USER_HZ, Event, Scene, Spoken, answer_chunk
from train.synthesis import resample_exactly

OUT = BANK.parent / "scenarios"
SPLITS = {
    "held_voice": "held_voices",
    "held_phrasing": "held_phrasings",
    "held_combination": "held_combinations",
}
OVERLAPS = {
    "backchannel": "backchannels",
    "interruption_stop": "stop_words",
    "interruption_command": "commands",
}
CLEAR = Mix(pauses=0.0, leakage=0.0, lowest_gain=-20.0, least_snr=20.0)
NOISY = Mix(pauses=0.0, leakage=0.0, lowest_gain=-30.0, least_snr=6.0)
QUIET_START = (0.6, 1.6)  # seconds before the user speaks
TAIL_SECONDS = 1.5
LEAD_OVER_SECONDS, TAIL_OVER_SECONDS = 0.4, 1.5
LONG_SECONDS, NOISE_SECONDS = 600.0, 60.0
LONG = Mix(
    pauses=0.25, backchannels=0.1, stops=0.08, new_commands=0.08, unanswered=0.05, leakage=0.0,
    lowest_gain=-20.0, least_snr=20.0,
)  # fmt: skip


class Writer:
    """Writes scenarios into `folder`, numbered by kind and split."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts: dict[str, int] = {}

    def write(self, kind: str, heard: np.ndarray, events: dict[str, list], **tags: str) -> None:
        """One scenario: its sound `heard` [samples] at 16 kHz and its lists of events."""
        stem = f"{kind}_{tags['split']}"
        number = self.counts.get(stem, 0)
        self.counts[stem] = number + 1
        path = self.folder / f"{stem}_{number:04}"
        _write_wave(path.with_suffix(".wav"), resample_exactly(heard, 3, 2))
        entry = {"kind": kind, **events, "tags": tags}
        path.with_suffix(".json").write_text(json.dumps(entry, indent=1) + "\n")


def _write_wave(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24000)
        file.writeframes(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def describe(events: list[Event], sampler: DialogueSampler) -> dict[str, list]:
    """The JSON lists of a scene's events, in seconds.

    A command that begins while a reply is expected to be under way is an interruption, as is a
    stop word; backchannels and stop words while nobody speaks are left out.
    """
    lists: dict[str, list] = {
        "turns": [], "pauses": [], "backchannels": [], "interruptions": []
    }  # fmt: skip
    spoken = [event for event in events if event.kind == "reply"]
    for event in sorted(events, key=lambda event: event.begin):
        if event.kind == "reply":
            continue
        entry = {
            "start_s": round(event.begin / USER_HZ, 4),
            "end_s": round(event.end / USER_HZ, 4),
            "text": event.text,
        }
        over = any(reply.begin <= event.begin < reply.end for reply in spoken)
        if event.kind == "command":
            reply = sampler.replies[event.key]
            entry |= {"reply": reply.text, "reply_s": round(len(reply.codes) * CHUNK / USER_HZ, 2)}
            lists["interruptions" if over else "turns"].append(entry)
        elif over and event.kind == "stop_words":
            lists["interruptions"].append({**entry, "reply": None})
        elif over:
            lists["backchannels"].append(entry)
        if not over:
            lists["pauses"] += [
                {"start_s": round(begin / USER_HZ, 4), "end_s": round(end / USER_HZ, 4)}
                for begin, end in event.pauses
            ]
    return {name: entries for name, entries in lists.items() if entries}


def _command(
    sampler: DialogueSampler, mix: Mix, fits: Callable[[Utterance, Spoken], bool]
) -> tuple[Utterance, Spoken]:
    for _ in range(1000):
        command, spoken = sampler.command(mix)
        if fits(command, spoken):
            return command, spoken
    raise BankError("[scenarios.choose] expected a fitting command, got none; make a larger bank")


def turn_scene(sampler: DialogueSampler, mix: Mix) -> Scene:
    """One command (with pauses where the mix says so) and room for its reply."""
    command, spoken = _command(
        sampler, mix, lambda _, spoken: bool(spoken.pauses or not mix.pauses)
    )
    at = int(sampler.rng.uniform(*QUIET_START) * USER_HZ)
    answer = sampler.answer_of(command)
    first = answer_chunk(at + len(spoken.wave))
    scene = Scene(first + len(answer.codes) + round(TAIL_SECONDS * USER_HZ / CHUNK))
    scene.say("command", spoken, at, key=answer.key)
    scene.reply(answer, first)
    return scene


def overlap_scene(sampler: DialogueSampler, mix: Mix, said: str) -> Scene:
    """A command, and over its reply something of the sampler's list `said`."""
    rng = sampler.rng
    margin = round((LEAD_OVER_SECONDS + TAIL_OVER_SECONDS) * USER_HZ)
    command, spoken = _command(
        sampler, mix, lambda command, _: len(sampler.answer_of(command).codes) * CHUNK > margin
    )
    answer = sampler.answer_of(command)
    at = int(rng.uniform(*QUIET_START) * USER_HZ)
    first = answer_chunk(at + len(spoken.wave))
    end = (first + len(answer.codes)) * CHUNK
    onset = int(rng.integers(
        first * CHUNK + LEAD_OVER_SECONDS * USER_HZ, end - TAIL_OVER_SECONDS * USER_HZ + 1
    ))  # fmt: skip
    if said == "commands":
        other, over = sampler.command(mix)
        following = sampler.answer_of(other)
        chunks = answer_chunk(onset + len(over.wave)) + len(following.codes)
    else:
        users = getattr(sampler, said)
        over = sampler.spoken(users[rng.integers(len(users))])
        chunks = max(end, onset + len(over.wave)) // CHUNK + 1
    scene = Scene(chunks + round(TAIL_SECONDS * USER_HZ / CHUNK))
    scene.say("command", spoken, at, key=answer.key)
    scene.reply(answer, first)
    if said == "commands":
        scene.say("command", over, onset, key=following.key)
    else:
        scene.say(said, over, onset)
    return scene


def long_scene(sampler: DialogueSampler, seconds: float) -> Scene:
    """A conversation of many turns that ends with silence."""
    scene = Scene(round(seconds * USER_HZ / CHUNK))
    at = USER_HZ
    while at < scene.samples - 15 * USER_HZ:
        if sampler.rng.random() < LONG.unanswered:
            at = sampler.unanswered(scene, at) + USER_HZ
        else:
            at = sampler.turn(scene, at, LONG)
    inside = [event for event in scene.events if event.end <= scene.samples]
    if len(inside) != len(scene.events):
        return long_scene(sampler, seconds)
    return scene


def noise_scene(sampler: DialogueSampler, seconds: float, *, words: bool) -> Scene:
    """Nobody asks anything: silence, or a stop word or backchannel now and then."""
    scene = Scene(round(seconds * USER_HZ / CHUNK))
    at = 2 * USER_HZ
    while words and at < scene.samples - 3 * USER_HZ:
        at = sampler.unanswered(scene, at) + int(sampler.rng.uniform(3, 8) * USER_HZ)
    return scene


def write_scenarios(bank: Bank, folder: Path, count: int, *, seed: int, long: int) -> None:
    """Writes `count` scenarios for each kind and split, and `long` long ones."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = Writer(folder)
    samplers = {tag: DialogueSampler(bank, split, seed) for tag, split in SPLITS.items()}

    def write(kind: str, scene: Scene, sampler: DialogueSampler, mix: Mix, **tags: str) -> None:
        if kind in ("turn", "pause"):  # with one speaker
            tags["voice"] = scene.events[0].voice
        writer.write(kind, sampler.heard(scene, mix), describe(scene.events, sampler), **tags)

    main = samplers["held_voice"]
    for tag, sampler in samplers.items():
        for _ in range(count):
            write("turn", turn_scene(sampler, CLEAR), sampler, CLEAR, split=tag)
    for _ in range(count):
        write("turn", turn_scene(main, NOISY), main, NOISY, split="noisy")
        paused = Mix(pauses=1.0, leakage=0.0, lowest_gain=-20.0, least_snr=20.0)
        write("pause", turn_scene(main, paused), main, paused, split="held_voice")
        for kind, said in OVERLAPS.items():
            write(kind, overlap_scene(main, CLEAR, said), main, CLEAR, split="held_voice")
    for number in range(max(1, count // 15)):
        words = number % 2 == 1
        scene = noise_scene(main, NOISE_SECONDS, words=words)
        write("noise", scene, main, NOISY, split="words" if words else "noise")
    for _ in range(long):
        write("long", long_scene(main, LONG_SECONDS), main, LONG, split="held_voice")
    _write_renderings(bank, folder / "replies", min(count, 100), seed)


# Tag of the split -> who speaks it.
UNSEEN = {"unseen_synthesizer": festival, "unseen_rhvoice": rhvoice}


def write_unseen_synthesizer(
    bank: Bank, folder: Path, split: str, count: int, *, seed: int
) -> None:
    """Writes `count` turns of one of UNSEEN; raises SynthesisError where it is missing."""
    speaker = UNSEEN[split]
    sampler = DialogueSampler(bank, "held_voices", seed)
    commands = bank.domain.commands_of("train")
    writer = Writer(folder)
    for number, voice in enumerate(speaker.VOICES):
        share = sampler.rng.permutation(len(commands))[number : count : len(speaker.VOICES)]
        chosen = [commands[index] for index in share]
        speeches = speaker.say_all([command.text for command in chosen], voice)
        for command, speech in zip(chosen, speeches, strict=True):
            level = SPEECH_LEVEL / np.sqrt(np.mean(speech.wave**2))
            sound = np.round(np.clip(speech.wave * level, -1, 1) * 32767).astype(np.int16)
            sampler.commands = [
                Utterance(
                    sound, command.text, command.intent, dict(command.slots), command.reply,
                    "train", "held", voice, speech.word_starts.astype(np.int32),
                    speech.phone_ids.astype(np.uint8), speech.phone_starts.astype(np.int32),
                )
            ]  # fmt: skip
            scene = turn_scene(sampler, CLEAR)
            heard = sampler.heard(scene, CLEAR)
            events = describe(scene.events, sampler)
            writer.write("turn", heard, events, split=split, voice=voice)


# Tag of the split -> the sampler's.
TURNS = {
    "second_phrasing": "second_phrasings",
    "neural_voice": "neural_voices",
    "neural_phrasing": "neural_phrasings",
}


def write_turns(bank: Bank, folder: Path, split: str, count: int, *, seed: int) -> None:
    """Writes `count` turns of one of TURNS."""
    sampler = DialogueSampler(bank, TURNS[split], seed)
    writer = Writer(folder)
    for _ in range(count):
        scene = turn_scene(sampler, CLEAR)
        heard, events = sampler.heard(scene, CLEAR), describe(scene.events, sampler)
        voice = scene.events[0].voice
        writer.write("turn", heard, events, split=split, voice=voice)


def _write_renderings(bank: Bank, folder: Path, count: int, seed: int) -> None:
    """Replies as the synthesizer speaks them: what a recogniser hears of these is its own limit."""
    folder.mkdir(exist_ok=True)
    replies = bank.replies_of("train", "held")
    chosen = np.random.default_rng(seed).permutation(len(replies))[:count]
    for number, index in enumerate(chosen):
        path = folder / f"reply_{number:03}"
        _write_wave(path.with_suffix(".wav"), replies[index].waves["a"] / 32768)
        path.with_suffix(".txt").write_text(replies[index].text + "\n")


def main(arguments: list[str] | None = None) -> int:
    """`python -m train scenarios`: writes held-out scenarios from the bank."""
    parser = argparse.ArgumentParser(prog="python -m train scenarios", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="the folder to write")
    parser.add_argument("--bank", type=Path, default=BANK, help="the bank's folder")
    parser.add_argument("--count", type=int, default=300, help="scenarios per kind and split")
    parser.add_argument("--long", type=int, default=2, help="conversations of ten minutes")
    parser.add_argument("--festival", type=int, default=0, help="turns that festival speaks")
    parser.add_argument("--rhvoice", type=int, default=0, help="turns that RHVoice speaks")
    parser.add_argument(
        "--neural", type=int, default=0, help="turns by Kokoro's held-out voices, of each split"
    )
    parser.add_argument(
        "--second", type=int, default=0, help="only so many turns with more.yaml's held phrasings"
    )
    parser.add_argument("--seed", type=int, default=1, help="other seeds give other scenarios")
    options = parser.parse_args(arguments)
    bank = Bank(options.bank)
    if options.second:
        options.out.mkdir(parents=True, exist_ok=True)
        write_turns(bank, options.out, "second_phrasing", options.second, seed=options.seed)
        return 0
    if options.count:
        write_scenarios(bank, options.out, options.count, seed=options.seed, long=options.long)
    options.out.mkdir(parents=True, exist_ok=True)
    for split, count in zip(UNSEEN, (options.festival, options.rhvoice), strict=True):
        if count:
            write_unseen_synthesizer(bank, options.out, split, count, seed=options.seed)
    for split in ("neural_voice", "neural_phrasing"):
        if options.neural:
            write_turns(bank, options.out, split, options.neural, seed=options.seed)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

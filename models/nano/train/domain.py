"""The domain as Python values: commands, replies and what is held out; knows no sound.

Splits of a command: "train"; "phrasing" (the held-out phrasing of its intent with slot values of
training); "combination" (a training phrasing, a combination of slot values that training never
has); "both". Nothing but the evaluation reads any split other than "train".
"""

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

SPLITS = ("train", "phrasing", "combination", "both")
_COUNTING = "zero one two three four five six seven eight nine ten eleven twelve"
NUMBERS = _COUNTING.split()
DOMAIN_PATH = Path(__file__).resolve().parent.parent / "domain.yaml"


class DomainError(ValueError):
    """The domain file contradicts itself; the message says where and what to change."""


@dataclass(frozen=True)
class Command:
    """One thing to say: its words, what it means, the expected reply and its split."""

    text: str
    intent: str
    slots: tuple[tuple[str, str], ...]
    reply: str
    split: str


@dataclass(frozen=True)
class Intent:
    """One meaning: phrasings with {slots}, one held out, and the reply's template."""

    name: str
    phrasings: tuple[str, ...]
    held: str
    reply: str
    held_every: int

    @property
    def slot_names(self) -> tuple[str, ...]:
        """Slots in the order of the first phrasing."""
        return tuple(re.findall(r"{(\w+)}", self.phrasings[0]))


@dataclass(frozen=True)
class Domain:
    """Everything of domain.yaml, expanded; `slots` maps a slot to {said: answer}."""

    slots: Mapping[str, Mapping[str, str]]
    intents: tuple[Intent, ...]
    stop_words: Mapping[str, tuple[str, ...]]
    backchannels: Mapping[str, tuple[str, ...]]

    @cached_property
    def commands(self) -> tuple[Command, ...]:
        """All commands of all splits, in the file's order."""
        return tuple(itertools.chain.from_iterable(self._expand(i) for i in self.intents))

    def commands_of(self, split: str) -> tuple[Command, ...]:
        """Commands of one of SPLITS."""
        return tuple(command for command in self.commands if command.split == split)

    @cached_property
    def replies(self) -> tuple[str, ...]:
        """All distinct replies, in the file's order."""
        return tuple(dict.fromkeys(command.reply for command in self.commands))

    @cached_property
    def train_replies(self) -> tuple[str, ...]:
        """Replies that training may read; the others belong to held-out slot combinations."""
        return tuple(dict.fromkeys(command.reply for command in self.commands_of("train")))

    @cached_property
    def reply_words(self) -> tuple[str, ...]:
        """The reply vocabulary, sorted."""
        return tuple(sorted({word for reply in self.train_replies for word in reply.split()}))

    @cached_property
    def user_words(self) -> tuple[str, ...]:
        """Words of training commands, stop words and backchannels, sorted."""
        said = [command.text for command in self.commands_of("train")]
        said += [*self.stop_words["train"], *self.backchannels["train"]]
        return tuple(sorted({word for text in said for word in text.split()}))

    @cached_property
    def _complete(self) -> frozenset[str]:
        said = {command.text for command in self.commands}
        for group in (self.stop_words, self.backchannels):
            said.update(itertools.chain.from_iterable(group.values()))
        return frozenset(said)

    def pause_places(self, text: str) -> tuple[int, ...]:
        """Indices of the words before which a pause is safe: nothing complete was said by then."""
        words = text.split()
        return tuple(
            place for place in range(1, len(words)) if " ".join(words[:place]) not in self._complete
        )

    def _expand(self, intent: Intent) -> Iterable[Command]:
        values = [list(self.slots[name]) for name in intent.slot_names]
        for number, combination in enumerate(itertools.product(*values)):
            slots = tuple(zip(intent.slot_names, combination, strict=True))
            held = intent.held_every > 0 and number % intent.held_every == intent.held_every - 1
            reply = fill(intent.reply, self.reply_values(dict(slots), self.slots))
            for phrasing in (*intent.phrasings, intent.held):
                unseen = phrasing == intent.held
                split = SPLITS[2 * held + unseen]
                yield Command(fill(phrasing, dict(slots)), intent.name, slots, reply, split)

    def reply_values(
        self, slots: Mapping[str, str], lists: Mapping[str, Mapping[str, str]]
    ) -> dict[str, str]:
        """What a reply's {names} stand for; `lists` maps a slot to {said: answer}."""
        values = dict(slots)
        values.update({f"{name}.answer": lists[name][said] for name, said in slots.items()})
        if "first_number" in slots:
            both = (slots["first_number"], slots["second_number"])
            values["sum"] = NUMBERS[sum(NUMBERS.index(number) for number in both)]
        return values


def fill(template: str, values: Mapping[str, str]) -> str:
    """`template` with every {name} replaced."""
    return re.sub(r"{([\w.]+)}", lambda match: values[match[1]], template)


def load_domain(path: Path | None = None) -> Domain:
    """Reads domain.yaml; raises DomainError for unknown keys, slots or characters."""
    raw = yaml.safe_load((path or DOMAIN_PATH).read_text())
    _expect_keys("file", raw, {"version", "slots", "intents", "stop_words", "backchannels"})
    slots = {
        name: dict(values) if isinstance(values, dict) else {value: value for value in values}
        for name, values in raw["slots"].items()
    }
    intents = tuple(_read_intent(name, entry, slots) for name, entry in raw["intents"].items())
    groups = {}
    for key in ("stop_words", "backchannels"):
        _expect_keys(key, raw[key], {"train", "held"})
        groups[key] = {split: tuple(words) for split, words in raw[key].items()}
    domain = Domain(slots, intents, groups["stop_words"], groups["backchannels"])
    for said in (*(c.text for c in domain.commands), *domain.replies):
        if not re.fullmatch(r"[a-z]+( [a-z]+)*", said):
            raise DomainError(f"[domain.load] expected lower-case words, got {said!r}")
    return domain


def _read_intent(name: str, entry: dict[str, Any], slots: Mapping[str, Any]) -> Intent:
    _expect_keys(f"intent {name}", entry, {"phrasings", "held", "reply"}, {"held_every"})
    intent = Intent(
        name, tuple(entry["phrasings"]), entry["held"], entry["reply"], entry.get("held_every", 0)
    )
    for phrasing in (*intent.phrasings, intent.held):
        used = re.findall(r"{(\w+)}", phrasing)
        if sorted(used) != sorted(intent.slot_names) or not set(used) <= set(slots):
            raise DomainError(
                f"[domain.load] expected the slots {intent.slot_names} once each in a phrasing of "
                f"{name}, got {phrasing!r}; correct it in domain.yaml"
            )
    return intent


def _expect_keys(
    where: str, entry: Mapping[str, Any], needed: set[str], allowed: set[str] | None = None
) -> None:
    if missing := needed - set(entry):
        raise DomainError(f"[domain.load] expected {sorted(missing)} in {where}; add them")
    if unknown := set(entry) - needed - (allowed or set()):
        raise DomainError(f"[domain.load] got unknown keys {sorted(unknown)} in {where}")

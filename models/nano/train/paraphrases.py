"""What training hears beyond domain.yaml (more.yaml), with nothing in it that is held out.

A command is left out where it would give away something of the evaluation: it holds a held-out
phrasing, two slot values of a held-out combination or a held-out reply, or it is the beginning of
a command of domain.yaml, in which the evaluation places pauses.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from train.domain import Command, Domain, DomainError, fill

MORE_PATH = Path(__file__).resolve().parent.parent / "more.yaml"
ECHO = "echo"
_NEEDED = {"version", "before", "after", "slots", "intents", "echo", "stop_words", "backchannels"}


@dataclass(frozen=True)
class More:
    """more.yaml, expanded: `commands` for training and `held`, a second set of held phrasings.

    before, after: what may be said around a command. Splits are "more" and "more_phrasing".
    """

    commands: tuple[Command, ...]
    held: tuple[Command, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    stop_words: tuple[str, ...]
    backchannels: tuple[str, ...]
    leads: tuple[str, ...]
    hidden: Hidden
    domain: Domain

    @cached_property
    def replies(self) -> tuple[str, ...]:
        """All distinct replies."""
        return tuple(dict.fromkeys(command.reply for command in self.commands))

    @cached_property
    def complete(self) -> frozenset[str]:
        """Everything that can be said for itself; a pause after it would be its end."""
        said = {command.text for command in (*self.commands, *self.domain.commands)}
        return frozenset(said | {*self.stop_words, *self.backchannels})

    @cached_property
    def user_words(self) -> tuple[str, ...]:
        """The domain's words, then those that come in addition, sorted."""
        said = [command.text for command in self.commands]
        said += [*self.before, *self.after, *self.stop_words, *self.backchannels]
        words = {word for text in said for word in text.split()}
        return (*self.domain.user_words, *sorted(words - set(self.domain.user_words)))

    def around(self, text: str, rng: np.random.Generator) -> str:
        """`text` with something before it, after it, or neither (half of the time)."""
        draw = rng.random()
        before = self.before[rng.integers(len(self.before))] + " " if draw < 0.35 else ""
        after = " " + self.after[rng.integers(len(self.after))] if draw > 0.85 else ""
        longer = f"{before}{text}{after}"
        return text if self.hidden.gives_away(longer) else longer

    def pause_places(self, text: str) -> tuple[int, ...]:
        """Domain.pause_places, with everything that training hears."""
        words = text.split()
        safe = self.domain.pause_places(text)
        return tuple(place for place in safe if not self._is_complete(" ".join(words[:place])))

    def _is_complete(self, text: str) -> bool:
        """Whether `text` means something by itself, also without what is said before it."""
        befores = ["", *(before + " " for before in self.before if text.startswith(before + " "))]
        said = [text.removeprefix(before) for before in befores]
        # What is to be said after the user may end after any word.
        leads = tuple(lead + " " for lead in self.leads)
        return any(rest in self.complete or rest.startswith(leads) for rest in said)


class Hidden:
    """What the evaluation holds out of training: texts, replies and pairs of slot values."""

    def __init__(self, domain: Domain, held: Sequence[Command]) -> None:
        splits = ("phrasing", "combination", "both")
        texts = [c.text for split in splits for c in domain.commands_of(split)]
        texts += [c.text for c in held]
        texts += [*domain.stop_words["held"], *domain.backchannels["held"]]
        replies = set(domain.replies) - set(domain.train_replies)
        self._texts = frozenset(texts) | replies
        self._pairs = {frozenset(v for _, v in c.slots) for c in domain.commands_of("combination")}
        train = [command.text.split() for command in domain.commands_of("train")]
        self._beginnings = {" ".join(w[:n]) for w in train for n in range(1, len(w) + 1)}

    def gives_away(self, text: str) -> bool:
        """Whether something held out is part of `text`, in whole words."""
        words = text.split()
        places = itertools.combinations(range(len(words) + 1), 2)
        return any(" ".join(words[begin:end]) in self._texts for begin, end in places)

    def forbids(self, command: Command) -> bool:
        """Whether training must not hear this command."""
        values = {value for _, value in command.slots}
        return (
            command.text in self._beginnings
            or any(pair <= values for pair in self._pairs)
            or self.gives_away(command.text)
            or self.gives_away(command.reply)
        )


def load_more(domain: Domain, path: Path | None = None) -> More:
    """Reads more.yaml; raises DomainError where it contradicts itself or the domain."""
    raw = yaml.safe_load((path or MORE_PATH).read_text())
    if set(raw) != _NEEDED:
        raise DomainError(f"[more.load] expected the keys {sorted(_NEEDED)}, got {sorted(raw)}")
    slots = {**domain.slots, **{name: _values(said) for name, said in raw["slots"].items()}}
    entries = [_entry(domain, name, entry) for name, entry in sorted(raw["intents"].items())]
    held = [
        command
        for entry in entries
        for command in _expand(domain, slots, entry, entry.held, "more_phrasing")
    ]
    hidden = Hidden(domain, held)
    found: dict[str, Command] = {}
    for command in itertools.chain(
        *(_all_of(domain, slots, entry) for entry in entries), _echo(domain, raw["echo"])
    ):
        other = found.setdefault(command.text, command)
        if other.reply != command.reply:
            raise DomainError(
                f"[more.load] expected one meaning of {command.text!r}, got {other.reply!r} and "
                f"{command.reply!r}; correct it in more.yaml"
            )
    commands = tuple(command for command in found.values() if not hidden.forbids(command))
    _check(domain, commands)
    words = {key: tuple(raw[key]) for key in ("before", "after", "stop_words", "backchannels")}
    for key in ("stop_words", "backchannels"):
        if given := [said for said in words[key] if hidden.gives_away(said)]:
            raise DomainError(f"[more.load] expected {key} without held-out ones, got {given}")
    held_new = tuple(c for c in held if c.reply in set(domain.train_replies))
    leads = tuple(raw["echo"]["leads"])
    return More(commands, held_new, leads=leads, hidden=hidden, domain=domain, **words)


def _values(said: Any) -> Mapping[str, str]:
    return dict(said) if isinstance(said, dict) else {value: value for value in said}


@dataclass(frozen=True)
class _Entry:
    """An intent of more.yaml; `known`: phrasings of domain.yaml's intent."""

    name: str
    slot_names: tuple[str, ...]
    known: tuple[str, ...]
    phrasings: tuple[str, ...]
    held: tuple[str, ...]
    reply: str
    instead: tuple[Mapping[str, str], ...]


def _entry(domain: Domain, name: str, raw: Mapping[str, Any]) -> _Entry:
    intent = next((intent for intent in domain.intents if intent.name == name), None)
    phrasings = tuple(raw["phrasings"])
    names = intent.slot_names if intent else tuple(re.findall(r"{(\w+)}", phrasings[0]))
    held = tuple(raw[key] for key in ("held",) if key in raw)
    for phrasing in (*phrasings, *held):
        if sorted(re.findall(r"{(\w+)}", phrasing)) != sorted(names):
            raise DomainError(f"[more.load] expected the slots {names} in {phrasing!r} of {name}")
    return _Entry(
        name,
        names,
        intent.phrasings if intent else (),
        phrasings,
        held,
        intent.reply if intent else raw["reply"],
        tuple(raw.get("instead", ())),
    )


def _all_of(
    domain: Domain, slots: Mapping[str, Mapping[str, str]], entry: _Entry
) -> Iterator[Command]:
    yield from _expand(domain, slots, entry, entry.phrasings, "more")
    for other in entry.instead:
        lists = {**slots, **{slot: slots[replaced] for slot, replaced in other.items()}}
        yield from _expand(domain, lists, entry, (*entry.known, *entry.phrasings), "more")


def _expand(
    domain: Domain,
    slots: Mapping[str, Mapping[str, str]],
    entry: _Entry,
    phrasings: Sequence[str],
    split: str,
) -> Iterator[Command]:
    for combination in itertools.product(*(slots[slot] for slot in entry.slot_names)):
        chosen = tuple(zip(entry.slot_names, combination, strict=True))
        reply = fill(entry.reply, domain.reply_values(dict(chosen), slots))
        for phrasing in phrasings:
            yield Command(fill(phrasing, dict(chosen)), entry.name, chosen, reply, split)


def _echo(domain: Domain, entry: Mapping[str, Any]) -> Iterator[Command]:
    """Made-up sentences of 2 to 4 reply words, each word about equally often."""
    rng, words = np.random.default_rng(37), list(domain.reply_words)
    queue: list[str] = []
    for number in range(entry["count"]):
        length = 2 + number % 3
        while len(queue) < length:
            queue += [words[index] for index in rng.permutation(len(words))]
        said, queue = " ".join(queue[:length]), queue[length:]
        for lead in entry["leads"]:
            yield Command(f"{lead} {said}", ECHO, (), said, "more")


def _check(domain: Domain, commands: Sequence[Command]) -> None:
    known, meaning = set(domain.reply_words), {c.text: c.reply for c in domain.commands}
    for command in commands:
        if not re.fullmatch(r"[a-z]+( [a-z]+)*", command.text):
            raise DomainError(f"[more.load] expected lower-case words, got {command.text!r}")
        if unknown := set(command.reply.split()) - known:
            raise DomainError(
                f"[more.load] expected words of domain.yaml's replies, got {sorted(unknown)} in "
                f"{command.reply!r}; say it otherwise"
            )
        if meaning.get(command.text, command.reply) != command.reply:
            raise DomainError(f"[more.load] got another reply to {command.text!r} of domain.yaml")

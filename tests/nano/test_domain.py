"""domain.yaml keeps its promises: sizes, held-out items, words, pauses; no sound."""

from collections import Counter
from pathlib import Path

import pytest
from synthetic_bank import small_domain
from train.domain import Domain, DomainError, load_domain


@pytest.fixture(scope="module")
def domain() -> Domain:
    return load_domain()


def test_sizes(domain: Domain) -> None:
    assert len(domain.intents) >= 45
    assert len(domain.train_replies) >= 300
    assert sum(map(len, domain.stop_words.values())) >= 11
    assert sum(map(len, domain.backchannels.values())) >= 10
    assert domain.stop_words["held"] and domain.backchannels["held"]
    assert len(domain.reply_words) <= 360
    for intent in domain.intents:
        assert 5 <= len(intent.phrasings) <= 8, intent.name


def test_replies_are_short_and_their_words_are_known(domain: Domain) -> None:
    known = set(domain.reply_words)
    for reply in domain.replies:
        assert 2 <= len(reply.split()) <= 8, reply
        assert set(reply.split()) <= known, reply


def test_nothing_held_out_is_in_training(domain: Domain) -> None:
    train = domain.commands_of("train")
    texts = {command.text for command in train}
    combinations = {(command.intent, command.slots) for command in train}
    for split in ("phrasing", "combination", "both"):
        held = domain.commands_of(split)
        assert held and not texts & {command.text for command in held}
    held_combinations = {(c.intent, c.slots) for c in domain.commands_of("combination")}
    assert not combinations & held_combinations
    assert {(c.intent, c.slots) for c in domain.commands_of("phrasing")} <= combinations
    for group in (domain.stop_words, domain.backchannels):
        assert not set(group["train"]) & set(group["held"])
        assert not texts & {*group["train"], *group["held"]}


def test_words_and_slot_values_of_held_out_commands_occur_in_training(domain: Domain) -> None:
    words = set(domain.user_words)
    values = {(c.intent, value) for c in domain.commands_of("train") for _, value in c.slots}
    for command in domain.commands:
        assert set(command.text.split()) <= words, command.text
        assert {(command.intent, value) for _, value in command.slots} <= values


def test_a_command_means_one_thing(domain: Domain) -> None:
    counts = Counter(command.text for command in domain.commands)
    assert not [text for text, count in counts.items() if count > 1]


def test_pauses_are_only_where_nothing_complete_was_said(domain: Domain) -> None:
    complete = {command.text for command in domain.commands}
    places = 0
    for command in domain.commands_of("train"):
        words = command.text.split()
        for place in domain.pause_places(command.text):
            assert " ".join(words[:place]) not in complete
            places += 1
    assert places > 3 * len(domain.commands_of("train"))


def test_pause_places_of_a_command_that_holds_another(tmp_path: Path) -> None:
    domain = small_domain(tmp_path)
    assert domain.pause_places("tell me a joke about lights") == (1, 2, 3, 5)
    # "stop" is a stop word, so a pause after it would be one.
    assert domain.pause_places("stop the light") == (2,)


def test_held_combinations_follow_the_product(tmp_path: Path) -> None:
    domain = small_domain(tmp_path)
    held = [dict(c.slots) for c in domain.commands_of("combination") if "turn" in c.text]
    # Of on/kitchen, on/garage, on/garden, on/office, off/kitchen, ... every third.
    assert held == [{"switch": "on", "room": "garden"}, {"switch": "off", "room": "garage"}]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{room} light {switch}", "{room} light", "slots"),
        ("held_every: 3", "held_evry: 3", "unknown keys"),
        ("no more jokes", "No more jokes!", "lower-case"),
        ('    reply: "no more jokes"', "", "reply"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    small_domain(tmp_path)
    path = tmp_path / "domain.yaml"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DomainError, match=message):
        load_domain(path)

"""more.yaml gives training nothing that is held out; its mistakes are named; no sound."""

from pathlib import Path

import numpy as np
import pytest
from train.domain import Domain, DomainError, load_domain
from train.paraphrases import ECHO, MORE_PATH, More, load_more
from train.user_bank import plan_more


@pytest.fixture(scope="module")
def domain() -> Domain:
    return load_domain()


@pytest.fixture(scope="module")
def more(domain: Domain) -> More:
    return load_more(domain)


def parts(text: str) -> set[str]:
    words = text.split()
    return {" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}


def hidden_texts(domain: Domain, more: More) -> set[str]:
    splits = ("phrasing", "combination", "both")
    held = {command.text for split in splits for command in domain.commands_of(split)}
    held |= {*domain.stop_words["held"], *domain.backchannels["held"]}
    return held | {command.text for command in more.held}


def test_no_command_gives_away_what_is_held_out(domain: Domain, more: More) -> None:
    hidden, replies = hidden_texts(domain, more), set(domain.replies) - set(domain.train_replies)
    pairs = [{value for _, value in c.slots} for c in domain.commands_of("combination")]
    assert len(more.commands) > 10000 and hidden and replies and pairs
    for command in more.commands:
        assert not parts(command.text) & hidden, command.text
        assert not parts(command.reply) & replies, command.reply
        assert not any(pair <= {value for _, value in command.slots} for pair in pairs)


def test_what_is_said_around_gives_nothing_away(domain: Domain, more: More) -> None:
    hidden, said = hidden_texts(domain, more), set()
    for synthesizer in ("espeak", "flite"):
        planned = [item for shard in plan_more(more, synthesizer, 0.2) for item in shard]
        assert planned == [item for shard in plan_more(more, synthesizer, 0.2) for item in shard]
        said |= {item.text for item in planned if item.voices == "train"}
        assert {item.group for item in planned if item.voices == "held"} == {"more_phrasing"}
    said -= {command.text for command in domain.commands_of("train")}
    assert len(said) > 2000
    assert not [text for text in said if parts(text) & hidden]
    assert {text for text in said if text.startswith("hey nano ")}


def test_no_command_is_the_beginning_of_the_domains(domain: Domain, more: More) -> None:
    texts = {command.text for command in more.commands}
    for command in domain.commands_of("train"):
        words = command.text.split()
        assert not texts & {" ".join(words[:n]) for n in range(1, len(words))}


def test_second_phrasings_are_known_words_and_replies(domain: Domain, more: More) -> None:
    intents = {command.intent for command in more.held}
    assert intents == {intent.name for intent in domain.intents}
    assert {command.reply for command in more.held} <= set(domain.train_replies)
    assert {c.split for c in more.held} == {"more_phrasing"}


def test_the_domains_user_words_keep_their_places(domain: Domain, more: More) -> None:
    assert more.user_words[: len(domain.user_words)] == domain.user_words
    assert len(set(more.user_words)) == len(more.user_words)


def test_pauses_are_only_where_nothing_complete_was_said(more: More) -> None:
    assert more.pause_places("could you lock the doors now") == (1, 2, 3, 4)
    # What is to be said after the user may end after any word.
    assert more.pause_places("nano repeat after me red moon dog") == (1, 2, 3, 4)
    assert ECHO in {command.intent for command in more.commands}


def test_words_around_never_make_a_held_phrasing(domain: Domain, more: More) -> None:
    held = next(c for c in domain.commands_of("phrasing") if c.text == "please unlock the car")
    rng = np.random.default_rng(1)
    said = {more.around("unlock the car", rng) for _ in range(400)}
    assert held.text not in said and "could you unlock the car" in said


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"louder please"', '"forget the timer"', "one meaning"),
        ("[yep, yup,", "[yep, aha,", "held-out"),
        ('"cancel my timer"', '"cancel {amount} timer"', "slots"),
        ("more_speed: [forty,", "more_speed: [hundred,", "words of domain.yaml's replies"),
        ("version: 1\n", "version: 1\nothers: 2\n", "keys"),
    ],
)
def test_mistakes_are_named(
    domain: Domain, tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = MORE_PATH.read_text()
    assert old in text
    path = tmp_path / "more.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DomainError, match=message):
        load_more(domain, path)

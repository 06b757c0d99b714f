"""Dialogues for training: labels of hand-made cases, seeds, nothing held out; over tones."""

from collections import Counter
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from synthetic_bank import CHUNKS, tone_speech, write_bank
from train.bank import Bank, BankError
from train.dialogues import SHARES, DialogueSampler, Mix, _by_synthesizer
from train.reply_bank import Codebook, assign, k_means, schedule, warp
from train.scene import (
    BREAK,
    CHUNK,
    SHIFT,
    SPEAK,
    THINK,
    Answer,
    Scene,
    Spoken,
    answer_chunk,
    break_chunk,
    with_pauses,
)

import tolerances


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    return write_bank(tmp_path_factory.mktemp("bank"))


def spoken(text: str) -> Spoken:
    speech = tone_speech(text, 300.0)
    ids = np.arange(1, len(text.split()) + 1)
    return Spoken(speech.wave, ids, speech.word_starts, speech.phone_ids, speech.phone_starts)


def answer(chunks: int) -> Answer:
    return Answer(0, np.arange(chunks, dtype=np.int16), np.ones((chunks, 4), np.int16))


def test_the_answer_begins_two_chunks_after_the_last_sample() -> None:
    assert answer_chunk(CHUNK) == 2
    assert answer_chunk(CHUNK + 1) == 3


def test_an_interruption_is_decided_by_time_or_by_its_end() -> None:
    # 0.64 s after its onset is 10,240 samples: the chunk that holds this moment's end.
    assert break_chunk(0, 99999) == 3
    assert break_chunk(1, 99999) == break_chunk(CHUNK - 1, 99999) == 4
    # "stop" of 0.3 s ends in chunk 1: BREAK in chunk 2.
    assert break_chunk(0, 4800) == 2


def test_a_turn_on_the_grid() -> None:
    scene = Scene(20)
    end = scene.say("command", spoken("one two three"), CHUNK)
    assert end == CHUNK + 12000
    assert scene.reply(answer(4), answer_chunk(end)) == 11
    expected = [THINK] * 7 + [SHIFT] + [SPEAK] * 3 + [BREAK] + [THINK] * 8
    assert scene.kinds.tolist() == expected
    assert scene.text.tolist() == [-1] * 7 + [0, 1, 2, 3] + [-1] * 9
    assert (scene.codes >= 0).all(1).tolist() == [k in (SHIFT, SPEAK) for k in expected]


def test_an_interrupted_reply_ends_at_its_break() -> None:
    scene = Scene(20)
    scene.reply(answer(9), 3, 6)
    assert scene.kinds.tolist() == [THINK] * 3 + [SHIFT, SPEAK, SPEAK, BREAK] + [THINK] * 13
    assert scene.text[6:].max() == -1
    scene = Scene(5)
    scene.reply(answer(9), 3)
    assert scene.kinds.tolist() == [THINK] * 3 + [SHIFT, SPEAK]


def test_aids_look_back() -> None:
    scene = Scene(10)
    scene.say("command", spoken("one three"), CHUNK)
    # A word begins at 2560 and one at 6560; a chunk is labelled 3840 samples before its end.
    times = np.arange(1, 11) * CHUNK - 3840
    expected = [0 if t < 2560 or t >= 10560 else 1 if t < 6560 else 2 for t in times]
    assert scene.words.tolist() == expected
    times = np.arange(1, 81) * 320 - 480
    expected = [0 if t < 2560 or t >= 10560 else 3 if t < 6560 else 5 for t in times]
    assert scene.phones.tolist() == expected


def test_pauses_move_what_follows() -> None:
    whole = spoken("one two three")
    paused = with_pauses(whole, [1, 2], [1000, 2000])
    assert len(paused.wave) == len(whole.wave) + 3000
    assert paused.word_starts.tolist() == [0, 4000, 5000, 9000, 11000]
    assert paused.word_ids.tolist() == [1, 0, 2, 0, 3]
    assert paused.phone_ids.tolist() == [3, 0, 3, 0, 5]
    assert not paused.wave[4000:5000].any() and not paused.wave[9000:11000].any()
    np.testing.assert_array_equal(paused.wave[11000:], whole.wave[8000:])


def test_shapes_and_legal_kinds(bank: Bank) -> None:
    batch = DialogueSampler(bank, "train", 1).batch(4, 12.0)
    chunks = 75
    assert batch["wave16k"].shape == (4, CHUNK * chunks)
    assert batch["wave16k"].dtype == np.float32 and np.abs(batch["wave16k"]).max() <= 1
    assert batch["codes"].shape == (4, chunks, 4) and batch["phones"].shape == (4, 8 * chunks)
    assert batch["text"].shape == batch["words"].shape == (4, chunks)
    after = {THINK: (THINK, SHIFT), SHIFT: (SPEAK, BREAK), SPEAK: (SPEAK, BREAK),
             BREAK: (THINK, SHIFT)}  # fmt: skip
    for row in batch["kinds"]:
        assert all(b in after[a] for a, b in pairwise(row))
    assert {THINK, SHIFT, SPEAK, BREAK} == set(np.unique(batch["kinds"]))
    dense = DialogueSampler(bank, "train", 1).dense(2, 4.0)
    assert not dense["kinds"].any() and (dense["words"] > 0).mean() > 0.5


def test_the_same_seed_gives_the_same_dialogues(bank: Bank) -> None:
    first, again, other = (
        DialogueSampler(bank, "train", seed).batch(2, 6.0, pauses=1.0) for seed in (5, 5, 6)
    )
    for name, values in first.items():
        np.testing.assert_array_equal(values, again[name])
    assert not np.array_equal(first["wave16k"], other["wave16k"])


def everything(sampler: DialogueSampler) -> Iterator[tuple[str, str, str]]:
    for user in (*sampler.commands, *sampler.stop_words, *sampler.backchannels):
        yield user.voices, user.group, user.text


def test_training_never_reads_a_held_out_item(bank: Bank) -> None:
    sampler = DialogueSampler(bank, "train", 3)
    allowed = {command.text for command in bank.domain.commands_of("train")}
    for group in (bank.domain.stop_words, bank.domain.backchannels):
        allowed.update(group["train"])
    read = list(everything(sampler))
    assert {text for _, _, text in read} == allowed
    assert {voices for voices, _, _ in read} == {"train"}
    assert {group for _, group, _ in read} == {"train", "stop_words", "backchannels"}
    said: list[str] = []
    original = sampler.spoken
    sampler.spoken = lambda user, speed: said.append(user.text) or original(user, speed)  # type: ignore
    batch = sampler.batch(8, 20.0, speed=0.1)
    assert said and set(said) <= allowed
    held = {reply.text for reply in bank.replies_of("held")}
    assert held and not held & set(replies_in(batch, bank))


def replies_in(batch: dict[str, np.ndarray], bank: Bank) -> Iterator[str]:
    for kinds, text in zip(batch["kinds"], batch["text"], strict=True):
        words: list[str] = []
        for kind, word in zip(kinds, text, strict=True):
            if kind == SHIFT:
                words = []
            if word >= 0:
                words.append(bank.reply_words[word])
            if kind == BREAK:
                yield " ".join(words)


def test_evaluation_reads_what_training_does_not(bank: Bank) -> None:
    for split, group in (("held_voices", "train"), ("held_phrasings", "phrasing"),
                         ("held_combinations", "combination")):  # fmt: skip
        sampler = DialogueSampler(bank, split, 1)
        assert {(user.voices, user.group) for user in sampler.commands} == {("held", group)}
        assert {user.text for user in sampler.stop_words} == {"stop", "enough"}


def test_training_hears_each_synthesizer_by_its_share(bank: Bank) -> None:
    """However few of its utterances there are; evaluation takes what it has as it comes."""
    sampler = DialogueSampler(bank, "train", 1)
    speakers = ["af_heart", "kal", *["en+f1"] * 18]
    users = [replace(bank.users[0], voice=voice) for voice in speakers]
    assert [user.synthesizer for user in users[:3]] == ["kokoro", "flite", "espeak"]
    sampler._by_synthesizer["commands"] = _by_synthesizer(users)
    sampler.commands = users
    heard = Counter(sampler._choose("commands").synthesizer for _ in range(2000))
    for name, share in SHARES.items():
        assert abs(heard[name] / 2000 - share) < tolerances.SHARE_OF_2000
    sampler.training = False
    heard = Counter(sampler._choose("commands").synthesizer for _ in range(2000))
    assert heard["espeak"] > 1600


def test_held_out_neural_voices_are_their_own(bank: Bank) -> None:
    def reads(split: str) -> set[str]:
        return {user.voices for user in DialogueSampler(mixed, split, 1).commands}

    mixed = copy(bank)
    mixed.users = [*bank.users, replace(bank.users[0], voices="neural", voice="af_nova")]
    assert reads("neural_voices") == {"neural"}
    assert reads("held_voices") == {"held"} and reads("train") == {"train"}


def test_what_is_said_over_a_reply(bank: Bank) -> None:
    quiet = {"pauses": 0.0, "unanswered": 0.0, "backchannels": 0.0, "stops": 0.0,
             "new_commands": 0.0}  # fmt: skip
    for kind, share in (("backchannels", "backchannels"), ("stop_words", "stops")):
        sampler = DialogueSampler(bank, "train", 2)
        scene = sampler.scene(200, Mix(**{**quiet, share: 1.0}))
        replies = [event for event in scene.events if event.kind == "reply"]
        over = [event for event in scene.events if event.kind == kind]
        assert over and len(over) == len(replies)
        for reply, event in zip(replies, over, strict=True):
            assert reply.begin < event.begin < reply.begin + CHUNKS * CHUNK
            whole = reply.end - reply.begin == CHUNKS * CHUNK
            assert whole or kind == "stop_words"
            if kind == "stop_words":
                assert reply.end <= break_chunk(event.begin, event.end) * CHUNK


def test_noise_only_where_asked(bank: Bank) -> None:
    sampler = DialogueSampler(bank, "train", 2)
    quiet = sampler.batch(2, 4.0, noise=0.0, echo=0.0, leakage=0.0)["wave16k"]
    assert np.abs(quiet[:, :3000]).max() < tolerances.QUIET_SAMPLE


def test_words_come_at_or_before_their_chunk() -> None:
    assert schedule([0, 2, 2, 5], 8) == [0, 1, 2, 5]
    # Three words in the first two chunks can't all be early: the last is pushed.
    assert schedule([0, 0, 1], 8) == [0, 1, 2]
    with pytest.raises(ValueError, match="fewer words"):
        schedule([0, 0, 0], 2)


def test_warping_moves_the_marks() -> None:
    wave = np.zeros(1000, np.float32)
    wave[400] = 1
    warped = warp(wave, np.array([0, 400, 1000]), np.array([0, 500, 900]))
    assert len(warped) == 900 and warped.argmax() == 500


def test_k_means_centres_are_the_means_of_their_points() -> None:
    points = np.random.default_rng(1).normal(size=(400, 8)).astype(np.float32)
    centres = k_means(points, 4, rounds=100)
    nearest, distance = assign(points, centres)
    for index, centre in enumerate(centres):
        np.testing.assert_allclose(
            points[nearest == index].mean(0), centre, atol=tolerances.ROUNDED_MEANS
        )
    every = ((points[:, None] - centres) ** 2).sum(2)
    np.testing.assert_array_equal(nearest, every.argmin(1))
    np.testing.assert_allclose(distance, every.min(1), atol=tolerances.ROUNDED_MEANS)


def test_a_codebook_is_the_same_from_its_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    shared = rng.normal(size=(2400, 64)).astype(np.float32)
    # Voice b says the same, louder and brighter: codes must not tell.
    latents = {"a": shared, "b": shared * 2 + 5}
    readable = np.arange(600) < 560
    book = Codebook.of(latents, readable)
    book.write(tmp_path / "book.npz")
    codes = book.codes(latents)
    assert codes.shape == (600,)
    again = Codebook.read(tmp_path / "book.npz").codes(latents)
    assert (again != codes).mean() <= 1 / 100
    swapped = Codebook(book.centres, book.mean[::-1], book.spread[::-1])
    np.testing.assert_array_equal(swapped.codes({"a": latents["b"], "b": latents["a"]}), codes)


def test_a_missing_bank_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(BankError, match="python -m train bank"):
        Bank(tmp_path)


def test_a_faster_speaker_has_faster_labels(bank: Bank) -> None:
    sampler = DialogueSampler(bank, "train", 5)
    user = sampler.commands[0]
    plain = sampler.spoken(user)
    lengths = []
    for _ in range(20):
        spoken = sampler.spoken(user, 0.2)
        factor = len(plain.wave) / len(spoken.wave)
        lengths.append(factor)
        assert abs(spoken.word_starts - plain.word_starts / factor).max() <= 2
        assert abs(spoken.phone_starts - plain.phone_starts / factor).max() <= 2
        assert spoken.word_ids.tolist() == plain.word_ids.tolist()
    assert min(lengths) < 0.9 and max(lengths) > 1.1
    assert min(lengths) > 0.79 and max(lengths) < 1.21

"""Kokoro's letters, words and times, and what the bank asks it to say; no synthesizer runs."""

import numpy as np
import pytest
from train import kokoro
from train.domain import load_domain
from train.kokoro import label, split_groups, to_kokoro
from train.phones import PHONES
from train.user_bank import _kokoro_voice, plan


def test_letters_are_those_of_the_model() -> None:
    assert to_kokoro("fˈa^ɪv", american=True) == "fˈIv"
    assert to_kokoro("θˈɜːɾi", american=True) == "θˈɜɹTi"
    assert to_kokoro("ɡˌo^ʊ", american=True) == "ɡˌO"
    assert to_kokoro("ɡˌə^ʊ", american=False) == "ɡˌQ"
    assert to_kokoro("vˈɒljuːm", american=False) == "vˈɒljuːm"
    assert to_kokoro("vˈɑːljuːm", american=True) == "vˈɑljum"


@pytest.mark.parametrize(
    ("groups", "sizes", "words"),
    [
        (["ɪnðə", "haus"], [2, 2, 4], ["ɪn", "ðə", "haus"]),
        (["ɑn", "ɪnðə", "ɔvðə"], [2, 2, 2, 2, 2], ["ɑn", "ɪn", "ðə", "ɔv", "ðə"]),
        (["a", "bc", "d"], [2, 2], ["ab", "cd"]),
    ],
)
def test_words_that_come_as_one_are_told_apart(
    groups: list[str], sizes: list[int], words: list[str]
) -> None:
    assert split_groups(groups, sizes) == words


def test_times_are_sums_of_durations() -> None:
    letters = "ˈI ʧa"
    frames = np.array([1, 4, 3, 2, 5])
    starts = np.concatenate([[2], 2 + np.cumsum(frames)]) * kokoro.DURATION_SAMPLES
    phones, words = label(letters, frames, starts)
    assert [PHONES[phone] for _, phone in phones] == ["ay", "sil", "ch", "ae", "sil"]
    units = [sample // kokoro.DURATION_SAMPLES for sample, _ in phones]
    assert units == [3, 7, 10, 12, 17]
    assert (words // kokoro.DURATION_SAMPLES).tolist() == [2, 10]


def test_no_training_hears_a_held_out_voice() -> None:
    assert len({*kokoro.TRAIN, *kokoro.HELD, *kokoro.NEVER}) == 28
    plans = [item for shard in plan(load_domain(), "kokoro", 0.3) for item in shard]
    assert {item.voices for item in plans} == {"train", "neural"}
    for item in plans:
        voice = _kokoro_voice(item)
        said = {voice} if item.voices == "neural" else {voice.split("*")[0], voice.split("+")[-1]}
        assert said <= set(kokoro.HELD if item.voices == "neural" else kokoro.TRAIN), voice
    blended = [item for item in plans if "+" in _kokoro_voice(item)]
    assert 0.4 < len(blended) / len(plans) < 0.6

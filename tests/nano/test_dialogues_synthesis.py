"""Speech for the bank: trimming, resampling, plans; the synthesizers themselves where installed."""

from pathlib import Path

import numpy as np
import pytest
from synthetic_bank import small_domain
from train.phones import OTHER, PHONES, SILENCE, phone_id
from train.synthesis import (
    Espeak,
    Flite,
    Speech,
    SynthesisError,
    change,
    load_library,
    resample,
    resample_exactly,
    trim,
)
from train.user_bank import HELD_FLITE, HELD_VARIANTS, TRAIN_FLITE, TRAIN_VARIANTS, plan


def tone(count: int, hertz: float, rate: int) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(count) / rate).astype(np.float32)


def test_trimming_keeps_a_little_and_moves_the_times() -> None:
    wave = np.ones(10000, np.float32)
    speech = trim(wave, 1000, np.array([1990, 4000]), [(0, 0), (2000, 5), (5000, 6), (7000, 0)])
    assert len(speech.wave) == 7000 - 2000 + 30 + 10
    assert speech.word_starts.tolist() == [20, 2030]
    assert speech.phone_starts.tolist() == [30, 3030] and speech.phone_ids.tolist() == [5, 6]
    assert speech.wave[0] == speech.wave[-1] == 0
    with pytest.raises(SynthesisError, match="got silence"):
        trim(wave, 1000, np.array([0]), [(0, SILENCE)])


def test_resampling_keeps_a_tone() -> None:
    wave = tone(22050, 500, 22050)
    exact = resample_exactly(wave, 160, 147)
    assert len(exact) == 24000
    # The ends see the silence around the tone.
    expected = tone(24000, 500, 24000)
    assert np.abs(exact - expected)[1000:-1000].max() < np.abs(expected).max() / 100
    near, used = resample(wave, 0.7)
    assert abs(used / 0.7 - 1) <= 2 / 100 and len(near) == round(22050 * used)


def test_playing_faster_moves_all_times() -> None:
    speech = Speech(
        tone(22050, 400, 22050), 22050, np.array([0, 11025]), np.array([3, 4]), np.array([0, 11025])
    )
    faster = change(speech, 16000, 1.25)
    assert abs(len(faster.wave) / 12800 - 1) <= 2 / 100
    assert abs(faster.word_starts[1] / len(faster.wave) - 1 / 2) < 1 / 100
    spectrum = np.abs(np.fft.rfft(faster.wave))
    assert abs(spectrum.argmax() * 16000 / len(faster.wave) / 500 - 1) <= 2 / 100


def test_phones_of_both_synthesizers_share_classes() -> None:
    assert phone_id("espeak", "tS") == phone_id("flite", "ch") == PHONES.index("ch")
    assert phone_id("espeak", "_:") == phone_id("flite", "pau") == SILENCE
    assert phone_id("espeak", "never heard of") == OTHER


def test_held_voices_are_not_planned_for_training(tmp_path: Path) -> None:
    assert not set(TRAIN_VARIANTS) & set(HELD_VARIANTS)
    assert not set(TRAIN_FLITE) & set(HELD_FLITE)
    domain = small_domain(tmp_path)
    for synthesizer in ("espeak", "flite"):
        planned = [item for shard in plan(domain, synthesizer, 0.1) for item in shard]
        assert planned == [item for shard in plan(domain, synthesizer, 0.1) for item in shard]
        allowed = {command.text for command in domain.commands_of("train")} | {"stop", "okay"}
        assert {item.text for item in planned if item.voices == "train"} == allowed
        assert {"enough", "aha"} <= {item.text for item in planned if item.voices == "held"}


def test_a_missing_library_names_its_package() -> None:
    with pytest.raises(SynthesisError, match="install the Debian package some-package"):
        load_library("libnot_there_at_all.so.1", "some-package")


def spoken(speech: Speech, words: int) -> None:
    assert speech.wave.any() and len(speech.word_starts) == words
    assert (np.diff(speech.word_starts) > 0).all() and (np.diff(speech.phone_starts) > 0).all()
    assert OTHER not in speech.phone_ids


def test_espeak_speaks_with_times() -> None:
    try:
        espeak = Espeak()
    except SynthesisError as error:
        pytest.skip(str(error))
    spoken(espeak.say("turn on the kitchen light", "en-US+f3"), 5)
    spoken(espeak.say("mm", "en-US+f3"), 1)
    slow, fast = (espeak.say("tell me a joke", "en", rate=rate) for rate in (120, 210))
    assert len(slow.wave) > 1.3 * len(fast.wave)
    with pytest.raises(SynthesisError, match="en-gb\\+f3"):
        espeak.say("hello", "en-gb+f3")


def test_flite_speaks_with_times() -> None:
    try:
        flite = Flite()
    except SynthesisError as error:
        pytest.skip(str(error))
    spoken(flite.say("turn on the kitchen light", "kal16"), 5)
    slow, fast = (flite.say("tell me a joke", "kal16", stretch=s) for s in (1.3, 0.8))
    assert len(slow.wave) > 1.3 * len(fast.wave)

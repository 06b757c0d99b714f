"""Held-out scenarios: what is written about a scene, over a bank of tones; knows no model."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from synthetic_bank import write_bank
from train.bank import Bank
from train.dialogues import DialogueSampler
from train.scenarios import (
    CLEAR,
    OVERLAPS,
    Writer,
    describe,
    noise_scene,
    overlap_scene,
    turn_scene,
)
from train.scene import CHUNK, Event

PAUSED = CLEAR.__class__(pauses=1.0, leakage=0.0)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    return write_bank(tmp_path_factory.mktemp("bank"))


@pytest.fixture
def sampler(bank: Bank) -> DialogueSampler:
    return DialogueSampler(bank, "held_voices", 4)


def test_events_become_lists(sampler: DialogueSampler) -> None:
    chunks = len(sampler.replies[0].codes)
    events = [
        Event("backchannels", 0, 4000, -1, "okay"),
        Event("command", 16000, 32000, 0, "tell me", ((20000, 24000),)),
        Event("reply", 40960, 40960 + chunks * CHUNK, 0),
        Event("stop_words", 48000, 52000, -1, "stop"),
        Event("backchannels", 56000, 60000, -1, "okay"),
        Event("command", 64000, 72000, 1, "a joke"),
    ]
    reply, other = sampler.replies[0].text, sampler.replies[1].text
    assert describe(events, sampler) == {
        "turns": [
            {"start_s": 1.0, "end_s": 2.0, "text": "tell me", "reply": reply, "reply_s": 1.92}
        ],
        "pauses": [{"start_s": 1.25, "end_s": 1.5}],
        "backchannels": [{"start_s": 3.5, "end_s": 3.75, "text": "okay"}],
        "interruptions": [
            {"start_s": 3.0, "end_s": 3.25, "text": "stop", "reply": None},
            {"start_s": 4.0, "end_s": 4.5, "text": "a joke", "reply": other, "reply_s": 1.92},
        ],
    }


def test_what_each_kind_holds(sampler: DialogueSampler) -> None:
    assert set(describe(turn_scene(sampler, CLEAR).events, sampler)) == {"turns"}
    assert set(describe(turn_scene(sampler, PAUSED).events, sampler)) == {"turns", "pauses"}
    for kind, said in OVERLAPS.items():
        lists = describe(overlap_scene(sampler, CLEAR, said).events, sampler)
        over = "backchannels" if kind == "backchannel" else "interruptions"
        assert set(lists) == {"turns", over}, kind
    assert not describe(noise_scene(sampler, 20.0, words=True).events, sampler)


def test_the_evaluation_reads_what_is_written(sampler: DialogueSampler, tmp_path: Path) -> None:
    reader = pytest.importorskip("parley_apps.evaluation.scenarios")
    writer = Writer(tmp_path)
    for kind, scene in (
        ("turn", turn_scene(sampler, CLEAR)),
        ("pause", turn_scene(sampler, PAUSED)),
        ("noise", noise_scene(sampler, 4.0, words=False)),
        *((kind, overlap_scene(sampler, CLEAR, said)) for kind, said in OVERLAPS.items()),
    ):
        heard = sampler.heard(scene, CLEAR)
        writer.write(kind, heard, describe(scene.events, sampler), split="held_voice")
        sound, rate = soundfile.read(tmp_path / f"{kind}_held_voice_0000.wav")
        assert rate == 24000 and len(sound) == len(heard) * 3 // 2
        assert np.abs(sound).max() > 0
    found = reader.load_scenarios(tmp_path)
    assert {scenario.kind for scenario in found} == {"turn", "pause", "noise", *OVERLAPS}
    raw = json.loads((tmp_path / "turn_held_voice_0000.json").read_text())
    assert raw["tags"] == {"split": "held_voice"}

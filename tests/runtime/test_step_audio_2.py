"""Step-Audio 2's tiny bundle in the engine against the published code's numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parley
import tolerances
from parley_apps.golden import max_abs, relative_error, snr_db
from synthetic_signal import synthetic_signal

GOLDEN = Path(__file__).parent.parent / "golden_data"
RATE = 16_000
N_NEW, N_FRAMES_A_CODE = 25, 2


def numbers(name: str = "step_audio_2") -> dict[str, Any]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return numbers()


@pytest.fixture(scope="module")
def bundle(step_audio_2_bundle: Path) -> Iterator[parley.Bundle]:
    with parley.open(step_audio_2_bundle, kv="f32", threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def bench(bundle: parley.Bundle) -> Any:
    return bundle.workbench()


def noise(n: int = 1500) -> np.ndarray:
    """The published code's start noise, with the seed of the golden numbers."""
    return np.random.default_rng(2025).standard_normal((1500, 80), np.float32)[:n]


def changed(bundle: Path, folder: Path, **turns: Any) -> Path:
    """A copy with other settings in the manifest's section "turns"; speech and sampling inside."""
    shutil.copytree(bundle, folder)
    told = json.loads((folder / "manifest.json").read_text())
    for key, value in turns.items():
        part = told["turns"][key]
        told["turns"][key] = {**part, **value} if isinstance(part, dict) else value
    (folder / "manifest.json").write_text(json.dumps(told))
    return folder


# ------------------------------------------------------------ hearing


def test_it_opens(bundle: parley.Bundle) -> None:
    assert "turns" in bundle.modes and "duplex" not in bundle.modes
    assert (bundle.rate, bundle.chunk_samples, bundle.out_rate) == (RATE, 2560, 24_000)


def test_hearing(bench: Any) -> None:
    ours = numbers("step_audio_2_synthetic")
    samples = synthetic_signal(20480)
    log_mel = bench.log_mel(samples)
    assert log_mel.shape == (128, (20480 + 479) // 160)
    assert max_abs(log_mel[:, :100], ours["log_mel"]) < tolerances.LOG_MEL_ABS
    encoded, _ = bench.encode_segment(log_mel)
    assert relative_error(encoded[:64], ours["encoder"]) < tolerances.ENCODER_REL
    features = bench.turn_features(samples)
    assert len(features) == len(ours["features"])
    assert relative_error(features[:64], ours["features"]) < tolerances.ENCODER_REL


def test_counts(bench: Any, golden: dict[str, Any]) -> None:
    counted = [bench.cut_turn(np.zeros(n, np.float32))[1] for n in golden["count_samples"].tolist()]
    assert counted == golden["count_tokens_of_samples"].tolist()


def test_a_long_turn_is_pieces_with_marks_of_their_own(bench: Any) -> None:
    samples = np.resize(synthetic_signal(30_000), 400_000 + 30_000)
    whole, second = bench.turn_features(samples), bench.turn_features(samples[400_000:])
    assert len(whole) == 313 + len(second)
    assert relative_error(whole[313:], second) < tolerances.SAME_REL
    ids = bench.turn_ids([313, len(second)], False)
    placeholder = max(ids, key=ids.count)
    text = b"".join(b"*" if i == placeholder else bench.piece(i) for i in ids)
    begin, end = (b"<audio_start>", b"<audio_end>")
    control = {bench.tokenize(name.decode())[0]: name for name in (begin, end)}
    marks = [control[i] for i in ids if i in control]
    assert marks == [begin, end] * 2 and text.count(b"*") == len(whole)


# ------------------------------------------------------------ thinking


def test_prompts(bench: Any, golden: dict[str, Any]) -> None:
    first = bench.turn_ids([len(golden["turn1_features"])], True)
    assert first == golden["turn1_input_ids"].tolist()
    second = bench.turn_ids([len(golden["turn2_features"])], False)
    assert golden["turn2_input_ids"].tolist()[-len(second) :] == second


@pytest.mark.parametrize("turn", [1, 2])
def test_replies(bench: Any, golden: dict[str, Any], turn: int) -> None:
    """Logits, and tokens drawn greedily without and with the published penalty."""
    ids = golden[f"turn{turn}_input_ids"].tolist()
    features = np.concatenate([golden[f"turn{n}_features"] for n in range(1, turn + 1)])
    for name in ("greedy", "penalised"):
        bench.reset_backbone()
        bench.begin_turn(ids)
        logits, tokens = bench.feed(ids, features), []
        assert max_abs(logits, golden[f"turn{turn}_prefill_logits"]) < tolerances.LOGITS_ABS
        for _ in golden[f"turn{turn}_{name}_tokens"]:
            tokens.append(bench.pick(logits) if name == "penalised" else int(logits.argmax()))
            logits = bench.feed([tokens[-1]])
        assert tokens == golden[f"turn{turn}_{name}_tokens"].tolist()


# ------------------------------------------------------------ speaking


def test_whole_replies(bundle: parley.Bundle, golden: dict[str, Any]) -> None:
    codes = golden["t2w_codes"].tolist()
    mel, first, final = bundle.workbench().flow_decode(codes, noise(110))
    assert relative_error(first, golden["t2w_mel_first_step"]) < tolerances.LATENTS_REL
    assert relative_error(final, golden["t2w_mel"]) < tolerances.LATENTS_REL
    np.testing.assert_array_equal(mel, final[60:])


def test_field(bench: Any, golden: dict[str, Any]) -> None:
    draw = np.random.default_rng(int(golden["field_in_seed"]))
    inputs = draw.standard_normal((2, 320, 30), np.float32).transpose(0, 2, 1).copy()
    inputs[:, :, 160:240] = inputs[:, :, 160:240].mean(1, keepdims=True)
    velocity = bench.flow_field(np.roll(inputs, -80, -1), 0.25)
    assert relative_error(velocity, golden["field_out"]) < tolerances.ENCODER_REL


@pytest.mark.parametrize("cut", [1, 4, 29, 112])
def test_streamed_flow(bundle: parley.Bundle, golden: dict[str, Any], cut: int) -> None:
    """The published stream until its cache is full; then it forgets the wrong frames."""
    bench, codes = bundle.workbench(noise=noise()), golden["stream_codes"].tolist()
    mel = bench.flow_stream(codes, cut=cut)
    assert len(mel) == sum(golden["stream_mel_frames"])
    n = 3 * N_NEW * N_FRAMES_A_CODE
    assert relative_error(mel[:n], golden["stream_mel"][:n]) < tolerances.LATENTS_REL


def test_a_second_reply_begins_behind_the_prompt(
    bundle: parley.Bundle, golden: dict[str, Any]
) -> None:
    bench, codes = bundle.workbench(noise=noise()), golden["stream_codes"].tolist()
    first = bench.flow_stream(codes[:60])
    np.testing.assert_array_equal(bench.flow_stream(codes[:60]), first)


def test_vocoder(bench: Any, golden: dict[str, Any]) -> None:
    mel = golden["vocoder_mel"]
    none = np.zeros(480 * len(mel), np.float32)
    wave = bench.vocode(mel, none)
    assert snr_db(wave, golden["vocoder_wave"]) > tolerances.HARMONIC_WAVE_SNR_DB


@pytest.mark.parametrize("cut", [1, 8, 50])
def test_streamed_vocoder(bench: Any, golden: dict[str, Any], cut: int) -> None:
    """Phases and noise go on, so with all the look-ahead the stream is the whole."""
    mel, whole = golden["stream_mel"][:90], bench.vocode(golden["stream_mel"][:90])
    stream = bench.vocoder_stream(20)
    parts = [stream.push(mel[at : at + cut], at + cut >= 90) for at in range(0, 90, cut)]
    assert snr_db(np.concatenate(parts), whole) > tolerances.HARMONIC_WAVE_SNR_DB


# ------------------------------------------------------------ conversations


def drawn(answer: parley.Answer) -> list[Any]:
    return [event for event in answer.events if event.kind in ("text", "audio")]


def ids_of(answer: parley.Answer, audio_begin: int) -> list[int]:
    """What was drawn, without pads, in order of text and sound."""
    ids: list[int] = []
    for event in answer.events:
        if event.kind == "text":
            ids += [event.token] if event.token >= 0 else []
        ids += [audio_begin + code for code in event.codes]
    return ids


def test_a_session_draws_what_the_model_does(step_audio_2_bundle: Path, tmp_path: Path) -> None:
    """Two turns on one cache, held to groups, against single passes over the same ids."""
    greedy = {"temperature": 0.0, "repetition_penalty": 1.0}
    path = changed(
        step_audio_2_bundle,
        tmp_path / "b",
        speech={"held_to": True},
        sampling=greedy,
        first_sampling=greedy,
        max_new_tokens=40,
    )
    told = json.loads((path / "manifest.json").read_text())
    turns, vocabulary = told["turns"], told["vocabulary"]
    with parley.open(path, kv="f32", threads=1) as bundle, bundle.session() as session:
        bench, history, features = bundle.workbench(), [], []
        for n, samples in enumerate((synthetic_signal(30_001), synthetic_signal(20_480)), 1):
            answer = session.answer(samples)
            features.append(bench.turn_features(samples))
            history += bench.turn_ids([len(features[-1])], n == 1)
            bench.reset_backbone()
            logits = bench.feed(history, np.concatenate(features))
            expected: list[int] = []
            for k in range(40):
                group = np.full_like(logits, -np.inf)
                if k % 5 == 0:
                    ids = [i for i in range(vocabulary["text_end"])]
                    ids = sorted(set(ids) - set(vocabulary["control"].values()))
                    ids += [turns["speech"]["text_pad"], turns["speech"]["end"]]
                else:
                    begin = vocabulary["audio_begin"]
                    ids = list(range(begin, begin + vocabulary["audio_codes"]))
                group[ids] = logits[ids]
                expected.append(int(group.argmax()))
                logits = bench.feed(expected[-1:])
            # Without an end the reply is closed for the next turn as if it had one.
            history += [*expected, turns["speech"]["end"], turns["close"]]
            pads = (turns["speech"]["text_pad"], turns["speech"]["end"])
            assert ids_of(answer, vocabulary["audio_begin"]) == [
                i for i in expected if i not in pads
            ]
            assert np.isfinite(answer.samples).all() and np.abs(answer.samples).max() > 0


@pytest.fixture(scope="module")
def talking(step_audio_2_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Replies of 80 ids in groups: random weights alone would seldom speak."""
    folder = tmp_path_factory.mktemp("talking") / "b"
    held: dict[str, Any] = {"speech": {"held_to": True}, "max_new_tokens": 80}
    return changed(step_audio_2_bundle, folder, **held)


def steps_of(session: parley.Session, n: int) -> list[parley.Step]:
    return [session.step(np.zeros(session.chunk_samples, np.float32)) for _ in range(n)]


def said(steps: list[parley.Step]) -> tuple[bytes, list[Any]]:
    sound = np.concatenate([step.samples for step in steps]).tobytes()
    return sound, [(event.kind, event.token, event.codes) for s in steps for event in s.events]


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("at", [3, 9])
def test_forked_and_saved_conversations_go_on_alike(
    talking: Path, tmp_path: Path, at: int, overlap: bool
) -> None:
    """In the middle of a reply: before its first sound, and between two runs of codes."""
    with parley.open(talking, threads=1) as bundle, bundle.session(overlap=overlap) as session:
        for _ in session.feed(synthetic_signal(15_000)):
            pass
        session.end_turn()
        list(session.flush())
        steps_of(session, at)
        session.save(tmp_path / "saved")
        with session.fork() as fork, bundle.resume(tmp_path / "saved") as resumed:
            rest = said(steps_of(session, 22))
            assert said(steps_of(fork, 22)) == rest
            assert said(steps_of(resumed, 22)) == rest
            again = [said(list(s.play_text("And?"))) for s in (session, fork, resumed)]
        assert again[0] == again[1] == again[2]


def test_an_interrupted_reply_is_heard_up_to_a_group(talking: Path) -> None:
    """The history keeps whole groups, then what ends speech and turn; the next turn follows."""
    with parley.open(talking, threads=1) as bundle, bundle.session() as session:
        for _ in session.feed(synthetic_signal(15_000)):
            pass
        session.end_turn()
        list(session.flush())
        steps_of(session, 1)
        drawn_in_a_step, begin = 5, session.position
        steps_of(session, 13)
        lead, chunk = session.delay_samples, session.out_chunk_samples
        played = 15 * chunk - 15 * chunk % 960  # of the reply, its lead included
        session.interrupt()
        (step,) = steps_of(session, 1)
        ended = next(event for event in step.events if event.kind == "reply_ended")
        assert ended.reason == "interrupted" and step.floor == "listening"
        heard = max(0, 14 * chunk - lead) // 960
        groups = -(-heard // 4)
        kept = session.position - begin
        assert kept <= drawn_in_a_step * groups + drawn_in_a_step and played > 0
        answer = session.answer_text("Go on.")
        assert any(event.kind == "audio" for event in answer.events)


def test_seeds_make_the_sound(talking: Path) -> None:
    """Noise of decoder and source are functions of the seed."""
    with parley.open(talking, threads=1) as bundle:
        sounds = []
        for seed in (1, 1, 2):
            with bundle.session(seed=seed, temperature=0.0, max_new_tokens=30) as session:
                sounds.append(session.answer(synthetic_signal(9_000)))
        assert np.array_equal(sounds[0].samples, sounds[1].samples)
        assert [e.codes for e in sounds[0].events] == [e.codes for e in sounds[2].events]
        assert not np.array_equal(sounds[0].samples, sounds[2].samples)


def test_text_only(talking: Path) -> None:
    with (
        parley.open(talking, threads=1) as bundle,
        bundle.session(text_only=True, max_new_tokens=20) as session,
    ):
        answer = session.answer(synthetic_signal(9_000))
        kinds = {event.kind for event in answer.events}
        assert "text" in kinds and "audio" not in kinds and not answer.samples.any()


def test_the_first_prompt_tells_of_tools_and_a_result_is_a_turn(
    talking: Path, golden: dict[str, Any]
) -> None:
    """As the published format has them; what is drawn comes behind."""
    schema = {"type": "function", "function": {"name": "weather", "parameters": {}}}
    tools = [parley.Tool(schema)]
    with parley.open(talking, threads=1) as bundle:
        bench, positions = bundle.workbench(), []
        for told in ([], tools):
            with bundle.session(tools=told, max_new_tokens=5, temperature=0.0) as session:
                session.answer_text("Hi")
                positions.append(session.position)
        listed = f"<|BOT|>tool_json_schemas\n{json.dumps([schema])}<|EOT|>"
        assert positions[1] - positions[0] == len(bench.tokenize(listed))
        with bundle.session(tools=tools, max_new_tokens=5, temperature=0.0) as session:
            session.answer_text("Hi")
            before = session.position
            session.send_result("weather", '{"sky": "blue"}')
            answer = parley.session.collect(session._until_listening())
            result = '<|BOT|>function_output\nweather\n{"sky": "blue"}<|EOT|><|BOT|>assistant\n'
            # The reply before was cut off, so its last draw and what closes it are read as well;
            # of this one all but that.
            read = 3 + len(bench.tokenize(result + "<tts_start>")) + 4
            assert session.position - before == read
            assert [e.kind for e in answer.events].count("reply_started") == 1
        with pytest.raises(parley.InputError, match="JSON list"):
            bundle._opened.session(parley._core.SessionOptions(tools="{}"), None)

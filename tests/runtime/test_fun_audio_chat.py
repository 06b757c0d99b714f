"""Fun-Audio-Chat's tiny bundle, stage by stage in the engine, against the published numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parley
import tolerances
from fun_audio_chat_checkpoint import source_noise
from parley_apps.golden import max_abs, relative_error, snr_db
from synthetic_signal import synthetic_signal

GOLDEN = Path(__file__).parent.parent / "golden_data"
N_SAMPLES = 69120


def numbers(name: str = "fun_audio_chat") -> dict[str, Any]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return numbers()


@pytest.fixture(scope="module")
def bundle(fun_audio_chat_bundle: Path) -> Iterator[parley.Bundle]:
    with parley.open(fun_audio_chat_bundle, kv="f32", threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def bench(bundle: parley.Bundle) -> Any:
    return bundle.workbench()


def test_it_opens(bundle: parley.Bundle) -> None:
    """The chunk is the model's own, of 200 ms."""
    assert "turns" in bundle.modes and "duplex" not in bundle.modes
    assert (bundle.rate, bundle.chunk_samples, bundle.out_rate) == (16_000, 3200, 24_000)


def test_a_conversation_is_refused(bundle: parley.Bundle) -> None:
    with pytest.raises(parley.BundleError, match="speech head"):
        bundle.session("turns")


def test_hearing(bench: Any) -> None:
    """Blocks of two seconds, as one segment with a clamp of its own."""
    ours = numbers("fun_audio_chat_synthetic")
    samples = synthetic_signal(N_SAMPLES)
    log_mel = bench.log_mel(samples)
    assert log_mel.shape == (128, N_SAMPLES // 160)
    kept = log_mel[:, [*range(60), -1]]
    assert max_abs(kept, ours["log_mel"]) < tolerances.LOG_MEL_ABS
    encoded, _ = bench.encode_segment(log_mel)
    kept = encoded[[*range(90, 110), *range(-8, 0)]]
    assert relative_error(kept, ours["encoder"]) < tolerances.ENCODER_REL
    features = bench.turn_features(samples)
    assert relative_error(features, ours["features"]) < tolerances.ENCODER_REL


def test_counts(bench: Any, golden: dict[str, Any]) -> None:
    for samples, *_, n_features in golden["clip_counts"].tolist():
        if samples <= 480_000:  # a longer one is two segments
            assert bench.cut_turn(np.zeros(samples, np.float32))[1] == n_features
    # Rounding makes some lengths one short, as published.
    counted = [bench.cut_turn(np.zeros(n * 640, np.float32))[1] for n in (201, 206)]
    assert counted == [40, 42]


@pytest.mark.parametrize("n_samples", [640, 31_999, 32_000, 32_001, 32_160, 33_000])
def test_turns_of_any_length(bench: Any, n_samples: int) -> None:
    features = bench.turn_features(synthetic_signal(n_samples))
    assert len(features) == bench.cut_turn(np.zeros(n_samples, np.float32))[1]
    assert np.isfinite(features).all()


def test_a_turn_without_a_feature_is_refused(bench: Any) -> None:
    with pytest.raises(parley.InputError, match="end_turn"):
        bench.turn_features(np.zeros(639, np.float32))


def test_codes_to_sound(bench: Any, golden: dict[str, Any]) -> None:
    codes, start = golden["dec_codes"].tolist(), golden["dec_noise"].T.copy()
    mel, first, final = bench.flow_decode(codes, start)
    assert relative_error(first.T, golden["dec_mel_first_step"]) < tolerances.LATENTS_REL
    assert relative_error(final.T, golden["dec_mel"]) < tolerances.LATENTS_REL
    np.testing.assert_array_equal(mel, final)
    table = source_noise(70 * 480)
    weight, mean, size = mixing(table.shape[1])
    own = ((table @ weight - mean) / size).astype(np.float32)
    wave = bench.vocode(golden["dec_mel"].T.copy(), own)
    assert snr_db(wave, golden["offline_wave"]) > tolerances.HARMONIC_WAVE_SNR_DB


def mixing(n: int) -> tuple[np.ndarray, float, float]:
    """How the harmonics' noises, each even in 0..1, are mixed: weights, mean and deviation."""
    from fun_audio_chat_checkpoint import tensor

    weight = tensor("m_source.l_linear.weight", (1, n))[0].astype(np.float64)
    return weight, float(weight.sum() / 2), float(np.linalg.norm(weight) / np.sqrt(12))


def test_streamed_flow_keeps_the_trained_blocks(
    fun_audio_chat_bundle: Path, golden: dict[str, Any]
) -> None:
    """With all of the past kept, runs of 25 codes are the published code's block-causal stream."""
    settings = {"past_codes": 1024}
    with parley.open(fun_audio_chat_bundle, kv="f32", threads=1, flow=settings) as opened:
        bench = opened.workbench(noise=golden["dec_noise"].T.copy())
        bench.flow_begin()
        codes = golden["dec_codes"].tolist()
        parts = [bench.flow_push(codes[at : at + 5], last=at + 5 >= 35) for at in range(0, 35, 5)]
        got = np.concatenate([part for part in parts if len(part)])
        assert relative_error(got.T, golden["dec_mel_stream"]) < tolerances.LATENTS_REL

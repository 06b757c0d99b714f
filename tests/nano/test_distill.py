"""Distillation: teacher and student hear the same moment, and the student learns; tones only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tolerances

torch = pytest.importorskip("torch")

from synthetic_bank import tone_speech  # noqa: E402
from train import distill as module  # noqa: E402
from train.bank import BankError  # noqa: E402
from train.distill import DELAY, FRAME, Distiller, distill, load_student  # noqa: E402
from train.user_bank import Plan, write_shard  # noqa: E402
from train.windows import SpeechPool, Windows, band  # noqa: E402

from parley_export.families.covo_audio.modules import AudioEncoder, EncoderConfig  # noqa: E402
from parley_export.families.covo_audio.modules.front_end import chunk_log_mel, segment_log_mel  # noqa: E402

CONFIG = EncoderConfig(
    width=64, layers=1, heads=1, ffn_width=32, n_mels=8, positions=96, left_context_frames=16
)
VOICES = {"train": ("af_heart", "en+f1"), "held": ("en+f4",), "neural": ("af_nova",)}


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    def spoken(voices: str):
        for number, voice in enumerate(VOICES[voices]):
            plan = Plan(voices, "train", "a tone or two", "", (), "", number)
            yield plan, voice, tone_speech(plan.text, 300.0 + 200 * number)

    for voices in VOICES:
        write_shard(tmp_path / f"users_{voices}_000.npz", spoken(voices))
    return tmp_path


@pytest.fixture
def distiller() -> Distiller:
    torch.manual_seed(0)
    return Distiller(AudioEncoder(CONFIG))


def speech(distiller: Distiller) -> torch.Tensor:
    return 0.1 * torch.randn(2, distiller.samples, generator=torch.Generator().manual_seed(1))


def test_the_pool_holds_what_may_be_trained_on_and_grows(bank: Path, tmp_path: Path) -> None:
    pool = SpeechPool([bank])
    assert pool.seconds() == {"kokoro": pytest.approx(1), "espeak": pytest.approx(1)}
    (bank / "users_train_000.npz").rename(bank / "users_train_001.npz")
    pool.refresh()
    assert pool.seconds()["kokoro"] == pytest.approx(2)
    with pytest.raises(BankError, match="train bank"):
        SpeechPool([tmp_path / "nothing"])


def test_a_window_is_heard_in_place(bank: Path) -> None:
    windows = Windows(SpeechPool([bank]), 48000, seed=3)
    clean = windows.dense()
    for _ in range(12):
        heard = windows.hear(clean)
        assert heard.shape == clean.shape and heard.dtype == np.float32
        spectra = (np.fft.rfft(wave, 2 * len(clean)) for wave in (heard, clean))
        first, second = spectra
        likeness = np.fft.irfft(first * second.conj())
        # Echoes and noise come in addition; the direct sound stays where it was.
        assert abs((np.abs(likeness).argmax() + 100) % len(likeness) - 100) < 60


def test_a_telephone_hears_a_band() -> None:
    time = np.arange(16000) / 16000
    tones = [np.sin(2 * np.pi * hertz * time).astype(np.float32) for hertz in (60, 1000, 6000)]
    kept = [np.std(band(tone, 250.0, 3500.0)) / np.std(tone) for tone in tones]
    assert kept[0] < 0.01 and kept[2] < 0.01
    assert kept[1] == pytest.approx(1, rel=tolerances.SAME_REL)


def test_teacher_and_student_hear_the_same_moment(distiller: Distiller) -> None:
    """The causal frame of the student is the teacher's, one later: its convolution looks back."""
    wave = speech(distiller)[0]
    late = torch.nn.functional.pad(wave, (DELAY, 0))[: len(wave)]
    front = distiller.front
    causal, published = chunk_log_mel(wave, front), segment_log_mel(late, front)
    n = min(causal.shape[1], published.shape[1]) - 2
    difference = (causal[:, 3 : n - 1] - published[:, 4:n]).abs().max()
    assert difference <= tolerances.LOG_MEL_ABS


def test_the_student_is_a_stream_at_the_places_of_the_teacher(distiller: Distiller) -> None:
    heard = speech(distiller)
    before = distiller.before * FRAME
    fresh = distiller.student_frames(heard, fresh=True)
    alone = distiller.student.forward_chunked(
        torch.stack([chunk_log_mel(row, distiller.front) for row in heard[:, before:]])
    )
    assert fresh.shape == (2, CONFIG.positions, CONFIG.width)
    assert (fresh - alone).abs().max() <= tolerances.STREAM_REL * alone.abs().max()
    going = distiller.student_frames(heard, fresh=False)
    assert going.shape == fresh.shape
    # Farther on than layers times context nothing is left of what was before.
    assert (going - fresh)[:, :16].abs().max() > 0.01 * fresh.abs().max()
    difference = (going - fresh)[:, 3 * CONFIG.left_context_frames :].abs().max()
    assert difference <= tolerances.STREAM_REL * fresh.abs().max()


def test_the_student_learns_and_goes_on(distiller: Distiller, bank: Path, tmp_path: Path) -> None:
    windows = Windows(SpeechPool([bank]), distiller.samples, seed=1)
    clean = [windows.dense() for _ in range(2)]
    target = distiller.teacher_frames(torch.from_numpy(np.stack(clean)))
    heard = torch.from_numpy(np.stack(clean))
    with torch.no_grad():
        before, told = distiller.loss(target, heard, fresh=True)
        same, _ = distiller.loss(distiller.student_frames(heard, fresh=True), heard, fresh=True)
    assert float(same) == pytest.approx(0, abs=tolerances.SAME_REL)
    assert float(told["error"]) > 0 and float(told["cosine"]) < 1
    run = distill(distiller, windows, tmp_path / "run", minutes=0.05)
    with torch.no_grad():
        after, _ = distiller.loss(target, heard, fresh=True)
    assert run.steps > 3 and float(after) < float(before)
    again = distill(distiller, windows, tmp_path / "run", minutes=0.05)
    assert again.steps == run.steps
    student = load_student(tmp_path / "run/last.pt")
    for name, tensor in distiller.student.state_dict().items():
        assert torch.equal(student.state_dict()[name], tensor), name


def test_the_run_comes_before_what_was_kept(
    distiller: Distiller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RUN", tmp_path / "run")
    monkeypatch.setattr(module, "KEPT", tmp_path / "encoder.safetensors")
    with pytest.raises(FileNotFoundError, match="train distill"):
        module.distilled()
    module.keep(distiller.student, module.KEPT)
    for name, tensor in module.distilled().state_dict().items():
        assert torch.equal(tensor, distiller.student.state_dict()[name].half().float()), name
    module.RUN.mkdir()
    torch.save({"parts": {"model": distiller.student.state_dict()}}, module.RUN / "last.pt")
    for name, tensor in module.distilled().state_dict().items():
        assert torch.equal(tensor, distiller.student.state_dict()[name]), name

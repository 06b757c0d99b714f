"""Recordings from and to files: every kind of WAV, FLAC, and what is wrong with bad ones."""

from __future__ import annotations

import struct
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile

import parley
import tolerances
from parley.audio import wav_bytes

RATE = 16_000


def tone(n: int = 1600, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(n) / rate)).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [
        ("PCM_U8", tolerances.PCM_8),
        ("PCM_16", tolerances.PCM_16),
        ("PCM_24", tolerances.PCM_24),
        ("PCM_32", tolerances.PCM_24),  # float32 holds 24 bits
        ("FLOAT", 0.0),
        ("DOUBLE", 0.0),
    ],
)
@pytest.mark.parametrize("rate", [8000, 11025, 24_000, 44_100, 48_000, 192_000])
def test_any_wav(kind: str, tolerance: float, rate: int, tmp_path: Path) -> None:
    path = tmp_path / "in.wav"
    soundfile.write(path, tone(rate // 10, rate), rate, subtype=kind)
    samples, got = parley.read_audio(path)
    assert got == rate and samples.dtype == np.float32 and samples.flags.c_contiguous
    np.testing.assert_allclose(samples, tone(rate // 10, rate), rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", ["PCM_S8", "PCM_16", "PCM_24"])
def test_flac(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "in.flac"
    soundfile.write(path, tone(), RATE, subtype=kind)
    samples, rate = parley.read_audio(path)
    assert rate == RATE
    np.testing.assert_allclose(samples, tone(), rtol=0, atol=tolerances.PCM_8)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_become_their_mean(channels: int, tmp_path: Path) -> None:
    path = tmp_path / "in.wav"
    gains = np.arange(1, channels + 1, dtype=np.float32) / channels
    soundfile.write(path, tone()[:, None] * gains, RATE, subtype="FLOAT")
    samples, _ = parley.read_audio(path)
    np.testing.assert_allclose(samples, tone() * gains.mean(), rtol=0, atol=tolerances.PCM_24)


def test_a_wav_from_a_pipe_has_no_length(tmp_path: Path) -> None:
    path = tmp_path / "in.wav"
    data = bytearray(wav_bytes(tone(), RATE))
    data[4:8] = data[40:44] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(data)
    assert parley.read_audio(path)[0].size == 1600


def write(path: Path, what: str) -> Path:
    """A file that is no good recording."""
    good = wav_bytes(tone(), RATE)
    contents = {
        "nothing": b"",
        "text": b"this is not sound\n" * 20,
        "header only": good[:20],
        "truncated": good[: len(good) // 2],
        "zeros": bytes(4096),
        "damaged format": good[:20] + b"\xff" * 16 + good[36:],
        "no samples": wav_bytes([], RATE),
        "one sample": wav_bytes([0.5], RATE),
        "5 ms": wav_bytes(tone(80), RATE),
    }
    if what in ("nan", "inf"):
        samples = tone()
        samples[7] = float(what)
        soundfile.write(path, samples, RATE, subtype="FLOAT")
    else:
        path.write_bytes(contents[what])
    return path


BAD = {
    "nothing": "WAV or FLAC",
    "text": "WAV or FLAC",
    "header only": "WAV or FLAC",
    "truncated": r"without its last \d+ of 3200 bytes",
    "zeros": "WAV or FLAC",
    "damaged format": "WAV or FLAC",
    "no samples": "no samples",
    "one sample": "one sample",
    "5 ms": "80 samples",
    "nan": "nan at sample 7",
    "inf": "inf at sample 7",
}


@pytest.mark.parametrize("what", BAD)
def test_bad_files_are_named_with_what_is_wrong(what: str, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.wav", what)
    with pytest.raises(parley.InputError, match=BAD[what]) as caught:
        parley.read_audio(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("rate", [0, 4_000_000_000])
def test_a_rate_that_cannot_be_is_told(rate: int, tmp_path: Path) -> None:
    path = tmp_path / "rate.wav"
    soundfile.write(path, tone(), RATE, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    data[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(parley.InputError, match="without a possible rate"):
        parley.read_audio(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(parley.InputError, match="no such file"):
        parley.read_audio(tmp_path / "none.wav")
    with pytest.raises(parley.InputError, match="a folder"):
        parley.read_audio(tmp_path)


def test_write_wav_is_24_khz_16_bit_mono_and_clips(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    parley.write_wav(path, np.array([0.0, 0.5, -0.5, 2.0, -2.0], np.float32))
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (24_000, 2, 1)
        pcm = np.frombuffer(file.readframes(100), "<i2")
    assert pcm.tolist() == [0, 16384, -16384, 32767, -32767]


def test_write_wav_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    """Regression: it named a temporary file beside it."""
    path = tmp_path / "none" / "out.wav"
    with pytest.raises(FileNotFoundError, match=r"^\[files\.check\] expected the folder") as caught:
        parley.write_wav(path, tone())
    assert str(path.parent) in str(caught.value) and "partial" not in str(caught.value)


def test_write_wav_names_its_file_also_where_its_folder_takes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(**_: object) -> None:
        raise OSError(30, "Read-only file system", ".out.wav.x.partial")

    monkeypatch.setattr("tempfile.mkstemp", read_only)
    with pytest.raises(OSError, match="Read-only") as caught:
        parley.write_wav(tmp_path / "out.wav", tone())
    assert (caught.value.errno, caught.value.filename) == (30, str(tmp_path / "out.wav"))


@pytest.mark.parametrize(
    ("samples", "rate", "what"),
    [
        (np.zeros(100, np.int16), RATE, "got int16; divide by 32768"),
        (np.zeros((2, 100)), RATE, "mono"),
        ([float("nan")], RATE, "finite"),
        (tone(), "16000", "a rate in Hz as a whole number"),
        (tone(), 0, "a rate in Hz as a whole number"),
    ],
    ids=["integers", "stereo", "nan", "text", "no rate"],
)
def test_write_wav_takes_samples_as_sessions_do(
    samples: np.ndarray, rate: int, what: str, tmp_path: Path
) -> None:
    with pytest.raises(parley.InputError, match=rf"^\[audio\.write\] .*{what}"):
        parley.write_wav(tmp_path / "out.wav", samples, rate)
    assert not list(tmp_path.iterdir())


def test_write_then_read(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    parley.write_wav(path, tone(), RATE)
    samples, rate = parley.read_audio(path)
    assert rate == RATE
    np.testing.assert_allclose(samples, tone(), rtol=0, atol=tolerances.PCM_16)


def test_write_fails_without_a_trace_where_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "out.wav"
    path.write_bytes(b"what was there before")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        parley.write_wav(path, tone())
    assert path.read_bytes() == b"what was there before"
    assert [p.name for p in tmp_path.iterdir()] == ["out.wav"]


def test_importing_parley_brings_neither_soundfile_nor_torch() -> None:
    code = "import parley, sys; print([m for m in ('soundfile', 'torch', 'matplotlib', \
'onnxruntime', 'parley_llama', 'wave') if m in sys.modules and m != 'wave'])"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"

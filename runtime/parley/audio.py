"""Recordings in and out of files: any WAV or FLAC to mono float32, mono to 16-bit WAV; no models.

soundfile is imported on the first read, so that `import parley` stays light.
"""

from __future__ import annotations

import io
import struct
import wave
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from parley.errors import InputError, LibraryError
from parley.files import write_atomically

Floats = npt.NDArray[np.float32]

SHORTEST_S = 0.01  # the front end cuts a turn to multiples of 10 ms; less would leave nothing
RATES_HZ = (4000, 768_000)
_STREAMED = 0x7FFFF000  # a data size from here on means "not known" in WAVs written to a pipe


def read_audio(path: str | Path) -> tuple[Floats, int]:
    """Reads a WAV (any rate, any number of channels, 8 to 32 bit or float) or a FLAC file.

    Returns samples [n] float32 in -1..1, the mean of the channels, and their rate in Hz. Raises
    InputError that names the file and what is wrong with it, LibraryError without soundfile.
    """
    path = Path(path)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise InputError(f"[audio.read] expected a recording at {path}, got {what}; check the path")
    soundfile = _soundfile()
    _check_not_truncated(path)
    try:
        channels, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, TypeError, ValueError) as error:
        raise InputError(
            f"[audio.read] expected a WAV or FLAC file, got {path}: {_reason(error)}; "
            "convert it, for instance with `ffmpeg -i IN OUT.wav`"
        ) from error
    samples = channels[:, 0] if channels.shape[1] == 1 else channels.mean(axis=1)
    mono: Floats = np.ascontiguousarray(samples, dtype=np.float32)
    return check_recording(mono, int(rate), str(path)), int(rate)


def check_recording(samples: npt.ArrayLike, rate: int, name: str = "the recording") -> Floats:
    """Checks a recording [n] and returns it as contiguous float32, without a copy where it is.

    Raises InputError for a wrong number of dimensions, NaN or Inf, and for one that is empty or
    shorter than 10 ms; `name` stands in the message.
    """
    try:
        mono: Floats = np.ascontiguousarray(samples, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"[audio.check] expected numbers, got {name}: {error}; pass float samples in -1..1"
        ) from error
    if np.ndim(samples) != 1:
        raise InputError(
            f"[audio.check] expected mono samples [n], got {name} of shape {np.shape(samples)}; "
            "take the mean of the channels"
        )
    low, high = RATES_HZ
    if not low <= rate <= high:
        raise InputError(
            f"[audio.check] expected a rate of {low} to {high} Hz, got {rate} Hz in {name}; "
            "convert the recording"
        )
    if mono.size < max(2, round(SHORTEST_S * rate)):
        raise InputError(
            f"[audio.check] expected at least {1000 * SHORTEST_S:.0f} ms of sound, got {name} "
            f"with {_count(mono.size)}; record something"
        )
    finite = np.isfinite(mono)
    if not finite.all():
        first = int(np.argmin(finite))
        raise InputError(
            f"[audio.check] expected finite samples, got {mono[first]} at sample {first} of {name} "
            f"({int(np.count_nonzero(~finite))} in all); write the recording anew"
        )
    return mono


def wav_bytes(samples: npt.ArrayLike, rate: int = 24_000) -> bytes:
    """A WAV file, 16 bit mono, of samples [n] in -1..1; louder ones are clipped."""
    floats = np.asarray(samples, dtype=np.float32)
    pcm = np.rint(np.clip(floats, -1.0, 1.0) * 32767.0).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm.tobytes())
    return buffer.getvalue()


def write_wav(path: str | Path, samples: npt.ArrayLike, rate: int = 24_000) -> None:
    """Writes samples [n] in -1..1 as a 16-bit mono WAV, whole or not at all.

    Raises OSError where the disk is full or the folder is missing.
    """
    write_atomically({path: wav_bytes(samples, rate)})


def _reason(error: Exception) -> str:
    """What libsndfile says, without the path in front and the full stop behind."""
    return str(error).rpartition(": ")[2].rstrip(".")


def _count(n: int) -> str:
    return {0: "no samples", 1: "one sample"}.get(n, f"{n} samples")


def _soundfile() -> Any:
    try:
        import soundfile  # type: ignore[import-untyped]
    except (ImportError, OSError) as error:  # OSError: the package without libsndfile
        raise LibraryError(
            f"[audio.read] expected the package soundfile with libsndfile, got: {error}; "
            "do `pip install soundfile`"
        ) from error
    return soundfile


def _check_not_truncated(path: Path) -> None:
    """libsndfile reads a cut-off WAV up to where it ends; a user would miss the rest."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return
        while len(header := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", header)
            if name == b"data":
                missing = file.tell() + length - size
                if missing > 0 and length < _STREAMED:
                    raise InputError(
                        f"[audio.read] expected a whole WAV file, got {path} without its last "
                        f"{missing} of {length} bytes of sound; copy or record it again"
                    )
                return
            file.seek(length + length % 2, 1)

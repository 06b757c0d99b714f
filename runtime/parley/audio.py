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

from parley.arguments import LARGEST_INT, whole_number
from parley.errors import InputError, LibraryError
from parley.files import write_atomically

Floats = npt.NDArray[np.float32]

SHORTEST_S = 0.01  # the front end cuts a turn to multiples of 10 ms; less would leave nothing
RATES_HZ = (4000, 768_000)
_TO_FLOATS = {  # integers of a known full scale, by NumPy's name
    "int8": "divide by 128",
    "uint8": "subtract 128 and divide by 128",
    "int16": "divide by 32768",
    "uint16": "subtract 32768 and divide by 32768",
    "int32": "divide by 2147483648",
    "int64": "divide by their full scale, which is 32768 where they were 16-bit samples",
}
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
    """Checks a recording as `check_samples` does, its rate, and that it lasts 10 ms at least.

    Returns it as contiguous float32 [n]; `name` stands in the message of the InputError.
    """
    mono = check_samples(samples, "audio.check", name)
    rate = check_rate(rate, name)
    if mono.size < max(2, round(SHORTEST_S * rate)):
        raise InputError(
            f"[audio.check] expected at least {1000 * SHORTEST_S:.0f} ms of sound, got {name} "
            f"with {_count(mono.size)}; record something"
        )
    return mono


def check_rate(rate: int, name: str = "the recording") -> int:
    """A rate in Hz that the resampler takes; raises InputError for all else."""
    do = f"give the rate of {name} in Hz, or convert it"
    return whole_number("audio.check", "a rate", rate, *RATES_HZ, do=do)


def check_samples(samples: npt.ArrayLike, where: str, name: str = "the samples") -> Floats:
    """Samples of one channel, [n] or [n, 1], as contiguous float32 [n], uncopied where they are.

    Raises InputError for anything but floats, since integers have another scale and would be heard
    as noise; for several channels; and for NaN and Inf. `where` and `name` stand in the message.
    """
    try:
        given = np.asarray(samples)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, arrays of other packages
        raise InputError(
            f"[{where}] expected float samples in -1..1, got {type(samples).__name__}: {error}; "
            "pass an array of floats"
        ) from error
    if given.dtype.kind != "f":
        raise InputError(
            f"[{where}] expected float samples in -1..1, got {_kind(given)}; "
            f"{_TO_FLOATS.get(given.dtype.name, 'pass an array of floats')}"
        )
    if given.ndim != 1 and not (given.ndim == 2 and given.shape[1] == 1):
        raise InputError(
            f"[{where}] expected mono samples, [n] or [n, 1], got shape {given.shape}; "
            "take the mean of the channels"
        )
    with np.errstate(over="ignore"):  # what is too large for float32 becomes Inf, which is told
        mono: Floats = np.ascontiguousarray(given.reshape(-1), dtype=np.float32)
    finite = np.isfinite(mono)
    if not finite.all():
        first = int(np.argmin(finite))
        raise InputError(
            f"[{where}] expected finite samples, got {mono[first]} at sample {first} of {name} "
            f"({int(np.count_nonzero(~finite))} in all); mend the source, or send silence instead"
        )
    return mono


def wav_bytes(samples: npt.ArrayLike, rate: int = 24_000) -> bytes:
    """A WAV file, 16 bit mono, of float samples [n] in -1..1; louder ones are clipped.

    Raises InputError for what `check_samples` refuses and for a rate that is none.
    """
    floats = check_samples(samples, "audio.write")
    rate = whole_number("audio.write", "a rate in Hz", rate, 1, LARGEST_INT)
    pcm = np.rint(np.clip(floats, -1.0, 1.0) * 32767.0).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm.tobytes())
    return buffer.getvalue()


def write_wav(path: str | Path, samples: npt.ArrayLike, rate: int = 24_000) -> None:
    """Writes float samples [n] in -1..1 as a 16-bit mono WAV, whole or not at all.

    Raises InputError for other samples, OSError where the disk is full or the folder is missing.
    """
    write_atomically({path: wav_bytes(samples, rate)})


def _reason(error: Exception) -> str:
    """What libsndfile says, without the path in front and the full stop behind."""
    return str(error).rpartition(": ")[2].rstrip(".")


def _kind(given: npt.NDArray[Any]) -> str:
    if given.dtype.kind == "O":
        first = type(given.flat[0]).__name__ if given.size else "nothing"
        return f"objects such as {first}" if given.ndim else first
    return "text" if given.dtype.kind in "US" else given.dtype.name


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

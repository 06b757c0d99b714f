"""Recordings in and out of files: WAV, FLAC and others to mono float32, that to WAV; no models.

soundfile is imported on the first read, so that `import parley` stays light.
"""

from __future__ import annotations

import io
import math
import os
import stat
import wave
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from parley.arguments import LARGEST_INT, whole_number
from parley.containers import LEAST_SLIP_BYTES, check_format, cut_off, mend
from parley.errors import InputError, LibraryError
from parley.files import write_atomically

Floats = npt.NDArray[np.float32]

SHORTEST_S = 0.01  # the front end cuts a turn to multiples of 10 ms; less would leave nothing
RATES_HZ = (4000, 768_000)
LOUDEST = 4.0  # 12 dB over full scale, which no mixing of floats reaches
_TO_FLOATS = {  # integers of a known full scale, by NumPy's name
    "int8": "divide by 128",
    "uint8": "subtract 128 and divide by 128",
    "int16": "divide by 32768",
    "uint16": "subtract 32768 and divide by 32768",
    "int32": "divide by 2147483648",
    "int64": "divide by their full scale, which is 32768 where they were 16-bit samples",
}
MOST_BYTES = 8 * 2**30
_PIECE = 2**20
_SILENT = 1e-6  # of the loudest channel's power
_CANCELLED = 0.25
_CANCELLED_SHARE = 0.02


def read_audio(path: str | Path) -> tuple[Floats, int]:
    """Reads a WAV (any rate, any number of channels, 8 to 32 bit or float) or a FLAC file.

    Also AIFF, AU, CAF, Ogg and MP3, and pipes with any of them. A length that the header does not
    know is that of the file. Returns samples [n] float32 in -1..1, of several channels as
    `mix_down` does it, and their rate in Hz. Raises InputError that names the file and what is
    wrong with it, a missing end too; OSError where it cannot be read; LibraryError without
    soundfile.
    """
    name = os.fsdecode(path)
    soundfile = _soundfile()
    data = _read_bytes(name)
    least = mend(data, name)
    try:
        channels, rate = _decode(soundfile, data, least)
    except EOFError as error:
        raise cut_off(name) from error
    except (soundfile.SoundFileError, TypeError, ValueError) as error:
        raise InputError(
            f"[audio.read] expected a WAV or FLAC file, got {name}: {_reason(error)}; "
            "convert it, for instance with `ffmpeg -i IN OUT.wav`"
        ) from error
    if channels.shape[0] < least:
        raise cut_off(name)
    return check_recording(mix_down(channels), rate, name), rate


def mix_down(channels: Floats) -> Floats:
    """Channels [n, c] to one [n]: their mean, without those that hold no sound.

    Where that would cancel out what they hold, since a cable was wired upside down, it is the
    loudest one alone.
    """
    if channels.shape[1] == 1 or not channels.size:
        return np.ascontiguousarray(channels[:, 0])
    power = channels.var(axis=0, dtype=np.float64)
    heard = channels[:, power > _SILENT * power.max()] if power.max() > 0 else channels
    mean = heard.mean(axis=1, dtype=np.float32)
    n = heard.shape[1]
    # By pieces of 1000 samples, since channels may be turned for some time only. Those of
    # independent channels have a mean of 1 / n of their power.
    edges = np.arange(0, channels.shape[0], 1000)
    whole = np.add.reduceat(np.square(heard, dtype=np.float64).mean(axis=1), edges)
    kept = np.add.reduceat(np.square(mean, dtype=np.float64), edges)
    if whole[kept * n < _CANCELLED * whole].sum() > _CANCELLED_SHARE * whole.sum():
        return np.ascontiguousarray(channels[:, int(power.argmax())])
    return np.ascontiguousarray(mean)


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
    as noise; for floats of such a scale, which a little over 1 is not; for several channels; and
    for NaN and Inf. `where` and `name` stand in the message.
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
    low, high = (float(mono.min()), float(mono.max())) if mono.size else (0.0, 0.0)
    peak = max(-low, high)
    if not math.isfinite(peak):
        finite = np.isfinite(mono)
        first = int(np.argmin(finite))
        raise InputError(
            f"[{where}] expected finite samples, got {mono[first]} at sample {first} of {name} "
            f"({int(np.count_nonzero(~finite))} in all); mend the source, or send silence instead"
        )
    if peak > LOUDEST or (peak >= 2.0 and not np.mod(mono, 1.0).any()):
        raise InputError(
            f"[{where}] expected float samples in -1..1, got {name} with {low:g} to {high:g}; "
            f"{_scale(low, high)}"
        )
    return mono


def _scale(low: float, high: float) -> str:
    """How floats that hold integers' values become samples."""
    peak = max(-low, high)
    if low >= 0.0 and high <= 255.0:
        return "divide by their full scale; where they were 8-bit samples: " + _TO_FLOATS["uint8"]
    for bits in (16, 24, 32):
        if 2.0 ** (bits - 9) < peak <= 2.0 ** (bits - 1):
            return f"divide by {2 ** (bits - 1)}, if they were {bits}-bit samples"
    return "divide by their full scale, which is 32768 where they were 16-bit samples"


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
    text = str(error).rpartition(": ")[2].rstrip(".")
    return "a header without a possible rate" if text == "SF_INFO struct incomplete" else text


def _kind(given: npt.NDArray[Any]) -> str:
    if given.dtype.kind == "O":
        first = type(given.flat[0]).__name__ if given.size else "nothing"
        return f"objects such as {first}" if given.ndim else first
    return "text" if given.dtype.kind in "US" else given.dtype.name


def _count(n: int) -> str:
    return {0: "no samples", 1: "one sample"}.get(n, f"{n} samples")


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the package without libsndfile
        raise LibraryError(
            f"[audio.read] expected the package soundfile with libsndfile, got: {error}; "
            "run `pip install soundfile`"
        ) from error
    return soundfile


def _decode(soundfile: Any, data: bytearray, least: int) -> tuple[Floats, int]:
    """All the samples [n, c] that there are, whatever length is stated, and their rate.

    A FLAC that holds `least` samples may end in anything, such as tags. Raises EOFError where one
    ends before.
    """

    class Content(io.BytesIO):
        def seek(self, offset: int, whence: int = 0) -> int:
            try:
                return super().seek(offset, whence)
            except ValueError:  # before the start: libsndfile does so in damaged files
                return super().seek(0)

    class Stream(soundfile.SoundFile):  # type: ignore[misc]
        def seekable(self) -> bool:  # else it reads no further than the stated length
            return False

    pieces = []
    n = 0
    with Stream(Content(data)) as file:
        rate = int(file.samplerate)
        try:
            while True:
                # What comes with an error is lost, so a piece ends where the sound may.
                more = least - n if n < least else LEAST_SLIP_BYTES if n == least else _PIECE
                piece = file.read(min(more, _PIECE), dtype="float32", always_2d=True)
                if not piece.size:
                    break
                pieces.append(piece)
                n += len(piece)
        except soundfile.SoundFileError as error:
            if not data.startswith(b"fLaC"):
                raise
            if not 0 < least <= n:
                raise EOFError from error
    return np.concatenate(pieces) if pieces else np.zeros((0, 1), np.float32), rate


def _read_bytes(name: str) -> bytearray:
    """A file's or a pipe's content. Raises InputError for what is neither, or is no recording."""
    try:
        mode = os.stat(name).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        got = "no such file"
    else:
        if stat.S_ISREG(mode) or stat.S_ISFIFO(mode):
            with open(name, "rb") as file:
                return _read_all(file, name)
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFSOCK: "a socket"}
        got = kinds.get(stat.S_IFMT(mode), "a device")
    raise InputError(f"[audio.read] expected a recording at {name}, got {got}; check the path")


def _read_all(file: Any, name: str) -> bytearray:
    data = bytearray(file.read(_PIECE))
    check_format(data, name)  # before all of an endless pipe was read
    while piece := file.read(_PIECE):
        data += piece
        if len(data) > MOST_BYTES:
            raise InputError(
                f"[audio.read] expected at most {MOST_BYTES} bytes of {name}, got more; "
                "cut the recording into pieces"
            )
    return data

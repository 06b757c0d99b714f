"""Read a voice's three arrays and write them into a bundle; knows no family and no use of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parley_export.errors import Problems

MAX_FILE_BYTES = 256 << 20


@dataclass(frozen=True)
class Voice:
    """Prompt tokens [N] int32, prompt latents [F, z] float32 (as the flow decoder makes them),
    speaker [S] float32."""

    tokens: np.ndarray
    latents: np.ndarray
    speaker: np.ndarray


@dataclass(frozen=True)
class VoiceSizes:
    """Of a family's voices: how many codes there are, widths of a latent frame and a speaker."""

    codes: int
    z: int
    speaker_width: int


def read_voice(folder: Path, files: tuple[str, str, str], sizes: VoiceSizes) -> Voice:
    """Read and check a voice folder; `files` name the arrays of tokens, latents and speaker.

    Raises:
        BundleError: a file is missing, of a wrong type or shape, holds a code that the decoder
            does not know, or a value that is not finite; names all of it.
        OSError: a file cannot be read.
    """
    problems = Problems("voice.read", "give --voice a folder with " + ", ".join(files))
    tokens = load_array(folder / files[0], "iu", 2, problems)
    latents = load_array(folder / files[1], "f", 3, problems)
    speaker = load_array(folder / files[2], "f", 2, problems)
    if tokens is not None and (tokens.min() < 0 or tokens.max() >= sizes.codes):
        problems.add(
            f"expected codes of 0 to {sizes.codes - 1} in {files[0]}, "
            f"got {tokens.min()} to {tokens.max()}"
        )
    for array, name, width in (
        (latents, files[1], sizes.z),
        (speaker, files[2], sizes.speaker_width),
    ):
        if array is not None and array.shape[-1] != width:
            problems.add(f"expected {width} values per row in {name}, got {array.shape[-1]}")
        if array is not None and not np.isfinite(array).all():
            problems.add(f"expected finite values in {name}, got others")
    problems.raise_if_any()
    assert tokens is not None and latents is not None and speaker is not None
    return Voice(
        tokens=tokens[0].astype("<i4"),
        latents=latents[0].astype("<f4"),
        speaker=speaker[0].astype("<f4"),
    )


def load_array(path: Path, kinds: str, dims: int, problems: Problems) -> np.ndarray | None:
    """Load one array with a leading dimension of 1; never unpickles."""
    wanted = "integers" if "i" in kinds else "floating point"
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        array = np.load(path, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("an archive")
    except FileNotFoundError:
        problems.add(f"expected an array in {path}, got no such file")
        return None
    except (ValueError, EOFError) as e:
        problems.add(f"expected an array in {path}, got {e}")
        return None
    if array.dtype.kind not in kinds or array.ndim != dims or array.shape[0] != 1 or not array.size:
        problems.add(
            f"expected {wanted} of {dims} dimensions, the first 1, in {path.name}, "
            f"got {array.dtype} {list(array.shape)}"
        )
        return None
    return array


def save_voice(voice: Voice, folder: Path, files: tuple[str, str, str]) -> None:
    """Write a voice folder as read_voice() takes it; the folder must not be there."""
    folder.mkdir(parents=True)
    for name, array in zip(files, (voice.tokens, voice.latents, voice.speaker), strict=True):
        np.save(folder / name, array[None])


def write_voice(bundle: Path, name: str, voice: Voice) -> dict[str, Any]:
    """Write raw little-endian arrays to voices/NAME/ and return the manifest's entry."""
    folder = bundle / "voices" / name
    folder.mkdir(parents=True)
    entry = {}
    for key, array, suffix in (
        ("tokens", voice.tokens, "i32"),
        ("latents", voice.latents, "f32"),
        ("speaker", voice.speaker, "f32"),
    ):
        file = folder / f"{key}.{suffix}"
        file.write_bytes(np.ascontiguousarray(array).tobytes())
        entry[key] = {"file": file.relative_to(bundle).as_posix(), "shape": list(array.shape)}
    return entry

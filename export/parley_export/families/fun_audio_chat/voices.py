"""Voices of Fun-Audio-Chat: a speaker's vector each, in one file with all or in a folder of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from parley_export.config_section import is_plain_name
from parley_export.errors import Problems
from parley_export.state_dict import inside_storage, read_zip
from parley_export.voices import Voice, load_array

FILE, SPEAKER_FILE = "new_spk2info.pt", "speaker_embed.npy"
DEFAULT = "中文女"  # as published
OWN = "default"  # the name of a user's own


def voice_file(path: Path) -> Path:
    """The file that `path`, which may be its folder, means."""
    if not path.is_dir():
        return path
    return path / (SPEAKER_FILE if (path / SPEAKER_FILE).is_file() else FILE)


def read_voices(path: Path, n_mels: int, speaker_width: int) -> dict[str, Voice]:
    """Voices by name, the default one first.

    The published file holds more of each, which belongs to another model and is not read.

    Raises:
        BundleError: no such file, no voice in it, or a speaker of another kind; names all of it.
    """
    problems = Problems("voice.read", f"give --voice the {FILE} that is published with the code")
    found = _published(path, problems) if path.suffix == ".pt" else _own(path, problems)
    voices = {}
    for name, speaker in found.items():
        if speaker.shape != (1, speaker_width):
            problems.add(f"expected [1, {speaker_width}] of {name}, got {list(speaker.shape)}")
        elif not np.isfinite(speaker).all():
            problems.add(f"expected finite values of {name}, got others")
        else:
            nothing = np.zeros((0, n_mels), "<f4")
            voices[name] = Voice(np.zeros(0, "<i4"), nothing, speaker[0].astype("<f4"))
    problems.raise_if_any()
    first = DEFAULT if DEFAULT in voices else next(iter(voices))
    return {first: voices[first], **voices}


def _own(path: Path, problems: Problems) -> dict[str, np.ndarray]:
    speaker = load_array(path, "f", 2, problems)
    return {} if speaker is None else {OWN: speaker}


def _published(path: Path, problems: Problems) -> dict[str, np.ndarray]:
    import torch

    read = read_zip(path)
    if not isinstance(read, dict) or not read:
        problems.add(f"expected voices in {path.name}, got {type(read).__name__}")
        return {}
    found = {}
    for name, entry in read.items():
        speaker: Any = entry.get("embedding") if isinstance(entry, dict) else None
        if not is_plain_name(name):
            problems.add(f"expected plain names of voices in {path.name}, got {name!r}")
        elif not isinstance(speaker, torch.Tensor) or not speaker.is_floating_point():
            problems.add(f"expected a tensor embedding of {name} in {path.name}, got none")
        elif not inside_storage(speaker):
            problems.add(f"expected the embedding of {name} inside its storage, got one outside")
        else:
            found[name] = speaker.float().numpy()
    return found

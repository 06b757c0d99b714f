"""Speech from RHVoice, for the evaluation alone: a synthesizer that no training hears; no bank."""

import shutil
import subprocess
import tempfile
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from train.phones import OTHER, SILENCE
from train.synthesis import Speech, SynthesisError, change, trim

# Voices -> their Debian package (in non-free, as the voices' sources are missing).
VOICES = {"alan": "rhvoice-english", "lyubov": "rhvoice-english", "evgeniy-eng": "rhvoice-english"}
USER_HZ = 16000
QUIET = 0.01  # of the peak: what is softer at both ends is silence


def say_all(texts: Sequence[str], voice: str) -> list[Speech]:
    """Speaks `texts` by one of VOICES at 16 kHz; all words start at 0, as it doesn't tell."""
    if shutil.which("RHVoice-test") is None:
        raise SynthesisError(
            "[rhvoice.say] expected the program RHVoice-test, got none; install the Debian "
            f"packages rhvoice and {VOICES[voice]}"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        return [_say(text, voice, path) for text in texts]


def _say(text: str, voice: str, path: Path) -> Speech:
    command = ["RHVoice-test", "-p", voice, "-o", str(path)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not path.is_file():
        raise SynthesisError(
            f"[rhvoice.say] expected speech from the voice {voice}, got: "
            f"{done.stderr.strip()[-200:]}; install the Debian package {VOICES[voice]}"
        )
    with wave.open(str(path)) as file:
        rate = file.getframerate()
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
    loud = np.flatnonzero(np.abs(sound) > QUIET * np.abs(sound).max())
    phones = [(int(loud[0]), OTHER), (int(loud[-1]), SILENCE)]
    return change(trim(sound, rate, np.zeros(len(text.split()), np.int64), phones), USER_HZ, 1.0)

"""Speech from festival, for the evaluation alone: a synthesizer that no training hears; no bank."""

import shutil
import subprocess
import tempfile
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from train.phones import OTHER, SILENCE
from train.synthesis import Speech, SynthesisError, change, trim

# Voice -> its Debian package.
VOICES = {"ked_diphone": "festvox-kdlpc16k", "cmu_us_slt_arctic_hts": "festvox-us-slt-hts"}
USER_HZ = 16000


def say_all(texts: Sequence[str], voice: str) -> list[Speech]:
    """Speaks `texts` by one of VOICES at 16 kHz; all words start at 0, as festival isn't asked."""
    if shutil.which("festival") is None:
        raise SynthesisError(
            "[festival.say] expected the program festival, got none; install the Debian packages "
            f"festival and {VOICES[voice]}"
        )
    with tempfile.TemporaryDirectory() as folder:
        names = [Path(folder) / f"{number:04}" for number in range(len(texts))]
        script = Path(folder) / "say.scm"
        lines = [f"(voice_{voice})"]
        for text, name in zip(texts, names, strict=True):
            lines.append(f'(set! u (utt.synth (Utterance Text "{text}")))')
            lines.append(f'(utt.save.wave u "{name}.wav" \'riff) (utt.save.segs u "{name}.seg")')
        script.write_text("\n".join(lines))
        done = subprocess.run(
            ["festival", "-b", str(script)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise SynthesisError(
                f"[festival.say] expected speech from the voice {voice}, got: "
                f"{done.stderr.strip()[-200:]}; install the Debian package {VOICES[voice]}"
            )
        return [_read(name, len(text.split())) for name, text in zip(names, texts, strict=True)]


def _read(name: Path, words: int) -> Speech:
    with wave.open(str(name.with_suffix(".wav"))) as file:
        rate = file.getframerate()
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
    phones, start = [], 0.0
    for line in name.with_suffix(".seg").read_text().splitlines():
        fields = line.split()
        if len(fields) == 3:
            silent = fields[2] in ("pau", "#", "h#", "sil")
            phones.append((int(start * rate), SILENCE if silent else OTHER))
            start = float(fields[0])
    speech = trim(sound, rate, np.zeros(words, np.int64), phones)
    return change(speech, USER_HZ, 1.0)

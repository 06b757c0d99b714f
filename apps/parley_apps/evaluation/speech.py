"""Whether an independent recogniser hears the replies; knows pocketsphinx, no model of ours.

The recogniser gets the list of all expected replies as its grammar. It is no part of the runtime:
`pip install 'parley[eval]'`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from parley_apps.evaluation.judge import Row, normal
from parley_apps.evaluation.scenarios import Rendering
from parley_apps.evaluation.summary import share

if TYPE_CHECKING:
    from parley.events import Floats

RATE = 16_000  # of the recogniser
EDGE_S = 0.3  # silence before and after, which the recogniser wants
DITHER = 1e-4  # digital silence has no logarithm: without a little noise it mishears the edges


def is_installed() -> bool:
    return importlib.util.find_spec("pocketsphinx") is not None


def check_installed() -> None:
    """Raises ImportError that says how to get pocketsphinx."""
    if not is_installed():
        raise ImportError(
            "[evaluation.listen] expected the package pocketsphinx for the speech check, got none; "
            "run `pip install 'parley[eval]'`, or give --no-speech"
        )


def listen(
    rows: Sequence[Row],
    renderings: Sequence[Rendering],
    rate: int,
    replies: Sequence[str],
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """What the recogniser hears in the replies of `rows` (sound at `rate` Hz).

    replies: normal forms, its grammar. "expected": it heard the expected reply. "said": it heard
    what the model said, where that is a reply that it can hear. Of these, the ones for whose text
    there is a reference rendering: "model_said" and "reference", the same texts from both. Rows
    whose expected reply has a word that it does not know are left out. "rows": what was heard.
    """
    recogniser = Recogniser(replies)
    references = {normal(r.text): r for r in renderings}
    told: list[dict[str, Any]] = []
    for n, row in enumerate(rows, 1):
        tell(f"listening to reply {n} of {len(rows)}")
        if normal(row.expected or "") in recogniser.known:
            told.append(_listen(row, recogniser, references, rate))
    said = [entry for entry in told if entry["said"] in recogniser.known]
    paired = [entry for entry in said if "reference_heard" in entry]
    return {
        "n": len(told),
        "left_out": len(rows) - len(told),
        "expected": share(e["heard"] == e["expected"] for e in told),
        "said": share(e["heard"] == e["said"] for e in said),
        "model_said": share(e["heard"] == e["said"] for e in paired),
        "reference": share(e["reference_heard"] == e["said"] for e in paired),
        "rows": told,
    }


def _listen(
    row: Row, recogniser: Recogniser, references: Mapping[str, Rendering], rate: int
) -> dict[str, Any]:
    import parley

    assert row.reply is not None
    sound = np.concatenate(row.reply.audio).astype(np.float32) / np.float32(32768)
    said = normal(row.said or "")
    entry = {
        "scenario": row.scenario,
        "expected": normal(row.expected or ""),
        "said": said,
        "heard": recogniser.hear(sound, rate),
    }
    if said in references:
        samples, rate = parley.read_audio(references[said].audio)
        entry["reference_heard"] = recogniser.hear(samples.astype(np.float32), rate)
    return entry


class Recogniser:
    """pocketsphinx with a list of sentences; `known` holds those that it can hear."""

    def __init__(self, sentences: Sequence[str]) -> None:
        from pocketsphinx import Decoder

        self._decoder = Decoder(lm=None, samprate=float(RATE), loglevel="FATAL")
        self.known = {s for s in sentences if s and all(map(self._knows, s.split()))}
        if self.known:
            rule = " | ".join(sorted(self.known))
            grammar = f"#JSGF V1.0;\ngrammar replies;\npublic <reply> = {rule} ;\n"
            self._decoder.add_jsgf_string("replies", grammar)
            self._decoder.activate_search("replies")

    def _knows(self, word: str) -> bool:
        return word.isascii() and self._decoder.lookup_word(word) is not None

    def hear(self, sound: Floats, rate: int) -> str:
        """The sentence it hears in sound [n]; empty for none of them."""
        edge = np.zeros(round(EDGE_S * RATE), np.float32)
        wave = np.concatenate([edge, resampled(sound, rate, RATE), edge])
        wave += DITHER * np.random.default_rng(0).standard_normal(wave.size).astype(np.float32)
        self._decoder.start_utt()
        pcm = np.rint(np.clip(wave, -1, 1) * 32767).astype("<i2")
        self._decoder.process_raw(pcm.tobytes(), no_search=False, full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return "" if found is None else normal(found.hypstr)


def resampled(sound: Floats, rate: int, wanted: int) -> Floats:
    """Sound [n] at another rate, band-limited by its spectrum."""
    if rate == wanted:
        return sound
    block = int(np.gcd(rate, wanted))
    blocks = 1 << int(np.ceil(np.log2(max(1, -(-sound.size // (rate // block))))))
    spectrum = np.fft.rfft(sound, blocks * (rate // block))
    n = blocks * (wanted // block)
    kept = np.zeros(n // 2 + 1, spectrum.dtype)
    shared = min(kept.size, spectrum.size) - 1
    kept[:shared] = spectrum[:shared]
    wave = np.fft.irfft(kept, n) * (wanted / rate)
    return wave[: -(-sound.size * wanted // rate)].astype(np.float32)

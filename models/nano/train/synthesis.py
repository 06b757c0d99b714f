"""Speech from espeak-ng and flite with word and phone times; knows no domain and no bank.

Both libraries are used in the process through ctypes. Each keeps global state, so one process uses
a synthesizer from one thread only. Sample positions refer to the returned wave.
"""

import ctypes
import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from train.phones import SILENCE, phone_id

Wave = npt.NDArray[np.float32]
LEAD_SECONDS = 0.03
TAIL_SECONDS = 0.01
ACCENTS = ("en", "en-US", "en-GB-scotland", "en-GB-x-gbclan", "en-GB-x-rp", "en-GB-x-gbcwmd",
           "en-029", "en-US-nyc")  # fmt: skip
# The library wants names of voice files; whispers, robots and effects are left out.
_VARIANTS = """
Alex Alicia Andrea Andy Annie Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee Marco Mario Michael
Mike RicishayMax RicishayMax2 RicishayMax3 adam anika announcer antonio aunty belinda benjamin
boris caleb david ed edward edward2 f1 f2 f3 f4 f5 grandma grandpa gustave iven iven2 iven3 iven4
john kaukovalta klatt klatt2 klatt3 klatt4 linda m1 m2 m3 m4 m5 m6 m7 m8 marcelo max michel miguel
norbert pablo paul pedro quincy rob robert sandro shelby steph steph2 steph3 travis victor zac
"""
VARIANTS = tuple(_VARIANTS.split())
FLITE_VOICES = ("kal", "kal16", "awb", "rms", "slt")
ESPEAK_HZ = 22050
# Both would spell these; [[...]] is espeak-ng's way to name phonemes.
ESPEAK_TOLD = {"mm": "[['m-m-]]", "mhm": "[[mh'Vm]]", "hm": "hmm"}
FLITE_TOLD = {"mm": "um", "mhm": "um hum", "hm": "hum"}


class SynthesisError(RuntimeError):
    """A synthesizer is missing or refuses; the message names the Debian package."""


@dataclass(frozen=True)
class Speech:
    """A trimmed wave [samples] at `rate`, starts of its words and phones in samples.

    word_starts [words]; phone_ids and phone_starts [phones]; the last phone ends with the wave.
    """

    wave: Wave
    rate: int
    word_starts: npt.NDArray[np.int64]
    phone_ids: npt.NDArray[np.int64]
    phone_starts: npt.NDArray[np.int64]


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    )


_WORD, _PHONEME = 1, 7
_UTF8_AND_PHONEMES = 0x101
_TIED_IPA = 0x82 | ord("^") << 8
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


def load_library(name: str, package: str, mode: int = ctypes.DEFAULT_MODE) -> ctypes.CDLL:
    """The shared library `name`; raises SynthesisError that names its Debian package."""
    try:
        return ctypes.CDLL(name, mode=mode)
    except OSError as error:
        raise SynthesisError(
            f"[synthesis.load] expected the library {name}, got: {error}; "
            f"install the Debian package {package}"
        ) from None


class Espeak:
    """espeak-ng, synchronous, with phoneme events (their names are espeak's mnemonics)."""

    def __init__(self) -> None:
        self._library = load_library("libespeak-ng.so.1", "espeak-ng")
        rate = self._library.espeak_Initialize(2, 0, None, 1)
        if rate != ESPEAK_HZ:
            raise SynthesisError(
                f"[synthesis.espeak] expected {ESPEAK_HZ} Hz, got {rate}; "
                "install the Debian packages espeak-ng and espeak-ng-data"
            )
        self._blocks: list[bytes] = []
        self._events: list[tuple[int, int, int, str]] = []
        self._callback = _CALLBACK(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)
        self._voice = ""

    def _receive(self, wave: "ctypes._Pointer[ctypes.c_short]", count: int, events: object) -> int:
        index = 0
        while (event := events[index]).type != 0:  # type: ignore[index]
            if event.type in (_WORD, _PHONEME):
                name = event.name.decode("utf8", "replace") if event.type == _PHONEME else ""
                self._events.append((event.type, event.text_position, event.sample, name))
            index += 1
        if count > 0:
            self._blocks.append(ctypes.string_at(wave, 2 * count))
        return 0

    def say(
        self,
        text: str,
        voice: str,
        *,
        rate: int = 160,
        pitch: int = 50,
        spread: int = 50,
        gap: int = 0,
    ) -> Speech:
        """Speaks `text` by `voice` ("en-US+f3"), rate in words a minute, pitch and spread 0..99."""
        self._choose(voice)
        for parameter, value in ((1, rate), (3, pitch), (4, spread), (7, gap)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._blocks, self._events = [], []
        data = ESPEAK_TOLD.get(text, text).encode() + b"\0"
        self._library.espeak_Synth(data, len(data), 0, 1, 0, _UTF8_AND_PHONEMES, None, None)
        wave = np.frombuffer(b"".join(self._blocks), np.int16).astype(np.float32) / 32768
        phones = [
            (sample, phone_id("espeak", name))
            for type_, _, sample, name in self._events
            if type_ == _PHONEME
        ]
        starts = {place: sample for type_, place, sample, _ in self._events if type_ == _WORD}
        return trim(wave, ESPEAK_HZ, self._words(text, starts, phones), phones)

    def _choose(self, voice: str) -> None:
        if voice == self._voice:
            return
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise SynthesisError(
                f"[synthesis.espeak] expected a voice file's name, got {voice!r}; "
                "the package espeak-ng-data lists them"
            )
        self._voice = voice

    def letters(self, text: str, voice: str) -> str:
        """`text` in the IPA's letters, "^" within those of one sound, blanks between words.

        Some words come as one ("ɪnðə"); see kokoro.py.
        """
        self._choose(voice)
        to_phonemes = self._library.espeak_TextToPhonemes
        to_phonemes.restype = ctypes.c_char_p
        data = ctypes.create_string_buffer(text.encode())
        rest = ctypes.c_void_p(ctypes.addressof(data))
        clauses = []
        while rest.value:
            clauses.append(to_phonemes(ctypes.byref(rest), 1, _TIED_IPA).decode())
        return " ".join(" ".join(clauses).split())

    @staticmethod
    def _words(
        text: str, starts: dict[int, int], phones: list[tuple[int, int]]
    ) -> npt.NDArray[np.int64]:
        """Starts of all words; a word that shares another's event lies between its neighbours'."""
        place, known = 1, []
        for word in text.split():
            known.append(starts.get(place, -1))
            place += len(word) + 1
        known[0] = max(known[0], 0)
        end = max((sample for sample, phone in phones if phone != SILENCE), default=0)
        found = [index for index, start in enumerate(known) if start >= 0]
        return np.interp(
            np.arange(len(known)),
            [*found, len(known)],
            [*(known[index] for index in found), end],
        ).astype(np.int64)


class _FliteWave(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_char_p),
        ("rate", ctypes.c_int),
        ("count", ctypes.c_int),
        ("channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    )


class _FliteVoice(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("features", ctypes.c_void_p))


class Flite:
    """flite's five built-in voices; about twenty times real time, so reuse what it says."""

    def __init__(self) -> None:
        everywhere = ctypes.RTLD_GLOBAL
        self._library = library = load_library("libflite.so.1", "libflite1", everywhere)
        load_library("libflite_cmulex.so.1", "libflite1", everywhere)
        load_library("libflite_usenglish.so.1", "libflite1", everywhere)
        library.flite_init()
        pointer, text = ctypes.c_void_p, ctypes.c_char_p
        for name, result, arguments in (
            ("flite_synth_text", pointer, [text, pointer]),
            ("utt_wave", ctypes.POINTER(_FliteWave), [pointer]),
            ("utt_relation", pointer, [pointer, text]),
            ("relation_head", pointer, [pointer]),
            ("item_next", pointer, [pointer]),
            ("item_feat_float", ctypes.c_float, [pointer, text]),
            ("item_feat_string", text, [pointer, text]),
            ("ffeature_float", ctypes.c_float, [pointer, text]),
            ("feat_set_float", None, [pointer, text, ctypes.c_float]),
            ("delete_utterance", None, [pointer]),
        ):
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        self._voices: dict[str, ctypes._Pointer[_FliteVoice]] = {}

    def _voice(self, name: str) -> "ctypes._Pointer[_FliteVoice]":
        if name not in self._voices:
            library = load_library(f"libflite_cmu_us_{name}.so.1", "libflite1", ctypes.RTLD_GLOBAL)
            register = getattr(library, f"register_cmu_us_{name}")
            register.restype, register.argtypes = ctypes.POINTER(_FliteVoice), [ctypes.c_char_p]
            self._voices[name] = register(None)
        return self._voices[name]

    def say(self, text: str, voice: str, *, stretch: float = 1.0) -> Speech:
        """Speaks `text` by one of FLITE_VOICES; stretch > 1 is slower."""
        library, chosen = self._library, self._voice(voice)
        told = FLITE_TOLD.get(text, text).encode()
        library.feat_set_float(chosen.contents.features, b"duration_stretch", stretch)
        utterance = library.flite_synth_text(told, ctypes.cast(chosen, ctypes.c_void_p))
        try:
            made = library.utt_wave(utterance).contents
            rate = made.rate
            wave = np.ctypeslib.as_array(made.samples, (made.count,)).astype(np.float32) / 32768
            phones, start = [], 0.0
            for item in self._items(utterance, b"Segment"):
                name = library.item_feat_string(item, b"name").decode()
                phones.append((int(start * rate), phone_id("flite", name)))
                start = library.item_feat_float(item, b"end")
            before = b"R:SylStructure.daughter1.daughter1.R:Segment.p.end"
            words = [
                int(library.ffeature_float(item, before) * rate)
                for item in self._items(utterance, b"Word")
            ]
        finally:
            library.delete_utterance(utterance)
        expected = len(text.split())
        if len(words) != expected:
            words = list(np.linspace(words[0], len(wave), expected, endpoint=False).astype(int))
        return trim(wave, rate, np.asarray(words, np.int64), phones)

    def _items(self, utterance: int, relation: bytes) -> list[int]:
        items = []
        item = self._library.relation_head(self._library.utt_relation(utterance, relation))
        while item:
            items.append(item)
            item = self._library.item_next(item)
        return items


def trim(
    wave: Wave, rate: int, words: npt.NDArray[np.int64], phones: list[tuple[int, int]]
) -> Speech:
    """Cuts opening and closing silence by the phones' times, keeping a few milliseconds."""
    sounding = [index for index, (_, phone) in enumerate(phones) if phone != SILENCE]
    if not sounding:
        raise SynthesisError("[synthesis.trim] expected speech, got silence; change the text")
    first, last = sounding[0], sounding[-1]
    begin = max(0, phones[first][0] - int(LEAD_SECONDS * rate))
    end = phones[last + 1][0] if last + 1 < len(phones) else len(wave)
    end = min(len(wave), end + int(TAIL_SECONDS * rate))
    kept = phones[first : last + 1]
    wave = wave[begin:end].copy()
    edge = min(int(0.005 * rate), len(wave))
    wave[:edge] *= np.linspace(0, 1, edge, dtype=np.float32)
    wave[-edge:] *= np.linspace(1, 0, edge, dtype=np.float32)
    return Speech(
        wave,
        rate,
        np.clip(words - begin, 0, len(wave) - 1),
        np.array([phone for _, phone in kept], np.int64),
        np.array([sample - begin for sample, _ in kept], np.int64),
    )


@functools.cache
def _smooth_numbers(limit: int = 1 << 25) -> npt.NDArray[np.int64]:
    """Numbers without prime factors above 5: lengths with a fast Fourier transform."""
    two, three, five = (
        base ** np.arange(int(np.log(limit) / np.log(base)) + 1) for base in (2, 3, 5)
    )
    products = np.unique(np.multiply.outer(np.multiply.outer(two, three), five))
    return products[products <= limit]


def resample(wave: Wave, factor: float) -> tuple[Wave, float]:
    """`wave` with about `factor` times as many samples, and the factor that was used.

    Band-limited, by cutting or padding the spectrum. The lengths are rounded to fast ones, so the
    factor may differ by 2 %; above the new Nyquist frequency everything is dropped.
    """
    smooth = _smooth_numbers()
    long = int(smooth[np.searchsorted(smooth, len(wave) + 64)])
    place = int(np.searchsorted(smooth, long * factor))
    near = smooth[max(0, place - 1) : place + 1]
    new = int(near[np.argmin(np.abs(near - long * factor))])
    used = new / long
    return _through_spectrum(wave, long, new)[: round(len(wave) * used)], used


def resample_exactly(wave: Wave, up: int, down: int) -> Wave:
    """`wave` [n] at up/down times its rate [ceil(n * up / down)]."""
    blocks = -(-(len(wave) + 64) // down)
    smooth = _smooth_numbers()
    blocks = int(smooth[np.searchsorted(smooth, blocks)])
    return _through_spectrum(wave, blocks * down, blocks * up)[: -(-len(wave) * up // down)]


def _through_spectrum(wave: Wave, long: int, new: int) -> Wave:
    spectrum = np.fft.rfft(wave, long)
    kept = np.zeros(new // 2 + 1, spectrum.dtype)
    count = min(len(kept), len(spectrum)) - 1
    kept[:count] = spectrum[:count]
    return (np.fft.irfft(kept, new) * (new / long)).astype(np.float32)


def change(speech: Speech, rate: int, factor: float) -> Speech:
    """`speech` at `rate`, played `factor` times as fast: pitch and formants rise together."""
    wave, used = resample(speech.wave, rate / speech.rate / factor)
    scale = lambda places: np.clip((places * used).astype(np.int64), 0, len(wave) - 1)  # noqa: E731
    return Speech(
        wave, rate, scale(speech.word_starts), speech.phone_ids, scale(speech.phone_starts)
    )

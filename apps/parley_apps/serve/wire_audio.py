"""Sound as it goes over the wire: base64 of PCM or G.711 and the rates of either side; no socket.

G.711 is ITU-T G.711 (mu-law and A-law, 8 kHz).
"""

from __future__ import annotations

import base64
import binascii

import numpy as np
import numpy.typing as npt

import parley
from parley.events import Floats

Bytes = npt.NDArray[np.uint8]


def _mu_law_table() -> Floats:
    code = ~np.arange(256, dtype=np.uint8)
    sign, exponent, mantissa = code & 0x80, (code >> 4) & 7, (code & 0x0F).astype(np.int32)
    magnitude = (((mantissa << 3) + 0x84) << exponent.astype(np.int32)) - 0x84
    return (np.where(sign, -magnitude, magnitude) / 32768.0).astype(np.float32)


def _a_law_table() -> Floats:
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    sign, exponent, mantissa = code & 0x80, (code >> 4) & 7, (code & 0x0F).astype(np.int32)
    linear = (mantissa << 4) + 8
    raised = (linear + 0x100) << np.maximum(exponent.astype(np.int32) - 1, 0)
    magnitude = np.where(exponent == 0, linear, raised)
    return (np.where(sign, magnitude, -magnitude) / 32768.0).astype(np.float32)


TABLES = {"audio/pcmu": _mu_law_table(), "audio/pcma": _a_law_table()}


def _nearest(table: Floats) -> tuple[Floats, Bytes]:
    """Borders between a law's values in order, and the codes between them."""
    order = np.argsort(table, kind="stable")
    values = table[order]
    borders = (values[1:] + values[:-1]) / np.float32(2)
    return borders.astype(np.float32), order.astype(np.uint8)


ENCODERS = {name: _nearest(table) for name, table in TABLES.items()}


class WireError(ValueError):
    """The sound of a message is not what its format says."""


def decode(audio: str, kind: str) -> Floats:
    """Base64 in format "audio/pcm", "audio/pcmu" or "audio/pcma" -> float32 [n].

    Raises WireError.
    """
    try:
        raw = base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError) as error:
        raise WireError(f"expected base64, got {error}") from error
    if kind != "audio/pcm":
        return TABLES[kind][np.frombuffer(raw, np.uint8)]
    if len(raw) % 2:
        raise WireError(f"expected whole samples of 16 bit, got {len(raw)} bytes")
    return np.frombuffer(raw, "<i2").astype(np.float32) / 32768.0


def encode(samples: Floats, kind: str) -> str:
    """float32 [n] -> base64 in such a format; what is out of range is clipped."""
    if kind == "audio/pcm":
        scaled = np.clip(np.round(samples * 32768.0), -32768, 32767)
        return base64.b64encode(scaled.astype("<i2").tobytes()).decode()
    borders, codes = ENCODERS[kind]
    return base64.b64encode(codes[np.searchsorted(borders, samples)].tobytes()).decode()


class Stream:
    """One direction of sound between two rates; none is resampled where they are the same."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._resampler = parley.Resampler(from_hz, to_hz) if from_hz != to_hz else None

    def push(self, samples: Floats) -> Floats:
        return samples if self._resampler is None else self._resampler.push(samples)

    def finish(self) -> Floats:
        """The rest; the stream begins anew."""
        if self._resampler is None:
            return np.zeros(0, dtype=np.float32)
        rest = self._resampler.finish()
        self._resampler.reset()
        return rest

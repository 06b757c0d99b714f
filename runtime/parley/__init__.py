"""parley: full-duplex spoken conversation with a speech model on your own machine.

>>> import parley
>>> samples, rate = parley.read_audio("question.wav")  # doctest: +SKIP
>>> with parley.open("bundle") as bundle, bundle.session() as session:  # doctest: +SKIP
...     answer = session.answer(samples, rate)
...     parley.write_wav("answer.wav", answer.samples, session.out_rate)
"""

from parley import log as _log
from parley._core import Resampler, __version__
from parley.audio import read_audio, write_wav
from parley.bundle import Bundle, open, read_manifest
from parley.errors import (
    BundleError,
    CancelledError,
    ContextError,
    Error,
    InputError,
    LibraryError,
)
from parley.events import Answer, Event, Step
from parley.live import AudioDevice, Live, LiveEvent, audio_devices
from parley.ops import ops_library
from parley.session import Session
from parley.tools import Tool
from parley.turns import TURN_TIMERS, Turn, summarize_turns

_log.start()

__all__ = [
    "TURN_TIMERS",
    "Answer",
    "AudioDevice",
    "Bundle",
    "BundleError",
    "CancelledError",
    "ContextError",
    "Error",
    "Event",
    "InputError",
    "LibraryError",
    "Live",
    "LiveEvent",
    "Resampler",
    "Session",
    "Step",
    "Tool",
    "Turn",
    "__version__",
    "audio_devices",
    "open",
    "ops_library",
    "read_audio",
    "read_manifest",
    "summarize_turns",
    "write_wav",
]

"""The public names: exactly these, each with a docstring."""

from __future__ import annotations

import inspect

import parley

NAMES = [
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


def test_names() -> None:
    assert parley.__all__ == NAMES
    for name in NAMES:
        assert hasattr(parley, name)


def test_everything_public_is_documented() -> None:
    assert parley.__doc__
    for name in NAMES:
        thing = getattr(parley, name)
        if name in ("__version__", "TURN_TIMERS"):
            continue
        assert (inspect.getdoc(thing) or "").strip(), name
        if inspect.isclass(thing):
            for member, value in vars(thing).items():
                if not member.startswith("_") and (callable(value) or isinstance(value, property)):
                    assert inspect.getdoc(value), f"{name}.{member}"


def test_errors_are_what_python_expects() -> None:
    for name in ("BundleError", "CancelledError", "ContextError", "InputError", "LibraryError"):
        assert issubclass(getattr(parley, name), parley.Error)
    assert issubclass(parley.Error, RuntimeError)
    assert issubclass(parley.InputError, ValueError)

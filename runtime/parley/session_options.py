"""What a session is asked for: its modes and options, checked; knows no engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from parley import arguments
from parley.arguments import LARGEST_INT, LARGEST_SEED

Mode = Literal["turns", "duplex", "managed"]

_NEEDED = ("seed", "prefill_budget")  # None does not stand for the bundle's own
_WHOLE = {
    "seed": (0, LARGEST_SEED),
    "prefill_budget": (0, LARGEST_INT),
    "top_k": (0, LARGEST_INT),
    "max_new_tokens": (1, LARGEST_INT),
}


def checked_options(options: dict[str, Any]) -> dict[str, Any]:
    """A session's options as the engine takes them; None stays, where the bundle's stands in."""
    where, checked = "bundle.session", dict(options)
    for name, value in options.items():
        if name in _WHOLE and (value is not None or name in _NEEDED):
            checked[name] = arguments.whole_number(where, name, value, *_WHOLE[name])
        elif name in ("temperature", "top_p") and value is not None:
            checked[name] = arguments.number(where, name, value)
        elif name in ("voice", "system") and value is not None:
            checked[name] = arguments.text(where, name, value)
        elif name in ("overlap", "text_only"):
            checked[name] = arguments.flag(where, name, value)
    return checked


def with_managed(modes: list[str]) -> list[str]:
    """The same, with what the engine makes of whole turns."""
    return [*modes, "managed"] if "turns" in modes else modes


def modes_of(manifest: Mapping[str, Any]) -> list[str]:
    """Of "turns", "duplex" and "managed" those that a bundle with this manifest can do."""
    return with_managed([mode for mode in ("turns", "duplex") if manifest.get(mode)])


def no_such_mode(mode: str, modes: list[str], name: str) -> str:
    """What to say where a bundle of that name has not that mode."""
    have = " and ".join(modes)
    if mode == "duplex":
        return (
            f"[bundle.session] expected a bundle with mode duplex, got {name!r}, which has {have}; "
            "export a checkpoint that is trained for full duplex with `parley export --duplex`, "
            "or use `--mode turns` (in Python mode='turns')"
        )
    return (
        f"[bundle.session] expected one of the modes of {name!r}, which are {have}, got {mode!r}; "
        "choose one of them"
    )

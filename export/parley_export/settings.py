"""How a checkpoint wants to be run: the optional file parley.json beside its config.json.

The published checkpoints have none and get the defaults. Knows no family, tensor or manifest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

from parley_export.config_section import is_plain_name
from parley_export.errors import Problems

FILE = "parley.json"
MAX_BYTES = 1 << 20

Ranges = dict[str, tuple[int, int]]
# What the engine's manifest reader takes; a test holds both together.
RANGES: Ranges = {
    "context": (1, 10**8),
    "window_positions": (1, 10**8),
    "max_reply_chunks": (1, 10**6),
    "fade_ms": (0, 1000),
    "duplex_temperature": (0, 100),
}


@dataclass(frozen=True)
class Settings:
    """What the manifest says beyond the configs. Every field is a key of parley.json.

    A family adds its own fields, and their ranges to RANGES.

    name: of the model, for people; null takes the checkpoint's.
    turns: whether the weights also answer whole turns; without, the bundle is for duplex alone.
    short_segments: in turns, the last segment of a turn, seldom full, is encoded without the
        silence that fills it up to 30 s, which costs as much less as it is shorter. Not as
        published: log-mel and positions are the same, but attention sees no silence, so features
        differ and `parley verify` says so. `parley bench encoder BUNDLE --threads 1` measures it:
        for 2, 5, 10 and 20 s of speech, random weights of the published shapes (a bundle that
        `parley bench shapes --stages encoder` leaves in ~/.cache/parley) take 16, 7, 3.5
        and 1.6 times less processor time, and their features are 0.40, 0.31, 0.30 and 0.18 of
        their root mean square away; those of the tiny test checkpoint 0.41, 0.26, 0.22 and 0.14.
        Random weights attend to all alike, silence too, and say nothing of trained ones: measure
        yours, and listen.
    system: the whole system prompt; null is our own, and `--system` goes before either.
    context: positions the backbone was trained for; null takes the config's, 8192 at most.
    duplex_prompt: what a duplex conversation begins with; {system} stands for the system prompt.
    window_positions: positions that a duplex conversation keeps, in whole chunks.
    max_reply_chunks: the longest duplex reply.
    fade_ms: in duplex, how fast an interrupted reply falls silent; in turns it is 20 ms.
    duplex_temperature: 0 is greedy.
    voices: name -> folder below the checkpoint with a voice's three arrays. The first is the
        default; `--voice` replaces them all.
    """

    name: str | None = None
    turns: bool = True
    short_segments: bool = False
    system: str | None = None
    context: int | None = None
    duplex_prompt: str = "<|im_start|>system\n{system}<|im_end|>\n"
    window_positions: int = 4096
    max_reply_chunks: int = 375  # 60 s
    fade_ms: int = 20
    duplex_temperature: float = 0.5
    voices: dict[str, str] = field(default_factory=dict)
    RANGES: ClassVar[Ranges] = RANGES


Kind = TypeVar("Kind", bound=Settings)


def read_settings(folder: Path, kind: type[Kind]) -> Kind:
    """parley.json of a checkpoint as a family's settings, or the defaults where it has none.

    Raises:
        BundleError: not JSON, unknown keys, or values that cannot be used; names all of them.
    """
    path = folder / FILE
    if not path.is_file():
        return kind()
    problems = Problems("settings.read", f"correct {FILE}; its keys are Settings' fields")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        data = json.loads(path.read_text("utf-8"))
        if not isinstance(data, dict):
            raise ValueError(type(data).__name__)
    except (ValueError, RecursionError) as e:
        problems.add(f"expected a JSON object in {path.name}, got {e}")
        problems.raise_if_any()
    known = {f.name: f for f in fields(kind)}
    hints = get_type_hints(kind)
    for key, value in data.items():
        if key not in known:
            problems.add(f"expected only known keys in {FILE}, got {key}")
        elif not _fits(value, hints[key]):
            problems.add(f"expected {known[key].type} for {key} in {FILE}, got {value!r}")
        elif (expected := _unusable(key, value, kind.RANGES)) is not None:
            problems.add(f"expected {expected} for {key} in {FILE}, got {value!r}")
    problems.raise_if_any()
    return kind(**data)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value is of a field's type."""
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if get_origin(hint) is dict:
        return isinstance(value, dict) and all(_inside(name, path) for name, path in value.items())
    if arms := get_args(hint):  # of a union
        return any(_fits(value, arm) for arm in arms)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is hint


def _unusable(key: str, value: Any, ranges: Ranges) -> str | None:
    """What a value of the right kind should be, None where the engine can use it."""
    if key in ranges and value is not None:
        least, most = ranges[key]
        # A comparison that NaN fails too.
        return None if least <= value <= most else f"{least} to {most}"
    if key == "name" and value == "":
        return "a name or null"
    if key == "duplex_prompt" and ("{" in value.replace("{system}", "", 1)):
        return "a text with {system} once or not at all, and no other {"
    return None


def _inside(name: str, path: Any) -> bool:
    """A plain name and a relative path that stays below the checkpoint."""
    return (
        is_plain_name(name)
        and isinstance(path, str)
        and not Path(path).is_absolute()
        and ".." not in Path(path).parts
    )

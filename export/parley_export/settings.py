"""How a checkpoint wants to be run: the optional file parley.json beside its config.json.

The published checkpoints have none and get the defaults. Knows no tensor and no manifest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from parley_export.errors import Problems

FILE = "parley.json"
MAX_BYTES = 1 << 20

# What the engine's manifest reader takes (cpp/src/bundle/manifest.cpp); a test holds both together.
RANGES: dict[str, tuple[int, int]] = {
    "context": (1, 10**8),
    "window_positions": (1, 10**8),
    "max_reply_chunks": (1, 10**6),
    "fade_ms": (0, 1000),
    "duplex_temperature": (0, 100),
    "flow_points": (2, 1000),
    "flow_guided": (0, 2000),
    "flow_prompt_codes": (0, 10**6),
    "past_codes": (0, 1024),
    "lookahead_codes": (0, 1024),
    "vocoder_lookahead_frames": (0, 10**6),
}


@dataclass(frozen=True)
class Settings:
    """What the manifest says beyond the configs. Every field is a key of parley.json.

    name: of the model, for people; null takes the checkpoint's.
    turns: whether the weights also answer whole turns; without, the bundle is for duplex alone.
    short_segments: in turns, the last segment of a turn, seldom full, is encoded without the
        silence that fills it up to 30 s, which costs as much less as it is shorter. Not as
        published: log-mel and positions are the same, but attention sees no silence, so features
        differ and `parley verify` says so. `parley bench encoder BUNDLE --threads 1` measures it:
        for 2, 5, 10 and 20 s of speech, random weights of the published shapes (a bundle that
        `parley bench --shapes full --stages encoder` leaves in ~/.cache/parley) take 16, 7, 3.5
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
    flow_mode: how the flow decoder streams: "window" computes voice prompt and past again with
        every chunk, "cached" keeps their keys and values. Whole utterances at once need no
        setting: `parley.open(flow={"mode": "exact"})` takes any bundle.
    flow_solver, flow_spacing, flow_points: "midpoint" or "euler" over time points that lie
        "linear" or "cosine"; null points takes the config's. flow_guided: on how many of the
        first evaluations guidance runs, null for all.
    flow_cache: type of the kept keys and values, "f32" or "f16"; null takes the graphs'.
    flow_prompt_codes: how many of a voice's last codes the flow decoder sees, 0 for all.
    past_codes, lookahead_codes: what it sees of the reply beside a chunk's own codes.
    vocoder_lookahead_frames: latent frames that the vocoder waits for; all that it can use at most.
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
    flow_mode: Literal["window", "cached"] = "cached"
    flow_solver: Literal["midpoint", "euler"] = "midpoint"
    flow_spacing: Literal["linear", "cosine"] = "linear"
    flow_points: int | None = None
    flow_guided: int | None = None
    flow_cache: Literal["f32", "f16"] | None = None
    flow_prompt_codes: int = 0
    past_codes: int = 16
    # One chunk of codes, so speech comes 160 ms later. The sweep on nano (BENCHMARKS.md), keys and
    # values cached: the seam at chunk borders falls from 1.42 without a look-ahead to 1.03, where
    # whole utterances have 1.02, and the distance that streaming adds from 0.23 to 0.20. Every
    # reply is heard either way, so nano itself takes 0 and answers sooner.
    lookahead_codes: int = 4
    # What its first convolution sees ahead. Behind that only filter tails are guessed, whatever the
    # weights: nano's samples are then 82 dB from the whole run's; with one frame less 43 dB.
    vocoder_lookahead_frames: int = 3
    voices: dict[str, str] = field(default_factory=dict)


def read_settings(folder: Path) -> Settings:
    """parley.json of a checkpoint, or the defaults where it has none.

    Raises:
        BundleError: not JSON, unknown keys, or values that cannot be used; names all of them.
    """
    path = folder / FILE
    if not path.is_file():
        return Settings()
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
    known = {f.name: f for f in fields(Settings)}
    for key, value in data.items():
        if key not in known:
            problems.add(f"expected only known keys in {FILE}, got {key}")
        elif not _fits(value, str(known[key].type)):
            problems.add(f"expected {known[key].type} for {key} in {FILE}, got {value!r}")
        elif (expected := _unusable(key, value)) is not None:
            problems.add(f"expected {expected} for {key} in {FILE}, got {value!r}")
    problems.raise_if_any()
    return Settings(**data)


def _fits(value: Any, kind: str) -> bool:
    """Whether a JSON value is of a field's annotated kind."""
    if value is None:
        return "None" in kind
    if kind == "bool":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if kind.startswith("int"):
        return isinstance(value, int)
    if kind == "float":
        return isinstance(value, int | float)
    if kind.startswith("Literal"):
        return isinstance(value, str) and repr(value) in kind
    if kind.startswith("str"):
        return isinstance(value, str)
    return isinstance(value, dict) and all(_inside(name, path) for name, path in value.items())


def _unusable(key: str, value: Any) -> str | None:
    """What a value of the right kind should be, None where the engine can use it."""
    if key in RANGES and value is not None:
        least, most = RANGES[key]
        # A comparison that NaN fails too.
        return None if least <= value <= most else f"{least} to {most}"
    if key == "name" and value == "":
        return "a name or null"
    if key == "duplex_prompt" and ("{" in value.replace("{system}", "", 1)):
        return "a text with {system} once or not at all, and no other {"
    return None


def _inside(name: str, path: Any) -> bool:
    """A plain name and a relative path that stays below the checkpoint."""
    if not name or not name.replace("_", "").replace("-", "").isalnum():
        return False
    return isinstance(path, str) and not Path(path).is_absolute() and ".." not in Path(path).parts

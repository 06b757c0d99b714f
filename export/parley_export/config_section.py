"""Reads one section of a checkpoint's config strictly; knows no architecture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parley_export.errors import BundleError

Section = Mapping[str, Any]
MAX_JSON_BYTES = 16 << 20


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of bounded size; raises BundleError."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        data = json.loads(path.read_text("utf-8"))
        if not isinstance(data, dict):
            raise ValueError(type(data).__name__)
    except (ValueError, RecursionError) as e:
        raise BundleError(
            f"[checkpoint.read_json] expected a JSON object in {path}, got {e}; fetch it again"
        ) from e
    return data


class SectionReader:
    """One section of a config; every refusal names the section and the key."""

    def __init__(self, name: str, section: Section) -> None:
        if not isinstance(section, Mapping):
            raise BundleError(
                f"[config.read] expected {name} to be a table, got {type(section).__name__};"
                " use the config.json of the checkpoint"
            )
        self.name, self.map = name, section

    def error(self, key: str, expected: object, got: object) -> BundleError:
        return BundleError(
            f"[config.read] expected {self.name}.{key} to be {expected}, got {got!r};"
            " this architecture cannot be exported otherwise"
        )

    def value(self, key: str) -> Any:
        if key not in self.map:
            raise BundleError(
                f"[config.read] expected key {self.name}.{key}, got none; complete the config"
            )
        return self.map[key]

    def section(self, key: str) -> Section:
        found: Section = self.value(key)
        return found

    def inner(self, key: str) -> SectionReader:
        """The section under `key`; its refusals name the way to it."""
        return SectionReader(f"{self.name}.{key}", self.section(key))

    def size(self, key: str, default: int | None = None) -> int:
        value = self.map.get(key) if default is not None else self.value(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.error(key, "a positive integer", value)
        return value

    def sizes(self, key: str) -> tuple[int, ...]:
        values = self.value(key)
        if not _are_sizes(values):
            raise self.error(key, "a list of positive integers", values)
        return tuple(values)

    def rows(self, key: str) -> tuple[tuple[int, ...], ...]:
        rows = self.value(key)
        if not isinstance(rows, list) or not all(map(_are_sizes, rows)):
            raise self.error(key, "lists of positive integers", rows)
        return tuple(map(tuple, rows))

    def number(self, key: str) -> float:
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, "a number", value)
        if not math.isfinite(value):
            raise self.error(key, "a finite number", value)
        return float(value)

    def expect(self, key: str, expected: object, *, absent: bool = False) -> None:
        if absent and key not in self.map:
            return
        if self.value(key) != expected:
            raise self.error(key, repr(expected), self.map[key])

    def divides(self, key: str, divisor: int, total: int) -> None:
        if total % divisor:
            raise self.error(key, f"a divisor of {total}", divisor)

    def only(self, known: frozenset[str]) -> None:
        unknown = sorted(set(self.map) - known)
        if unknown:
            raise BundleError(
                f"[config.read] expected only known keys in {self.name}, got {', '.join(unknown)};"
                " remove them or add what they mean to the architecture"
            )


def _are_sizes(values: Any) -> bool:
    """A list of positive integers that is not empty."""
    return (
        isinstance(values, list)
        and bool(values)
        and all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in values)
    )


def is_plain_name(name: Any) -> bool:
    """A text of letters, digits, _ and -: safe as a part of a path."""
    return isinstance(name, str) and name.replace("_", "").replace("-", "").isalnum()

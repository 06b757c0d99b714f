"""Reads fields of a client's message, and says in the protocol's words what is wrong with one."""

from __future__ import annotations

import math
from typing import Any

Message = dict[str, Any]
LARGEST = 2**53


class RefusedError(Exception):
    """What a client asked for is not done; the conversation goes on."""

    def __init__(
        self, code: str, message: str, param: str | None = None, kind: str = "invalid_request_error"
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.param, self.kind = code, message, param, kind


def wrong(param: str, expected: str, got: object, do: str = "") -> RefusedError:
    """A field that holds something else than it should."""
    shown = repr(got)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    message = f"[serve.{param}] expected {expected}, got {shown}" + (f"; {do}" if do else "")
    return RefusedError("invalid_value", message, param)


def need(message: Message, name: str) -> Any:
    if name not in message:
        raise RefusedError(
            "missing_required_parameter", f"[serve.{name}] expected {name}, got none; add it", name
        )
    return message[name]


def text(message: Message, name: str, longest: int = 1 << 20) -> str:
    value = need(message, name)
    if not isinstance(value, str) or len(value) > longest:
        raise wrong(name, f"a string of at most {longest} characters", value)
    return value


def optional_text(message: Message, name: str) -> str | None:
    return None if message.get(name) is None else text(message, name)


def whole(message: Message, name: str, least: int = 0, most: int = LARGEST) -> int:
    value = need(message, name)
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise wrong(name, f"a whole number of {least} to {most}", value)
    return value


def number(value: object, param: str, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise wrong(param, f"a number of {least:g} to {most:g}", value)
    return float(value)


def table(message: Message, name: str) -> Message:
    value = need(message, name)
    if not isinstance(value, dict):
        raise wrong(name, "an object", value)
    return value


def one_of(value: object, param: str, values: tuple[object, ...]) -> None:
    if not any(value == known and type(value) is type(known) for known in values):
        raise wrong(param, "one of " + ", ".join(map(str, values)), value)


def depth(value: object, most: int) -> bool:
    """Whether JSON is at most so deep."""
    level = [value]
    for _ in range(most):
        below: list[object] = []
        for one in level:
            below.extend(one.values() if isinstance(one, dict) else one)  # type: ignore[arg-type]
        level = [one for one in below if isinstance(one, (dict, list))]
        if not level:
            return True
    return False

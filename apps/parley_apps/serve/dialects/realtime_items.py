"""The items of a Realtime conversation in their order, bounded; knows no sound."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from parley_apps.serve.dialects.fields import Message, RefusedError, text, wrong

ROLES = {
    "user": ("input_text", "input_audio"),
    "system": ("input_text",),
    "developer": ("input_text",),
    "assistant": ("output_text", "output_audio", "text"),
}


def new_id(kind: str) -> str:
    """Such as "item_9f..."."""
    return f"{kind}_{secrets.token_hex(10)}"


@dataclass(slots=True)
class Spoken:
    """Where an answer lies on the timeline: from which sample on, and how many."""

    start: int
    samples: int = 0


class Items:
    """Ids in order; the oldest go where there are more than `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._items: dict[str, Message] = {}
        self.spoken: dict[str, Spoken] = {}

    def last(self) -> str | None:
        return next(reversed(self._items), None)

    def get(self, item_id: str) -> Message:
        """Raises RefusedError."""
        if item_id not in self._items:
            raise RefusedError(
                "item_not_found",
                f"[serve.item] expected an item of this conversation, got {item_id[:60]!r}; "
                "take an id that an event named",
                "item_id",
            )
        return self._items[item_id]

    def put(self, item: Message, after: str | None) -> str | None:
        """Puts it behind `after` ("root": first, None: last); returns the item before it."""
        name = item["id"]
        if after is None or after == self.last():
            before = self.last()
            self._items[name] = item
        elif after == "root":
            before = None
            self._items = {name: item, **self._items}
        else:
            self.get(after)
            before = after
            split = list(self._items).index(after) + 1
            rows = list(self._items.items())
            self._items = dict([*rows[:split], (name, item), *rows[split:]])
        while len(self._items) > self._most:
            self.drop(next(iter(self._items)))
        return before

    def drop(self, item_id: str) -> None:
        self.get(item_id)
        del self._items[item_id]
        self.spoken.pop(item_id, None)


def user_audio(item_id: str) -> Message:
    """The item of what a user said."""
    content = [{"type": "input_audio", "transcript": None}]
    return message(item_id, "user", content, "completed")


def message(item_id: str, role: str, content: list[Message], status: str) -> Message:
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "status": status,
        "role": role,
        "content": content,
    }


def checked(item: Message) -> Message:
    """A client's own message, whole. Raises RefusedError."""
    kind = text(item, "type", 100)
    if kind in ("function_call", "function_call_output"):
        raise RefusedError(
            "tools_unsupported",
            "[serve.item] expected a message, got a function call, which this model's prompts "
            "cannot hold; send messages",
            "item.type",
        )
    if kind != "message":
        raise wrong("item.type", "message", kind)
    role = text(item, "role", 100)
    if role not in ROLES:
        raise wrong("item.role", " or ".join(ROLES), role)
    content = item.get("content")
    if not isinstance(content, list) or len(content) > 100:
        raise wrong("item.content", "a list of parts", content)
    for part in content:
        if not isinstance(part, dict) or part.get("type") not in ROLES[role]:
            raise wrong("item.content", f"parts of type {' or '.join(ROLES[role])}", part)
        text(part, "audio" if part["type"] == "input_audio" else "text") if role == "user" else None
    item_id = item.get("id")
    if item_id is not None and (not isinstance(item_id, str) or not 0 < len(item_id) <= 64):
        raise wrong("item.id", "a string of at most 64 characters", item_id)
    parts = [{k: v for k, v in part.items() if k != "audio"} for part in content]
    return message(item_id or new_id("item"), role, parts, "completed")

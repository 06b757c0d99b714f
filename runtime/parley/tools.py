"""Tools that a model may call: what it is told of them, and who runs them; knows no session."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from parley.errors import InputError
from parley.events import Event


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call in a conversation.

    schema: as the model knows them, such as {"type": "function", "function": {"name": "weather",
    "description": "...", "parameters": {...}}}; the name may also stand at its top.
    run: called with the arguments (a dict) on a thread of its own while the conversation goes on;
    what it returns is told to the model, as JSON where it is no text, and so is what it raises.
    None: the caller looks for events of kind "call" and answers them by `Session.send_result`.
    """

    schema: Mapping[str, Any]
    run: Callable[[dict[str, Any]], object] | None = None

    @property
    def name(self) -> str:
        """Its name in calls."""
        inner = self.schema.get("function", self.schema)
        name = inner.get("name") if isinstance(inner, Mapping) else None
        if not isinstance(name, str) or not name:
            raise InputError(
                "[session.tools] expected a schema with the function's name, got "
                f"{dict(self.schema)}; add it"
            )
        return name


def schemas_of(tools: Sequence[Tool], mode: str | None = None) -> str:
    """JSON list of what the model is told in that mode; empty where there are none."""
    if tools and mode == "managed":
        raise InputError(
            "[session.tools] expected mode turns of a conversation with tools, got managed; leave "
            "one of both out"
        )
    for tool in tools:
        if not isinstance(tool, Tool):
            raise InputError(
                f"[session.tools] expected parley.Tool objects, got {type(tool).__name__}; wrap it"
            )
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        raise InputError(
            f"[session.tools] expected tools of different names, got {', '.join(names)}; rename one"
        )
    return json.dumps([dict(tool.schema) for tool in tools], ensure_ascii=False) if tools else ""


class Calls:
    """Calls under way, oldest first."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._running: list[tuple[str, Future[str]]] = []
        self._pool: ThreadPoolExecutor | None = None

    def begin(self, events: Sequence[Event]) -> None:
        """Runs what they call; a name or arguments that make no sense are told to the model."""
        for event in events:
            if event.kind != "call" or not self._tools:
                continue
            tool = self._tools.get(event.name)
            if tool is not None and tool.run is None:
                continue
            self._pool = self._pool or ThreadPoolExecutor(4, "parley-tool")
            self._running.append((event.name, self._pool.submit(_run, tool, event.text)))

    def done(self) -> Iterator[tuple[str, str]]:
        """Name and result of calls that ended, in the order in which they were made."""
        while self._running and self._running[0][1].done():
            name, call = self._running.pop(0)
            yield name, call.result()

    def wait(self) -> bool:
        """Until the oldest call ended; False where there is none."""
        if not self._running:
            return False
        wait([self._running[0][1]])
        return True

    def close(self) -> None:
        """Nobody waits for calls any more."""
        self._running.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def _run(tool: Tool | None, arguments: str) -> str:
    if tool is None or tool.run is None:
        return json.dumps({"error": "no such tool"})
    try:
        given = json.loads(arguments) if arguments.strip() else {}
        if not isinstance(given, dict):
            raise ValueError("arguments are no object")
        result = tool.run(given)
        return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    except Exception as error:  # a failure is a result too, whatever the tool raises
        return json.dumps({"error": f"{type(error).__name__}: {error}"}, ensure_ascii=False)

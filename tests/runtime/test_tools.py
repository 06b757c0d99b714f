"""Tools that a model calls: what it is told, who runs them, and when their results come."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

import parley
from parley.tools import schemas_of
from scripted_core import RATE, ScriptedSession, event, session

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {}}}


def call(name: str, arguments: str) -> Any:
    return event("call", text=f"{name}\n{arguments}")


def talk(tool: parley.Tool, arguments: str, name: str = "weather") -> ScriptedSession:
    """A reply that calls a tool, and one that answers its result."""
    core = ScriptedSession(
        [
            ("listening", []),
            ("speaking", [event("reply_started"), call(name, arguments)]),
            ("listening", [event("reply_ended")]),
        ]
    )
    session(core, tools=[tool]).answer(core.silence(), RATE)
    return core


def results(core: ScriptedSession) -> list[Any]:
    return [asked for asked in core.calls if isinstance(asked, tuple)]


def test_a_tool_is_run_and_its_result_sent() -> None:
    given: list[Any] = []
    tool = parley.Tool(WEATHER, lambda arguments: given.append(arguments) or {"sky": "blue"})
    core = talk(tool, '{"city": "Bonn"}')
    assert given == [{"city": "Bonn"}]
    assert results(core) == [("send_result", "weather", '{"sky": "blue"}')]


def test_the_conversation_goes_on_while_a_tool_runs() -> None:
    gate = threading.Event()
    core = ScriptedSession([("speaking", [call("weather", "{}")]), ("speaking", [])])
    tool = parley.Tool(WEATHER, lambda _: gate.wait(30) and "done")
    with session(core, tools=[tool]) as talking:
        for _ in range(3):
            talking.step(core.silence())
        assert results(core) == []
        gate.set()
        talking._calls.wait()
        talking.step(core.silence())
        assert results(core) == [("send_result", "weather", "done")]


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("weather", "{", "JSONDecodeError"),
        ("weather", "[1]", "no object"),
        ("weather", "{}", "ZeroDivisionError"),
        ("tides", "{}", "no such tool"),
    ],
)
def test_a_failure_is_a_result(name: str, arguments: str, told: str) -> None:
    core = talk(parley.Tool(WEATHER, lambda _: 1 / 0), arguments, name)
    ((_, called, content),) = results(core)
    assert called == name and told in json.loads(content)["error"]


def test_a_tool_without_a_function_is_left_to_the_caller() -> None:
    assert results(talk(parley.Tool(WEATHER), "{}")) == []


def test_what_the_model_is_told() -> None:
    assert schemas_of([]) == ""
    assert json.loads(schemas_of([parley.Tool(WEATHER)])) == [WEATHER]
    assert parley.Tool({"name": "tides"}).name == "tides"
    with pytest.raises(parley.InputError, match="the function's name"):
        schemas_of([parley.Tool({"type": "function"})])
    with pytest.raises(parley.InputError, match="different names"):
        schemas_of([parley.Tool(WEATHER), parley.Tool(WEATHER)])
    with pytest.raises(parley.InputError, match=r"parley\.Tool objects, got dict"):
        schemas_of([WEATHER])  # type: ignore[list-item]

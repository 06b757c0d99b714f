"""The session object of OpenAI Realtime: its defaults, how updates are merged, what it may hold."""

from __future__ import annotations

import copy
from typing import Any

from parley_apps.serve.dialects.fields import Message, RefusedError, number, one_of, wrong

FORMATS = ("audio/pcm", "audio/pcmu", "audio/pcma")
EAGERNESS_S = {"low": 8.0, "medium": 4.0, "auto": 4.0, "high": 2.0}
DETECTION: dict[str, Message] = {
    "server_vad": {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 500,
        "idle_timeout_ms": None,
        "create_response": True,
        "interrupt_response": True,
    },
    "semantic_vad": {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": True,
    },
}
# Taken and shown again; nothing here acts on them.
ONLY_ECHOED = ("tracing", "prompt", "include", "truncation", "reasoning", "parallel_tool_calls")
OWN = ("id", "object", "expires_at", "model", "type", "output_modalities", "instructions", "audio")
KNOWN = {*OWN, *ONLY_ECHOED, "tools", "tool_choice", "max_output_tokens", "parley", "capabilities"}


def default(session_id: str, model: str, expires_at: int, voice: str, native: bool) -> Message:
    """A new session's object; `native`: model or engine decide when to speak."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        "expires_at": expires_at,
        "output_modalities": ["audio"],
        "instructions": "",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "include": None,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": dict(DETECTION["semantic_vad" if native else "server_vad"]),
            },
            "output": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "voice": voice,
                "speed": 1.0,
            },
        },
    }


def merged(session: Message, update: Message) -> Message:
    """The session with what the update holds in its place, object by object.

    Another type of turn detection or of a format begins with that type's defaults.
    """
    result = copy.deepcopy(session)
    _merge(result, update)
    return result


def _merge(into: Message, update: Message) -> None:
    for name, value in update.items():
        old = into.get(name)
        if name == "turn_detection" and isinstance(value, dict):
            kind = value.get("type", old.get("type") if isinstance(old, dict) else "server_vad")
            same = isinstance(old, dict) and old.get("type") == kind
            begin = old if same else DETECTION.get(kind if isinstance(kind, str) else "", {})
            into[name] = {**begin, **value, "type": kind}  # type: ignore[dict-item]
        elif name == "format" and isinstance(value, dict):
            into[name] = dict(value)
        elif isinstance(old, dict) and isinstance(value, dict):
            _merge(old, value)
        else:
            into[name] = value


def checked(session: Message, voices: list[str]) -> Message:
    """The session as it will be shown. Raises RefusedError for what no session can have.

    A voice that the bundle has not, such as a hosted service's, is its own first one.
    """
    for name in session:
        if name not in KNOWN:
            raise RefusedError(
                "unknown_parameter",
                f"[serve.session] expected no {name[:60]!r}, got one; leave it out",
                f"session.{name[:60]}",
            )
    one_of(session.get("type"), "session.type", ("realtime",))
    if session["output_modalities"] not in (["audio"], ["text"]):
        raise wrong(
            "session.output_modalities", '["audio"] or ["text"]', session["output_modalities"]
        )
    if not isinstance(session["instructions"], str):
        raise wrong("session.instructions", "a string", session["instructions"])
    check_tokens(session["max_output_tokens"], "session.max_output_tokens")
    check_tools(session.get("tools"), "session.tools")
    audio = session["audio"]
    if not (isinstance(audio, dict) and all(isinstance(audio[k], dict) for k in audio)):
        raise wrong("session.audio", "an object with input and output", audio)
    if set(audio) != {"input", "output"}:
        raise wrong("session.audio", "input and output", sorted(audio))
    check_format(audio["input"]["format"], "session.audio.input.format")
    check_format(audio["output"]["format"], "session.audio.output.format")
    check_detection(audio["input"]["turn_detection"])
    number(audio["output"].get("speed", 1.0), "session.audio.output.speed", 1.0, 1.0)
    audio["output"]["voice"] = checked_voice(audio["output"].get("voice"), voices)
    return session


def checked_voice(voice: object, voices: list[str]) -> str:
    name = voice.get("id") if isinstance(voice, dict) else voice
    if not isinstance(name, str):
        raise wrong("session.audio.output.voice", "a name", voice)
    return name if name in voices else voices[0]


def check_tokens(value: object, param: str) -> None:
    if value != "inf":
        number(value, param, 1, 4096)


def check_tools(tools: object, param: str) -> None:
    if tools not in (None, []):
        raise RefusedError(
            "tools_unsupported",
            f"[serve.{param}] expected no tools, got some, which this model's prompts cannot "
            "hold; leave them out, or serve a bundle whose prompts can",
            param,
        )


def check_format(value: Any, param: str) -> None:
    if not isinstance(value, dict):
        raise wrong(param, "an object", value)
    one_of(value.get("type"), f"{param}.type", FORMATS)
    if value["type"] == "audio/pcm":
        one_of(value.setdefault("rate", 24000), f"{param}.rate", (24000,))


def check_detection(value: Any) -> None:
    param = "session.audio.input.turn_detection"
    if value is None:
        return
    if not isinstance(value, dict):
        raise wrong(param, "an object or null", value)
    one_of(value.get("type"), f"{param}.type", tuple(DETECTION))
    for name in ("create_response", "interrupt_response"):
        one_of(value[name], f"{param}.{name}", (True, False))
    if value["type"] == "semantic_vad":
        one_of(value["eagerness"], f"{param}.eagerness", tuple(EAGERNESS_S))
        return
    number(value["threshold"], f"{param}.threshold", 0, 1)
    number(value["prefix_padding_ms"], f"{param}.prefix_padding_ms", 0, 10_000)
    number(value["silence_duration_ms"], f"{param}.silence_duration_ms", 20, 10_000)
    one_of(value["idle_timeout_ms"], f"{param}.idle_timeout_ms", (None,))

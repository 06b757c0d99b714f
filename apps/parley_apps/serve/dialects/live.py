"""OpenAI Live over one conversation: `/v1/live/sessions`. No turns, no responses: sound and words.

The clock is the client's sound: the model hears as fast as it comes, and silence where none does.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

import parley
from parley.events import Floats
from parley_apps.serve.connection import Connection
from parley_apps.serve.conversation import Conversation, Options
from parley_apps.serve.dialects.fields import (
    Message,
    RefusedError,
    one_of,
    table,
    text,
    wrong,
)
from parley_apps.serve.dialects.realtime_config import check_tools, checked_voice
from parley_apps.serve.dialects.realtime_items import new_id
from parley_apps.serve.manager import BusyError, Seat, SessionManager, UnknownModelError
from parley_apps.serve.metrics import unix_time
from parley_apps.serve.timeline import Chunk, Failed, Happening, Text, VoiceStopped
from parley_apps.serve.wire_audio import Stream, WireError, decode, encode

RATES = {"audio/pcm": (16000, 24000), "audio/pcmu": (8000,), "audio/pcma": (8000,)}
USAGE_S = 10.0  # between two session.usage.updated
SESSION = {"model", "instructions", "audio", "client", "delegation", "input", "safety_identifier"}
SESSION |= {"store", "triggers"}
OF_TEXT = {f"session.{kind}.append" for kind in ("instructions", "thinking", "commentary")}
OF_TEXT |= {"response.item.create", "response.create", "decision.create"}
OF_TEXT |= {"decision.item.create", "decision.item.delete"}


class Live:
    """The protocol's side of a conversation, which begins with session.start."""

    def __init__(self, connection: Connection, manager: SessionManager) -> None:
        self._connection, self._manager = connection, manager
        self.seat: Seat | None = None
        self._conversation: Conversation | None = None
        self._session: Message = {}
        self._muted = False
        self._chunks = 0
        self._told_usage_s = 0.0
        self._expires = unix_time() + int(connection.limits.longest_s)
        self._handlers = {
            "session.start": self._start,
            "session.input_audio.append": self._append,
            "session.input_audio.mute": self._mute,
            "session.input_audio.unmute": self._unmute,
            "session.update": self._update,
            "session.close": self._close,
        }

    def _send(self, kind: str, asked: Message | None = None, /, **event: Any) -> None:
        """asked: the client's message that is answered."""
        answer = {"type": kind, "event_id": new_id("event"), **event}
        if asked is not None and isinstance(asked.get("event_id"), str):
            answer["client_event_id"] = asked["event_id"]
        self._connection.outbox.put(answer)

    async def start(self) -> None:
        """The client speaks first."""

    async def receive(self, message: Message) -> None:
        kind = message["type"]
        if kind in OF_TEXT:
            raise RefusedError(
                "unsupported_event",
                f"[serve.type] expected events of sound, got {kind}, which this model's prompts "
                "cannot hold; leave it out",
                "type",
            )
        if kind not in self._handlers:
            raise RefusedError(
                "unknown_event",
                f"[serve.type] expected an event of Live, got {kind[:60]!r}; "
                "see what the documentation lists",
                "type",
            )
        if kind != "session.start" and self._conversation is None:
            raise RefusedError(
                "session_not_started",
                f"[serve.type] expected session.start first, got {kind}; start the session",
                "type",
            )
        await self._handlers[kind](message)

    def refuse(self, refusal: RefusedError, event_id: str | None) -> None:
        error = {
            "type": refusal.kind,
            "code": refusal.code,
            "message": refusal.message,
            "param": refusal.param,
            "client_event_id": event_id,
        }
        self._send("error", error=error)

    def goodbye(self) -> None:
        self._send("info", code="server_shutting_down", message="the server shuts down")
        if self._conversation is not None:
            self._closed("expired", None)

    async def _start(self, message: Message) -> None:
        if self._conversation is not None:
            raise RefusedError(
                "session_already_started",
                "[serve.start] expected one session.start, got another; open another connection",
            )
        config = self._checked(table(message, "session"))
        try:
            self.seat = self._manager.admit(text(config, "model", 200))
        except UnknownModelError as error:
            raise RefusedError("model_not_found", str(error), "session.model") from error
        except BusyError as error:
            self.refuse(RefusedError("server_busy", str(error), kind="server_error"), None)
            return self._connection.end(
                1013, f"busy; try again in {self._connection.limits.busy_s} s"
            )
        await self._open(config, message)
        return None

    async def _open(self, config: Message, message: Message) -> None:
        assert self.seat is not None
        bundle = self.seat.served.bundle
        audio = config["audio"]
        voice = checked_voice(audio["output"].get("voice") or bundle.voices[0], bundle.voices)
        audio["output"]["voice"] = voice
        self._kind, self._hz = audio["format"]["type"], audio["format"]["rate"]
        self._hears = Stream(self._hz, bundle.rate)
        self._says = Stream(bundle.out_rate, self._hz)
        options = Options(voice=voice, system=config.get("instructions") or None)
        try:
            self._conversation = await self.seat.open(
                options, self.happened, room=lambda: self._connection.outbox.room
            )
        except parley.Error as error:
            await self.seat.leave()
            self.seat = None
            raise RefusedError("invalid_value", str(error), "session") from error
        self._session = {
            **config,
            "id": self.seat.id,
            "model": self.seat.served.name,
            "expires_at": self._expires,
            "status": "active",
        }
        self._send("session.started", message, session=self._session)
        if config.get("input"):
            told = "the model takes no text: what was said before is not known to it"
            self._send("info", code="input_ignored", message=told)

    def _checked(self, given: Message) -> Message:
        for name in given:
            if name not in SESSION:
                raise RefusedError(
                    "unknown_parameter",
                    f"[serve.session] expected no {name[:60]!r}, got one; leave it out",
                    f"session.{name[:60]}",
                )
        config = copy.deepcopy(given)
        if config.get("instructions") is not None:
            text(config, "instructions")
        if config.get("triggers") not in (None, []):
            raise wrong("session.triggers", "none: this server takes no decisions", given)
        self._check_delegation(config.get("delegation"))
        audio = config.setdefault("audio", None) or {}
        config["audio"] = audio
        if not isinstance(audio, dict):
            raise wrong("session.audio", "an object", audio)
        audio["output"] = audio.get("output") or {}
        audio["format"] = audio.get("format") or {"type": "audio/pcm", "rate": 24000}
        for name in ("output", "format"):
            table(audio, name)
        one_of(audio["format"].get("type"), "session.audio.format.type", tuple(RATES))
        rates = RATES[audio["format"]["type"]]
        one_of(audio["format"].setdefault("rate", rates[-1]), "session.audio.format.rate", rates)
        return config

    def _check_delegation(self, delegation: Any) -> None:
        """Nothing is ever delegated, whereto does not matter; but no tool would ever be called."""
        if delegation is None:
            return
        kind = delegation.get("type") if isinstance(delegation, dict) else delegation
        one_of(kind, "session.delegation.type", ("client", "responses"))
        responses = delegation.get("responses") or {}
        if not isinstance(responses, dict):
            raise wrong("session.delegation.responses", "an object", responses)
        check_tools(responses.get("tools"), "session.delegation.responses.tools")

    async def _update(self, message: Message) -> None:
        update = table(message, "session")
        for name in update:
            one_of(name, "session", ("delegation",))
        self._check_delegation(update.get("delegation"))
        self._session.update(copy.deepcopy(update))
        self._send("session.updated", message, session=self._session)

    async def _append(self, message: Message) -> None:
        assert self._conversation is not None
        audio = text(message, "audio", self._connection.limits.message_bytes)
        try:
            samples = decode(audio, self._kind)
        except WireError as error:
            told = f"[serve.audio] {error}; encode it so"
            raise RefusedError("invalid_value", told, "audio") from error
        self._connection.take_sound(samples.size / self._hz)
        if self._muted:
            samples = np.zeros_like(samples)
        self._conversation.hear(self._hears.push(samples))

    async def _mute(self, message: Message) -> None:
        self._muted = True
        self._send("session.input_audio.muted", message)

    async def _unmute(self, message: Message) -> None:
        self._muted = False
        self._send("session.input_audio.unmuted", message)

    async def _close(self, message: Message) -> None:
        self._closed("close_requested", message)
        self._connection.end(1000, "as asked")

    def _closed(self, reason: str, message: Message | None) -> None:
        self._send(
            "session.closed", message, reason=reason, session=self._session, usage=self._usage()
        )

    def _usage(self) -> Message:
        return {"seconds": round(self._seconds(), 2)}

    def _seconds(self) -> float:
        return self._chunks * (self._conversation.chunk_s if self._conversation else 0.0)

    def _ms(self, at: int) -> int:
        assert self._conversation is not None
        return round(1000 * at / self._conversation.out_rate)

    def happened(self, happening: Happening) -> None:
        """Tells the client."""
        assert self.seat is not None
        match happening:
            case Text(at, words):
                ends = self._ms(at) + round(self.seat.served.chunk_ms)
                starts = self._ms(at)
                self._send(
                    "session.output_transcript.delta", delta=words, start_ms=starts, end_ms=ends
                )
            case VoiceStopped() if self._conversation is not None:
                self._conversation.end_turn()
            case Chunk():
                self._chunks += 1
                self._sounded(happening.said)
                self._tell_usage()
            case Failed(_, error):
                shown = str(error) if isinstance(error, parley.Error) else "a fault of the server"
                self.refuse(RefusedError("server_error", shown, kind="server_error"), None)
                self._connection.end(1011, "the conversation failed")

    def _sounded(self, samples: Floats) -> None:
        """Sound goes out without a gap, silence too: clients take it for the model's clock."""
        assert self._conversation is not None
        delta = encode(self._says.push(samples), self._kind)
        event = {"type": "session.output_audio.delta", "delta": delta}
        self._connection.outbox.put(event, samples.size / self._conversation.out_rate)

    def _tell_usage(self) -> None:
        if self._conversation is None or self._seconds() - self._told_usage_s < USAGE_S:
            return
        assert self.seat is not None
        self._told_usage_s = self._seconds()
        context = int(self.seat.served.bundle.manifest["limits"]["context"])
        ratio = min(1.0, self._conversation.position / context)
        window = {"usage_ratio": round(ratio, 4)}
        self._send("session.usage.updated", usage=self._usage(), context_window=window)

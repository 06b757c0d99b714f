"""What happens in a conversation, in the events of OpenAI Realtime; knows no client's message.

Who decides when the model speaks: in `semantic_vad` a native duplex model does itself; `server_vad`
goes by the volume of the user's voice, which also ends a reply; null waits for response.create.
"""

from __future__ import annotations

from typing import Any

import parley
from parley_apps.serve.connection import Connection
from parley_apps.serve.conversation import Conversation
from parley_apps.serve.dialects import realtime_config, realtime_items
from parley_apps.serve.dialects.fields import Message, RefusedError
from parley_apps.serve.dialects.realtime_items import Items, new_id
from parley_apps.serve.dialects.realtime_response import Response, usage
from parley_apps.serve.manager import Seat
from parley_apps.serve.metrics import unix_time
from parley_apps.serve.timeline import (
    Chunk,
    Failed,
    Happening,
    NoReply,
    ReplyEnded,
    ReplyStarted,
    Sound,
    Text,
    VoiceStarted,
    VoiceStopped,
)
from parley_apps.serve.wire_audio import Stream, encode


class Told:
    """The server's half of the protocol: the session object, items, and the response under way."""

    def __init__(self, connection: Connection, seat: Seat) -> None:
        self._connection = connection
        self._seat = seat
        bundle = seat.served.bundle
        expires = unix_time() + int(connection.limits.longest_s)
        self.session = realtime_config.default(
            seat.id, seat.served.name, expires, bundle.voices[0], seat.served.mode != "turns"
        )
        self.items = Items(connection.limits.items)
        self.conversation: Conversation | None = None
        self.response: Response | None = None
        self._chunks = 0  # heard since the last response
        self._why = "client_cancelled"
        self._turn: str | None = None  # the item of what the user says now
        self._overlap: int | None = None  # where the user began over a reply, not yet told
        self._quiet: int | None = None  # since when; what the model decides by may still come
        self._uncommitted_s = 0.0
        self._take_formats()

    def send(self, kind: str, audio_s: float = 0.0, /, **event: Any) -> None:
        """Takes an event for the client."""
        self._connection.outbox.put({"type": kind, "event_id": new_id("event"), **event}, audio_s)

    def refuse(self, refusal: RefusedError, event_id: str | None) -> None:
        self.send(
            "error",
            error={
                "type": refusal.kind,
                "code": refusal.code,
                "message": refusal.message,
                "param": refusal.param,
                "event_id": event_id,
            },
        )

    def goodbye(self) -> None:
        why = "[serve.end] expected to serve on, got told to shut down; connect again later"
        self.refuse(RefusedError("server_shutting_down", why, kind="server_error"), None)

    @property
    def detection(self) -> Message | None:
        found: Message | None = self.session["audio"]["input"]["turn_detection"]
        return found

    @property
    def engine_decides(self) -> bool:
        """Whether model or engine hear by themselves when to speak and when to give way."""
        detection = self.detection
        by_turns = self.conversation is not None and self.conversation.turns
        return detection is not None and detection["type"] == "semantic_vad" and not by_turns

    def ms(self, at: int) -> int:
        """A place on the timeline in milliseconds."""
        return round(1000 * at / self._seat.served.bundle.out_rate)

    def _take_formats(self) -> None:
        audio, bundle = self.session["audio"], self._seat.served.bundle
        self._in, self._out = (audio[side]["format"]["type"] for side in ("input", "output"))
        hz = {kind: 24000 if kind == "audio/pcm" else 8000 for kind in (self._in, self._out)}
        self._in_hz = hz[self._in]
        rates = (hz[self._in], bundle.rate, hz[self._out], bundle.out_rate)
        if rates != getattr(self, "_rates", None):
            self._rates = rates
            self._hears = Stream(hz[self._in], bundle.rate)
            self._says = Stream(bundle.out_rate, hz[self._out])

    def _commit_turn(self) -> None:
        """What the user said until now becomes an item."""
        item_id, self._turn = self._turn or new_id("item"), None
        self._quiet = None
        self._uncommitted_s = 0.0
        item = realtime_items.user_audio(item_id)
        before = self.items.put(item, None)
        self.send("input_audio_buffer.committed", item_id=item_id, previous_item_id=before)
        self.send("conversation.item.added", previous_item_id=before, item=item)
        self.send("conversation.item.done", previous_item_id=before, item=item)
        if self.session["audio"]["input"].get("transcription"):
            self.send(
                "conversation.item.input_audio_transcription.failed",
                item_id=item_id,
                content_index=0,
                error={
                    "type": "transcription_error",
                    "code": "transcription_unsupported",
                    "message": "[serve.transcription] expected a model that writes down what it "
                    "hears, got one that does not; set audio.input.transcription to null",
                    "param": None,
                },
            )

    def _stop(self, why: str) -> None:
        """Ends the response; the engine's reply with it."""
        self._why = why
        if self.conversation is not None:
            self.conversation.interrupt()
        if self.response is not None:  # nothing of it was said yet
            self._finish("cancelled", why, usage(self._chunks, 0, 0))

    def happened(self, happening: Happening) -> None:
        """Tells the client."""
        match happening:
            case Chunk(at):
                self._chunks += 1
                self._waited(at)
            case VoiceStarted(at):
                self._voice_started(at)
            case VoiceStopped(at):
                self._voice_stopped(at)
            case ReplyStarted(at):
                self._reply_started(at)
            case Text(_, words):
                self._said(words)
            case Sound():
                self._sounded(happening)
            case ReplyEnded():
                self._reply_ended(happening)
            case NoReply():
                self._finish("completed", None, usage(self._chunks, 0, 0))
            case Failed():
                self._failed(happening.error)

    def _voice_started(self, at: int) -> None:
        detection = self.detection
        if detection is None:
            return
        speaking = self.response is not None and self.response.opened
        if speaking and self.engine_decides:
            self._overlap = at  # the model decides whether it gives way
            return
        if self._turn is None:
            self._speech_started(at)
        self._quiet = None
        if speaking and detection["interrupt_response"]:
            self._stop("turn_detected")

    def _speech_started(self, at: int) -> None:
        self._turn, self._overlap = new_id("item"), None
        self.send(
            "input_audio_buffer.speech_started", audio_start_ms=self.ms(at), item_id=self._turn
        )

    def _voice_stopped(self, at: int) -> None:
        self._overlap = None
        if self._turn is None or self.detection is None:
            return
        if self.engine_decides:
            self._quiet = at
            return
        self._speech_stopped(at)
        if self.detection["create_response"] and self.conversation is not None:
            self.conversation.end_turn()

    def _waited(self, at: int) -> None:
        """The turn is over without a reply where the model has waited for long enough."""
        detection = self.detection
        if self._quiet is None or detection is None or "eagerness" not in detection:
            return
        wait_ms = 1000 * realtime_config.EAGERNESS_S[detection["eagerness"]]
        if self.ms(at - self._quiet) >= wait_ms:
            self._speech_stopped(self._quiet)

    def _speech_stopped(self, at: int) -> None:
        self.send("input_audio_buffer.speech_stopped", audio_end_ms=self.ms(at), item_id=self._turn)
        self._commit_turn()

    def _reply_started(self, at: int) -> None:
        assert self.conversation is not None
        if self._turn is not None and self.detection is not None:
            self._speech_stopped(at if self._quiet is None else self._quiet)
        if self.response is None:
            if self.detection is None or not self.detection["create_response"]:
                self.conversation.interrupt()
                return
            self._why = "client_cancelled"
            self.response = Response(self.send, self.items, self.session, {})
        self.response.open(at)

    def _said(self, words: str) -> None:
        if (response := self.response) is None:
            return
        response.say(words)
        response.tokens += 1
        if isinstance(response.max_tokens, int) and response.tokens >= response.max_tokens:
            self._stop("max_output_tokens")

    def _sounded(self, sound: Sound) -> None:
        if (response := self.response) is None or not response.opened:
            return
        seconds = sound.samples.size / self._seat.served.bundle.out_rate
        delta = encode(self._says.push(sound.samples), self._out)
        response.sound(sound.samples.size, delta, seconds, **self.more_of(sound))

    def more_of(self, sound: Sound) -> Message:
        """What else a client is told with sound."""
        return {}

    def _reply_ended(self, reply: ReplyEnded) -> None:
        took = usage(self._chunks, reply.text_tokens, reply.audio_tokens)
        self._says.finish()
        if self._overlap is not None and self.detection is not None:
            self._speech_started(self._overlap)
        if reply.reason == "interrupted":
            status = "incomplete" if self._why == "max_output_tokens" else "cancelled"
            self._finish(status, self._why, took)
        elif reply.reason in ("max_tokens", "context"):
            self._finish("incomplete", "max_output_tokens", took)
        elif reply.overlapped and self.detection is not None:
            self._finish("cancelled", "turn_detected", took)
        else:
            self._finish("completed", None, took)

    def _finish(self, status: str, reason: str | None, took: Message, error: Any = None) -> None:
        if self.response is not None:
            response, self.response = self.response, None
            self._chunks = 0
            response.finish(status, reason, took, error)

    def _failed(self, error: Exception) -> None:
        shown = str(error) if isinstance(error, parley.Error) else "a fault of the server"
        self._finish("failed", None, usage(self._chunks, 0, 0), {"code": "server_error"})
        self.refuse(RefusedError("server_error", shown, kind="server_error"), None)
        self._connection.end(1011, "the conversation failed")

"""OpenAI Realtime (GA) over one conversation: `/v1/realtime`, its 11 client events.

What the server tells is in `realtime_told.py`.
"""

from __future__ import annotations

import numpy as np

import parley
from parley.events import Floats
from parley_apps.serve.connection import Connection
from parley_apps.serve.conversation import Conversation, Options
from parley_apps.serve.dialects import fields, realtime_config, realtime_items
from parley_apps.serve.dialects.fields import Message, RefusedError, table, text, whole
from parley_apps.serve.dialects.realtime_items import new_id
from parley_apps.serve.dialects.realtime_response import Response, usage
from parley_apps.serve.dialects.realtime_told import Told
from parley_apps.serve.manager import Seat
from parley_apps.serve.wire_audio import WireError, decode

NOT_ACTIVE = "Cancellation failed: no active response found"
NO_TEXT = "text_unsupported"
SILENCE_S = 0.5  # after which a voice has ended
LENIENT_MS = 200  # a client rounds, and counts what it was about to play


class Realtime(Told):
    """A client's half of the protocol; the conversation begins with the first sound or request."""

    def __init__(self, connection: Connection, seat: Seat) -> None:
        super().__init__(connection, seat)
        self._buffer: list[Floats] = []  # in push to talk: not yet committed,
        self._committed: list[Floats] = []  # and committed, but not yet answered
        self._typed: str | None = None
        self._handlers = {
            "session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
            "conversation.item.create": self._create_item,
            "conversation.item.retrieve": self._retrieve,
            "conversation.item.delete": self._delete,
            "conversation.item.truncate": self._truncate,
            "response.create": self._create,
            "response.cancel": self._cancel,
            "output_audio_buffer.clear": self._clear_output,
        }

    async def start(self) -> None:
        self.send("session.created", session=self.session)

    async def receive(self, message: Message) -> None:
        handler = self._handlers.get(message["type"])
        if handler is None:
            raise RefusedError(
                "unknown_event",
                f"[serve.type] expected an event of this protocol, got {message['type'][:60]!r}; "
                "see what the documentation lists",
                "type",
            )
        await handler(message)

    async def _update(self, message: Message) -> None:
        update = table(message, "session")
        voices = self._seat.served.bundle.voices
        try:
            merged = realtime_config.merged(self.session, update)
            session = realtime_config.checked(merged, voices)
        except (KeyError, TypeError, AttributeError) as error:
            raise fields.wrong("session", "a session's fields", update) from error
        for name in ("id", "object", "model", "expires_at"):
            session[name] = self.session[name]
        old, new = (s["audio"]["output"]["voice"] for s in (self.session, session))
        if self.conversation is not None and old != new:
            raise RefusedError(
                "cannot_update_voice",
                "[serve.session] expected the voice that the conversation began with, got "
                f"{new!r}; begin another session",
                "session.audio.output.voice",
            )
        was = self.detection
        self.session = session
        self._take_formats()
        self._listen_as_told(was)
        self.send("session.updated", session=session)

    def _listen_as_told(self, was: Message | None) -> None:
        """Takes the settings of turn detection over into the conversation."""
        conversation, detection = self.conversation, self.detection
        if conversation is None:
            return
        conversation.streaming = detection is not None
        if detection is None:
            return
        if detection["type"] == "server_vad":
            silence_s = detection["silence_duration_ms"] / 1000
            conversation.gate.set(detection["threshold"], silence_s)
        else:
            wait_s = realtime_config.EAGERNESS_S[detection["eagerness"]]
            conversation.gate.set(0.5, SILENCE_S if self.engine_decides else wait_s / 5)
        if was is None and self._buffer:
            conversation.hear(np.concatenate(self._buffer))
            self._buffer = []

    async def _append(self, message: Message) -> None:
        samples = self._decoded(text(message, "audio", self._connection.limits.message_bytes))
        seconds = samples.size / self._in_hz
        heard = self._hears.push(samples)
        if self.detection is None:
            waits = sum(piece.size for piece in (*self._buffer, *self._committed))
            if waits / self._seat.served.bundle.rate + seconds > self._connection.limits.buffer_s:
                raise RefusedError(
                    "input_audio_buffer_full",
                    f"[serve.append] expected at most {self._connection.limits.buffer_s:g} s in "
                    "the buffer, got more; commit and answer what is there, or clear it",
                    "audio",
                )
            self._buffer.append(heard)
            self._uncommitted_s += seconds
            return
        self._connection.take_sound(seconds)
        conversation = await self._begun()
        self._uncommitted_s += seconds
        conversation.hear(heard)

    def _decoded(self, audio: str) -> Floats:
        try:
            return decode(audio, self._in)
        except WireError as error:
            told = f"[serve.audio] {error}; encode it so"
            raise RefusedError("invalid_value", told, "audio") from error

    async def _begun(self) -> Conversation:
        """The conversation, which the first that needs it begins."""
        if self.conversation is None:
            by_turns = self._seat.served.mode != "duplex" and not self.engine_decides
            options = Options(
                mode="turns" if by_turns else None,
                voice=self.session["audio"]["output"]["voice"],
                system=self.session["instructions"] or None,
            )
            try:
                self.conversation = await self._seat.open(
                    options, self.happened, room=lambda: self._connection.outbox.room
                )
            except parley.Error as error:
                raise RefusedError("invalid_value", str(error), "session") from error
            self._listen_as_told(self.detection)
        return self.conversation

    async def _commit(self, message: Message) -> None:
        if self._uncommitted_s <= 0:
            raise RefusedError(
                "input_audio_buffer_commit_empty",
                "Error committing input audio buffer: the buffer is empty",
            )
        if self.detection is None:
            self._committed += [*self._buffer, self._hears.finish()]
            self._buffer = []
        elif self.conversation is not None:
            self.conversation.end_turn()
        self._turn = self._turn or new_id("item")
        self._commit_turn()

    async def _clear(self, message: Message) -> None:
        self._buffer = []
        self._uncommitted_s = 0.0
        self._hears.finish()
        if self.conversation is not None and self.detection is not None:
            self.conversation.drop_input()
        self.send("input_audio_buffer.cleared")

    async def _create_item(self, message: Message) -> None:
        given = table(message, "item")
        item = realtime_items.checked(given)
        sound = [self._decoded(p["audio"]) for p in given["content"] if p["type"] == "input_audio"]
        before = self.items.put(item, fields.optional_text(message, "previous_item_id"))
        if item["role"] == "user":
            self._committed += [self._hears.push(samples) for samples in sound]
            words = " ".join(p["text"] for p in item["content"] if p["type"] == "input_text")
            self._typed = words or None
        self.send("conversation.item.added", previous_item_id=before, item=item)
        self.send("conversation.item.done", previous_item_id=before, item=item)

    async def _retrieve(self, message: Message) -> None:
        item = self.items.get(text(message, "item_id"))
        self.send("conversation.item.retrieved", item=item)

    async def _delete(self, message: Message) -> None:
        item_id = text(message, "item_id")
        self.items.drop(item_id)
        self.send("conversation.item.deleted", item_id=item_id)

    async def _truncate(self, message: Message) -> None:
        item_id = text(message, "item_id")
        whole(message, "content_index", 0, 0)
        end_ms = whole(message, "audio_end_ms")
        item = self.items.get(item_id)
        spoken = self.items.spoken.get(item_id)
        if spoken is None:
            raise fields.wrong("item_id", "an item of the assistant's speech", item_id)
        if end_ms > self.ms(spoken.samples) + LENIENT_MS:
            raise RefusedError(
                "invalid_value",
                f"Audio content of {self.ms(spoken.samples)}ms is already shorter than {end_ms}ms",
                "audio_end_ms",
            )
        newest = item_id == next(reversed(self.items.spoken), None)
        active = self.response is not None and self.response.item_id == item_id
        free = self.conversation is not None and not self.conversation.replying
        if self.conversation is not None and newest and (active or free):
            rate = self._seat.served.bundle.out_rate
            self.conversation.interrupt(spoken.start + end_ms * rate // 1000)
        spoken.samples = min(spoken.samples, end_ms * self._seat.served.bundle.out_rate // 1000)
        item["content"] = [{"type": "output_audio", "transcript": ""}]
        self.send(
            "conversation.item.truncated", item_id=item_id, content_index=0, audio_end_ms=end_ms
        )

    async def _create(self, message: Message) -> None:
        asked = self._checked_request(message)
        if self.response is not None:
            raise RefusedError(
                "conversation_already_has_active_response",
                "Conversation already has an active response in progress: "
                f"{self.response.id}. Wait until the response is finished before creating a new "
                "one.",
            )
        conversation = await self._begun()
        self._why = "client_cancelled"
        self.response = Response(self.send, self.items, self.session, asked)
        typed, self._typed = self._typed, None
        waits, self._committed = self._committed, []
        if typed is not None:
            await self._answer_text(conversation, typed)
        elif waits:
            conversation.play(np.concatenate(waits))
        else:
            conversation.end_turn()
            conversation.ask()

    async def _answer_text(self, conversation: Conversation, typed: str) -> None:
        try:
            await conversation.say(typed)
        except parley.Error as error:
            failed = {"type": "invalid_request_error", "code": NO_TEXT, "message": str(error)}
            self._finish("failed", None, usage(0, 0, 0), failed)

    def _checked_request(self, message: Message) -> Message:
        asked: Message = {} if message.get("response") is None else table(message, "response")
        realtime_config.check_tools(asked.get("tools"), "response.tools")
        for name, fine in (("conversation", (None, "auto")), ("input", (None, []))):
            if asked.get(name) not in fine:
                raise RefusedError(
                    "unsupported_value",
                    f"[serve.response] expected a response within the conversation, got {name}; "
                    "leave it out",
                    f"response.{name}",
                )
        if "output_modalities" in asked and asked["output_modalities"] not in (["audio"], ["text"]):
            got = asked["output_modalities"]
            raise fields.wrong("response.output_modalities", '["audio"] or ["text"]', got)
        if "max_output_tokens" in asked:
            realtime_config.check_tokens(asked["max_output_tokens"], "response.max_output_tokens")
        if asked.get("metadata") is not None:
            metadata = table(asked, "metadata")
            if len(metadata) > 16 or not all(isinstance(v, str) for v in metadata.values()):
                raise fields.wrong("response.metadata", "at most 16 strings", metadata)
        return asked

    async def _cancel(self, message: Message) -> None:
        asked = fields.optional_text(message, "response_id")
        if self.response is None or asked not in (None, self.response.id):
            raise RefusedError("response_cancel_not_active", NOT_ACTIVE)
        self._stop("client_cancelled")

    async def _clear_output(self, message: Message) -> None:
        if self.response is not None and self.response.opened:
            self._stop("client_cancelled")

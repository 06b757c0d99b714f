"""`/v1/realtime?duplex=1`: Realtime with what a page needs to draw a duplex conversation.

Every event that is added is listed in `docs/serve_duplex.md`; no other client ever gets one.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Any

import parley
from parley_apps.serve.connection import Connection
from parley_apps.serve.conversation import Options
from parley_apps.serve.dialects.fields import Message, RefusedError, optional_text, text, whole
from parley_apps.serve.dialects.realtime import Realtime
from parley_apps.serve.keeper import Keeper
from parley_apps.serve.manager import Seat
from parley_apps.serve.timeline import (
    Chunk,
    Forgotten,
    Happening,
    ReplyEnded,
    ReplyStarted,
    Sound,
    VoiceStarted,
    VoiceStopped,
)

log = logging.getLogger("parley.serve")

KEPT_CHUNKS = 32  # 5 s: the most that a killed server forgets, but for a reply under way


class Duplex(Realtime):
    """Adds decisions, playback acknowledgements and costs."""

    def __init__(self, connection: Connection, seat: Seat, keeper: Keeper | None = None) -> None:
        super().__init__(connection, seat)
        self._keeper = keeper
        self._token = secrets.token_urlsafe(32)  # for who takes the conversation up
        self._keeping: asyncio.Task[None] | None = None
        self._unkept = 0  # chunks
        self._sequence = 0
        self._played_ms: dict[str, int] = {}
        self._over_reply = False  # the user's voice began while the model spoke
        bundle, served = seat.served.bundle, seat.served
        self.session["capabilities"] = {
            "mode": served.mode,
            "chunk_period_ms": served.chunk_ms,
            "input_sample_rate_hz": bundle.rate,
            "output_sample_rate_hz": bundle.out_rate,
            "voices": bundle.voices,
            "supports_barge_in": True,
            "supports_audio_truncate": True,
            "supports_session_resume": keeper is not None,
            "supports_text_input": "turns" in bundle.modes,
            "supports_tools": False,
            "notice": bundle.notice,
        }
        self._handlers |= {
            "session.heartbeat": self._heartbeat,
            "session.close": self._close,
            "session.resume": self._resume,
            "playback.ack": self._acknowledge,
            "barge_in": self._barge_in,
        }

    async def start(self) -> None:
        more = {} if self._keeper is None else {"resume_token": self._token}
        self.send("session.created", session=self.session, **more)

    def send(self, kind: str, audio_s: float = 0.0, /, **event: Any) -> None:
        super().send(kind, audio_s, server_event_seq=self._sequence, **event)
        self._sequence += 1

    def more_of(self, sound: Sound) -> Message:
        return {"start_ms": self.ms(sound.at)}

    def happened(self, happening: Happening) -> None:
        match happening:
            case VoiceStarted(at):
                self._over_reply = self.response is not None and self.response.opened
                self.send("turn.event", event="voice_started", at_ms=self.ms(at))
            case VoiceStopped(at):
                self.send("turn.event", event="voice_stopped", at_ms=self.ms(at))
                if self._over_reply and self.response is not None:
                    self._decide("drop", "the model talked on")
                self._over_reply = False
        super().happened(happening)
        match happening:
            case ReplyStarted(at) if self.response is not None:
                self.send("response.speak", response_id=self.response.id, at_ms=self.ms(at))
            case ReplyEnded():
                self._unkept += KEPT_CHUNKS
                if happening.overlapped:
                    self._decide("barge_in", "the model gave the floor back")
                self._over_reply = False
                self.send("response.listen", at_ms=self.ms(happening.at), reason=happening.reason)
            case Chunk():
                self._chunk(happening)
                self._unkept += 1
                if self._unkept >= KEPT_CHUNKS and self.response is None:
                    self._keep_beside()
            case Forgotten(at, positions):
                self.send("context.forgotten", at_ms=self.ms(at), positions=positions)

    def _decide(self, action: str, reason: str) -> None:
        self.send("overlap.decision", policy="model", action=action, reason=reason)

    def _chunk(self, chunk: Chunk) -> None:
        self.send(
            "duplex.chunk",
            index=chunk.index,
            at_ms=self.ms(chunk.at),
            floor=chunk.floor,
            decision=chunk.decision,
            cost_ms=round(chunk.timing_ms["total"], 3),
            budget_ms=self._seat.served.chunk_ms,
            stages_ms={k: round(v, 3) for k, v in chunk.timing_ms.items() if k != "total"},
            bottleneck=chunk.bottleneck,
            lag_ms=round(chunk.lag_ms, 1),
            heard_db=round(chunk.heard_db, 1),
            said_db=round(chunk.said_db, 1),
            voice=chunk.voice,
        )

    def _keep_beside(self) -> None:
        if self._keeper is not None and (self._keeping is None or self._keeping.done()):
            self._unkept = 0
            self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def _keep(self) -> None:
        """The conversation as it is now can be taken up from here on."""
        if self._keeper is None or self.conversation is None:
            return
        told = {"model": self.session["model"], "instructions": self.session["instructions"]}
        told["voice"] = self.session["audio"]["output"]["voice"]
        try:
            await self._keeper.keep(self.session["id"], self._token, self.conversation, told)
        except (OSError, parley.Error) as error:
            log.error("not kept", extra={"session": self.session["id"], "why": str(error)})

    async def left(self, ended: bool) -> None:
        """The client is gone; ended: as it wanted, so that nobody will come back."""
        if self._keeping is not None:
            await self._keeping
        if self._keeper is not None and ended:
            self._keeper.forget(self.session["id"])
        else:
            await self._keep()

    async def _resume(self, message: Message) -> None:
        """Takes up the conversation of a connection that was lost, as far as it was kept."""
        name, token = text(message, "session_id", 64), text(message, "resume_token", 128)
        if self.conversation is not None:
            raise RefusedError(
                "session_already_begun",
                "[serve.resume] expected it before all sound, got it later; begin with it",
            )
        kept = self._keeper.claim(name, token) if self._keeper is not None else None
        if kept is None or kept.told["model"] != self.session["model"]:
            raise RefusedError(
                "session_not_found",
                f"[serve.resume] expected a conversation that was kept, got {name[:60]!r}, which "
                "was not, or too long ago; go on with the new one",
                "session_id",
            )
        self.session["instructions"] = kept.told["instructions"]
        self.session["audio"]["output"]["voice"] = kept.told["voice"]
        try:
            self.conversation = await self._seat.open(
                Options(), self.happened, room=lambda: self._connection.outbox.room, kept=kept
            )
        except parley.Error as error:
            raise RefusedError("session_not_found", str(error), "session_id") from error
        finally:
            assert self._keeper is not None
            self._keeper.forget(name)
        self._listen_as_told(self.detection)
        self.conversation.interrupt()  # a reply that it was kept in the middle of
        at_ms = self.ms(self.conversation.at)
        self.send("session.resumed", session=self.session, session_id=name, at_ms=at_ms)

    async def _heartbeat(self, message: Message) -> None:
        self.send("session.heartbeat_ack")

    async def _close(self, message: Message) -> None:
        self.send("session.closed", reason="close_requested")
        self._connection.end(1000, "as asked")

    def goodbye(self) -> None:
        self.send("session.closed", reason="server_shutting_down")

    async def _acknowledge(self, message: Message) -> None:
        item_id = text(message, "item_id", 64)
        played = whole(message, "played_ms")
        self.items.get(item_id)
        spoken = self.items.spoken.get(item_id)
        made = self.ms(spoken.samples) if spoken else 0
        self._played_ms = {item_id: min(played, made)}
        waiting = round(1000 * self._connection.outbox.audio_s)
        self.send(
            "playback.acknowledged",
            item_id=item_id,
            played_ms=min(played, made),
            generated_ms=made,
            sent_ms=max(0, made - waiting),
        )

    async def _barge_in(self, message: Message) -> None:
        """Ends the reply under way, as heard up to `played_ms` or the last acknowledgement."""
        optional_text(message, "item_id")
        if self.response is None or not self.response.opened or self.conversation is None:
            return await self._cancel({"type": "response.cancel"})
        item_id = self.response.item_id
        if "played_ms" in message:
            self._played_ms = {item_id: whole(message, "played_ms")}
        played = self._played_ms.get(item_id)
        self._why = "turn_detected"
        start = self.items.spoken[item_id].start
        rate = self.conversation.out_rate
        self.conversation.interrupt(None if played is None else start + played * rate // 1000)
        return None

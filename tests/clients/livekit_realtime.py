"""livekit's OpenAI plugin: its models for Realtime and Live, without a room."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from common import ANSWER, BASE, blocks, part
from livekit import rtc
from livekit.agents import utils
from livekit.plugins.openai.realtime import GPTLiveModel, RealtimeModel

logging.disable(logging.WARNING)


class Talk:
    """A session and what came of it."""

    def __init__(self, model: Any) -> None:
        self.session = model.session()
        self.replies: list[list[Any]] = []  # of each: words, bytes of sound, whether it is over
        self.voices = 0
        self.errors: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.session.on("generation_created", self._generation)
        self.session.on("input_speech_started", self._voice)
        self.session.on("error", lambda event: self.errors.append(str(event.error)))

    def _voice(self, event: object) -> None:
        self.voices += 1

    def _generation(self, event: Any) -> None:
        reply: list[Any] = ["", 0, False]
        self.replies.append(reply)
        self._tasks.append(asyncio.create_task(self._read(event, reply)))

    async def _read(self, event: Any, reply: list[Any]) -> None:
        async for message in event.message_stream:

            async def words(message: Any = message) -> None:
                async for piece in message.text_stream:
                    reply[0] += str(piece)

            async def sound(message: Any = message) -> None:
                async for frame in message.audio_stream:
                    reply[1] += len(frame.data) * 2

            await asyncio.gather(words(), sound())
        reply[2] = True

    async def hear(self, name: str, replies: int) -> None:
        def ended() -> bool:
            return bool(self.errors) or sum(1 for r in self.replies if r[0] and r[2]) >= replies

        async for block in blocks(name, ended):
            self.session.push_audio(rtc.AudioFrame(block, 24000, 1, len(block) // 2))

    @property
    def said(self) -> list[str]:
        return [reply[0].strip() for reply in self.replies if reply[0]]


def model() -> Any:
    return RealtimeModel(model="nano", base_url=BASE, api_key="any")


async def talk(name: str, replies: int = 1) -> Talk:
    made = model()
    one = Talk(made)
    await one.hear(name, replies)
    await one.session.aclose()
    return one


async def turn() -> tuple[object, object]:
    one = await talk("question")
    ok = one.said == [ANSWER] and one.replies[-1][1] > 48000 and not one.errors
    return ok, one.errors or " | ".join(one.said)


async def barge_in() -> tuple[object, object]:
    one = await talk("interrupted", 2)
    ok = len(one.said) == 2 and one.voices > 1 and not one.errors
    return ok, one.errors or f"{one.voices} voices told | {' | '.join(one.said)}"


async def cancel() -> tuple[object, object]:
    one = Talk(model())
    one.session.interrupt()  # nothing is said
    await asyncio.sleep(1)
    await one.hear("question", 1)
    await one.session.aclose()
    return one.said == [ANSWER] and not one.errors, one.errors or "goes on: " + one.said[0]


async def generate() -> tuple[object, object]:
    """generate_reply() waits for its own metadata in response.created."""
    one = Talk(model())
    event = await one.session.generate_reply()
    await one.session.aclose()
    return event.user_initiated, "response.created came with its metadata"


async def live() -> tuple[object, object]:
    made = GPTLiveModel(model="nano", base_url=BASE, api_key="any")
    session = made.session()
    said: list[str] = []
    sound = 0
    errors: list[str] = []
    session.on("error", lambda event: errors.append(str(event.error)))
    session.on("transcript_delta", lambda event: said.append(event.text))
    await session._update_session(instructions="You help with a day.", tools=[])

    async def read() -> None:
        nonlocal sound
        async for frame in session.audio_stream:
            sound += len(frame.frame.data) * 2 if any(frame.frame.data) else 0

    reader = asyncio.create_task(read())
    await asyncio.sleep(1)  # the session has begun
    async for block in blocks("question", lambda: errors or "friday" in "".join(said)):
        session.push_audio(rtc.AudioFrame(block, 24000, 1, len(block) // 2))
    await session.aclose()
    reader.cancel()
    words = "".join(said).strip()
    return words == ANSWER and sound > 24000 and not errors, errors or words


async def main() -> None:
    async with utils.http_context.open():
        await part("spoken turn", turn)
        await part("barge-in", barge_in)
        await part("cancel while idle", cancel)
        await part("reconnect", turn)
        await part("generate_reply", generate)
        await part("Live: spoken turn", live)


asyncio.run(main())

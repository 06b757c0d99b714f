"""openai for Python: Realtime and Live over plain ws."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from common import ANSWER, BASE, blocks, part
from openai import AsyncOpenAI

client = AsyncOpenAI(base_url=BASE, api_key="any")


async def talk(connection: Any, name: str, replies: int = 1) -> list[Any]:
    """Plays a recording as it is spoken; the responses."""
    done: list[Any] = []

    async def read() -> None:
        async for event in connection:
            if event.type == "response.done":
                done.append(event.response)

    reader = asyncio.create_task(read())
    async for block in blocks(name, lambda: len(done) >= replies):
        await connection.input_audio_buffer.append(audio=base64.b64encode(block).decode())
    reader.cancel()
    return done


def words(response: Any) -> str:
    return str(response.output[0].content[0].transcript)


async def turn() -> tuple[object, object]:
    async with client.realtime.connect(model="nano") as connection:
        done = await talk(connection, "question")
    return words(done[0]) == ANSWER, words(done[0])


async def barge_in() -> tuple[object, object]:
    async with client.realtime.connect(model="nano") as connection:
        cut, whole = await talk(connection, "interrupted", 2)
    ok = cut.status_details.reason == "turn_detected" and whole.status == "completed"
    return ok, f"{words(cut)} | {words(whole)}"


async def cancel() -> tuple[object, object]:
    async with client.realtime.connect(model="nano") as connection:
        await connection.response.cancel()
        while (event := await connection.recv()).type != "error":
            pass
    return event.error.code == "response_cancel_not_active", event.error.code


async def reconnect() -> tuple[object, object]:
    connection = await client.realtime.connect(model="nano").enter()
    await connection.close()
    return await turn()


async def live() -> tuple[object, object]:
    said, closed = "", ""
    async with client.live.connect() as connection:
        await connection.send({"type": "session.start", "session": {"model": "nano"}})

        async def read() -> None:
            nonlocal said, closed
            async for event in connection:
                if event.type == "session.output_transcript.delta":
                    said += event.delta
                elif event.type == "session.closed":
                    closed = event.reason
                    return

        reader = asyncio.create_task(read())
        async for block in blocks("question", lambda: said.split() == ANSWER.split()):
            audio = base64.b64encode(block).decode()
            await connection.send({"type": "session.input_audio.append", "audio": audio})
        await connection.send({"type": "session.close"})
        await reader
    return closed == "close_requested", f"{said.strip()} | closed: {closed}"


async def main() -> None:
    await part("spoken turn", turn)
    await part("barge-in", barge_in)
    await part("cancel while idle", cancel)
    await part("reconnect", reconnect)
    await part("Live: spoken turn", live)


asyncio.run(main())

"""pipecat: pipelines around its services for Realtime and Live, which are strict about events."""

from __future__ import annotations

import asyncio
from typing import Any

from common import ANSWER, BASE, blocks, part
from loguru import logger
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    ProposedUserStartedSpeakingFrame,
    SpeechOutputAudioRawFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.live.llm import OpenAILiveLLMService
from pipecat.services.openai.realtime import events
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService

logger.remove()
URL = BASE.replace("http", "ws") + "/realtime"


class Ears(FrameProcessor):
    """Keeps what comes out of the service."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.sound = self.ends = self.interruptions = 0
        self.errors: list[str] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSTextFrame):
            self.words.append(frame.text)
        elif isinstance(frame, (TTSAudioRawFrame, SpeechOutputAudioRawFrame)):
            self.sound += len(frame.audio) if any(frame.audio) else 0
        elif isinstance(frame, LLMFullResponseEndFrame) and self.words:
            self.ends += 1
        elif isinstance(frame, ProposedUserStartedSpeakingFrame):
            self.interruptions += 1
        await self.push_frame(frame, direction)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split()) if self.words else ""


async def talk(
    name: str, ended: Any, cancel: bool = False, live: bool = False
) -> tuple[Ears, list[str]]:
    """A pipeline that hears a recording until `ended(ears)`."""
    service = OpenAILiveLLMService if live else OpenAIRealtimeLLMService
    url = URL.replace("/realtime", "/live/sessions") if live else URL
    llm = service(api_key="any", base_url=url, settings=service.Settings(model="nano"))
    ears, errors = Ears(), []
    task = PipelineTask(Pipeline([llm, ears]), params=PipelineParams(audio_in_sample_rate=24000))

    @llm.event_handler("on_error")
    async def failed(service: Any, error: ErrorFrame) -> None:
        errors.append(error.error)

    running = asyncio.create_task(PipelineRunner(handle_sigint=False).run(task))
    await task.queue_frame(LLMContextFrame(LLMContext([])))
    await asyncio.sleep(4 if cancel else 1)  # its first response.create is answered; Live has begun
    if cancel:
        await llm.send_client_event(events.ResponseCancelEvent())
    async for block in blocks(name, lambda: ended(ears) or errors):
        frame = InputAudioRawFrame(audio=block, sample_rate=24000, num_channels=1)
        await task.queue_frame(frame)
    await task.queue_frame(EndFrame())
    await asyncio.wait_for(running, 10)
    return ears, errors


async def turn() -> tuple[object, object]:
    ears, errors = await talk("question", lambda ears: ears.ends)
    return ears.text == ANSWER and ears.sound > 48000 and not errors, errors or ears.text


async def barge_in() -> tuple[object, object]:
    ears, errors = await talk("interrupted", lambda ears: "away" in ears.text)
    ok = ears.interruptions > 1 and not errors
    return ok, errors or f"{ears.interruptions} interruptions told | {ears.text}"


async def cancel() -> tuple[object, object]:
    ears, errors = await talk("question", lambda ears: ears.ends, cancel=True)
    return ears.text == ANSWER and not errors, errors or "goes on: " + ears.text


async def live() -> tuple[object, object]:
    ears, errors = await talk("question", lambda ears: "friday" in ears.text, live=True)
    return ears.text == ANSWER and ears.sound > 24000 and not errors, errors or ears.text


async def main() -> None:
    await part("spoken turn", turn)
    await part("barge-in", barge_in)
    await part("cancel while idle", cancel)
    await part("reconnect", turn)
    await part("Live: spoken turn", live)


asyncio.run(main())

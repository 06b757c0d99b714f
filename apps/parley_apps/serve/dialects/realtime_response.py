"""One response of OpenAI Realtime: which events it is told by, in which order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parley_apps.serve.dialects.fields import Message
from parley_apps.serve.dialects.realtime_items import Items, Spoken, message, new_id

Send = Callable[..., None]


class Response:
    """`send(type, audio_s=..., **fields)` takes events; options: what response.create asked for."""

    def __init__(self, send: Send, items: Items, session: Message, options: Message) -> None:
        self._send, self._items, self._session = send, items, session
        self.id = new_id("resp")
        self.item_id = new_id("item")
        wanted = {**session, **options}
        self.modalities: list[str] = wanted["output_modalities"]
        self.max_tokens: int | str = wanted["max_output_tokens"]
        self._metadata = options.get("metadata")
        self.opened = False
        self.text = ""
        self.tokens = 0
        send("response.created", response=self._as_object("in_progress", None))

    @property
    def speaks(self) -> bool:
        return bool(self.modalities == ["audio"])

    def open(self, start: int) -> None:
        """Its item begins, with the sound at sample `start` of the timeline."""
        self.opened = True
        self._spoken = self._items.spoken[self.item_id] = Spoken(start)
        self._item = item = message(self.item_id, "assistant", [], "in_progress")
        before = self._items.put(item, None)
        at = {"response_id": self.id, "output_index": 0}
        self._send("response.output_item.added", **at, item=item)
        self._send("conversation.item.added", previous_item_id=before, item=item)
        self._send("response.content_part.added", **self._place(), part=self._part())
        self._before = before

    def say(self, text: str) -> None:
        """More words."""
        text = text if self.text else text.lstrip()
        if not text:
            return
        self.text += text
        kind = "output_audio_transcript" if self.speaks else "output_text"
        self._send(f"response.{kind}.delta", **self._place(), delta=text)

    def sound(self, samples: int, delta: str, seconds: float, **more: Any) -> None:
        """More sound: `samples` on the timeline, encoded."""
        self._spoken.samples += samples
        if self.speaks:
            self._send("response.output_audio.delta", seconds, **self._place(), delta=delta, **more)

    def finish(self, status: str, reason: str | None, usage: Message, error: Any = None) -> None:
        """Tells its end. status: completed, cancelled, incomplete or failed."""
        if self.opened:
            self._close_item("completed" if status == "completed" else "incomplete")
        details: Message | None = None
        if status != "completed":
            details = {"type": status}
            details |= {"reason": reason} if reason else {}
            details |= {"error": error} if error else {}
        self._send("response.done", response=self._as_object(status, details, usage))

    def _close_item(self, status: str) -> None:
        if self.speaks:
            self._send("response.output_audio.done", **self._place())
            self._send(
                "response.output_audio_transcript.done", **self._place(), transcript=self.text
            )
        else:
            self._send("response.output_text.done", **self._place(), text=self.text)
        self._send("response.content_part.done", **self._place(), part=self._part())
        item = self._item
        item |= {"status": status, "content": [self._content()]}
        self._send("response.output_item.done", response_id=self.id, output_index=0, item=item)
        self._send("conversation.item.done", previous_item_id=self._before, item=item)

    def _place(self) -> Message:
        return {
            "response_id": self.id,
            "item_id": self.item_id,
            "output_index": 0,
            "content_index": 0,
        }

    def _part(self) -> Message:
        if self.speaks:
            return {"type": "audio", "audio": "", "transcript": self.text}
        return {"type": "text", "text": self.text}

    def _content(self) -> Message:
        if self.speaks:
            return {"type": "output_audio", "transcript": self.text}
        return {"type": "output_text", "text": self.text}

    def _as_object(self, status: str, details: Any, usage: Message | None = None) -> Message:
        output = self._session["audio"]["output"]
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": [self._item] if self.opened and usage else [],
            "output_modalities": self.modalities,
            "max_output_tokens": self.max_tokens,
            "conversation_id": "conv_" + self._session["id"].removeprefix("sess_"),
            "audio": {"output": {"format": output["format"], "voice": output["voice"]}},
            "metadata": self._metadata,
            "usage": usage,
        }


def usage(heard: int, text_tokens: int, audio_tokens: int) -> Message:
    """What a response took: chunks that were heard since the last one, tokens that were drawn."""
    return {
        "total_tokens": heard + text_tokens + audio_tokens,
        "input_tokens": heard,
        "output_tokens": text_tokens + audio_tokens,
        "input_token_details": {
            "text_tokens": 0,
            "audio_tokens": heard,
            "image_tokens": 0,
            "cached_tokens": 0,
            "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": text_tokens, "audio_tokens": audio_tokens},
    }

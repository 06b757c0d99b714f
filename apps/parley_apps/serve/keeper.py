"""Conversations that can be taken up again: where they are, and who may have them; no protocol.

Servers of one bundle may share a folder: what one kept, another takes up. A conversation is two
files: its state, under a new name each time, and a description that names the state and is replaced
at once, so that whatever ends a server, the last whole pair is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parley_apps.serve.conversation import Conversation

KEPT_S = 900.0  # how long after the last word of a conversation it may be taken up
ID = re.compile(r"sess_[0-9a-f]{24}")


@dataclass(frozen=True, slots=True)
class Kept:
    """state: what `Conversation.save` wrote; chunks: steps that it has come through; told: what
    the protocol wants to know of it again."""

    state: Path
    chunks: int
    told: dict[str, Any]


class Keeper:
    """A folder of conversations; created where it is missing, readable by its owner alone."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._looked = 0.0

    async def keep(
        self, name: str, token: str, conversation: Conversation, told: dict[str, Any]
    ) -> None:
        """Writes the conversation as it is between two steps; `told` is plain JSON.

        Raises OSError and parley.Error.
        """
        state = self._folder / f"{name}-{secrets.token_hex(4)}.state"
        chunks = await conversation.save(state)
        about = {
            "state": state.name,
            "chunks": chunks,
            "token_sha256": _digest(token),
            "kept_at": time.time(),
            "told": told,
        }
        new = self._folder / f"{name}.new"
        new.touch(mode=0o600)
        new.write_text(json.dumps(about))
        os.replace(new, self._about(name))
        self._remove(name, besides=state)
        if self._taken(name).exists():  # its client came back before this server saw it go
            self.forget(name)
        self._expire()

    def claim(self, name: str, token: str) -> Kept | None:
        """The conversation of that name, for the one who knows its token; nobody gets it twice."""
        if not ID.fullmatch(name):
            return None
        try:
            about = json.loads(self._about(name).read_text())
            if not hmac.compare_digest(about["token_sha256"], _digest(token)):
                return None
            if time.time() - about["kept_at"] > KEPT_S:
                return None
            os.rename(self._about(name), self._taken(name))  # the first who does it has it
        except FileNotFoundError:
            return None
        return Kept(self._folder / about["state"], about["chunks"], about["told"])

    def forget(self, name: str) -> None:
        """It was ended, or is taken up: nothing of it stays."""
        self._about(name).unlink(missing_ok=True)
        self._remove(name)

    def _about(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _taken(self, name: str) -> Path:
        return self._folder / f"{name}.taken"

    def _remove(self, name: str, besides: Path | None = None) -> None:
        for state in self._folder.glob(f"{name}-*.state"):
            if state != besides:
                state.unlink(missing_ok=True)

    def _expire(self) -> None:
        now = time.time()
        if now - self._looked < 60.0:
            return
        self._looked = now
        for path in self._folder.glob("sess_*"):
            with contextlib.suppress(FileNotFoundError):
                if now - path.stat().st_mtime > KEPT_S:
                    path.unlink()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()

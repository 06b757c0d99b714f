"""nano's bundle in the demo's conversation, as plain data for its tests; judges nothing.

`python tests/nano/bundle_run.py` writes the golden tokens anew, after the bundle was changed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import parley

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "models/nano/bundle"
RECORDING = ROOT / "apps/parley_apps/data/conversation.wav"
GOLDEN = Path(__file__).parent / "golden_bundle.json"
GOLDEN_S = 12.0  # of the conversation: two turns, a pause and a backchannel


@dataclass(frozen=True)
class Run:
    """A conversation: its events and the loudness of each chunk that came out."""

    events: list[parley.Event]
    levels: list[float]  # root mean square per chunk

    @property
    def replies(self) -> list[str]:
        """Texts of the replies in order."""
        found = [""]
        for event in self.events:
            if event.kind == "reply_ended":
                found.append("")
            found[-1] += event.text if event.kind == "text" else ""
        return [text.strip() for text in found if text]

    def times(self, kind: str) -> list[float]:
        """When the events of a kind happened, in seconds."""
        return [event.time_s for event in self.events if event.kind == kind]


def converse(folder: Path = BUNDLE) -> Run:
    """The demo's conversation with the bundle, in duplex, greedy, on one thread."""
    samples, rate = parley.read_audio(RECORDING)
    events: list[parley.Event] = []
    levels = []
    with parley.open(folder, threads=1) as bundle, bundle.session("duplex") as session:
        for step in session.play(samples, rate):
            events += step.events
            levels.append(float((step.samples**2).mean() ** 0.5))
    return Run(events, levels)


def tokens(run: Run) -> dict[str, list[Any]]:
    """What was drawn in the first seconds: [ms, kind] of controls, [ms, word], [ms, codes]."""
    found: dict[str, list[Any]] = {"control": [], "text": [], "codes": []}
    for event in run.events:
        ms = round(1000 * event.time_s)
        if event.time_s >= GOLDEN_S:
            break
        if event.kind in ("shift", "break"):
            found["control"].append([ms, event.kind])
        elif event.kind == "text" and event.text.strip():
            found["text"].append([ms, event.text.strip()])
        elif event.kind == "audio":
            found["codes"].append([ms, list(event.codes)])
    return found


def fingerprint() -> str:
    """Of the bundle and the recording that golden tokens belong to."""
    files = (BUNDLE / "manifest.json", RECORDING)
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def main() -> None:
    golden = {"fingerprint": fingerprint(), **tokens(converse())}
    lines = ",\n".join(f' "{key}": {json.dumps(value)}' for key, value in golden.items())
    GOLDEN.write_text("{\n" + lines + "\n}\n")
    print(f"{GOLDEN}: {len(golden['codes'])} chunks of speech")


if __name__ == "__main__":
    main()

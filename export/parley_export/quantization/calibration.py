"""What graphs and backbone read in real conversations; nothing of it is written to a disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from parley_export.errors import InputError

SUFFIXES = (".wav", ".flac")
RECORDINGS = 50  # at most, by chance
KEPT_RUNS = 64  # of a graph, spread over all
KEPT_BYTES = 1 << 30  # of all runs of a graph

Tell = Callable[[float], None]


@dataclass
class Seen:
    """What was read: inputs by graph, importance of the backbone's columns by weight."""

    runs: dict[str, list[dict[str, np.ndarray]]] = field(default_factory=dict)
    importance: Mapping[str, np.ndarray] = field(default_factory=dict)
    told: str = ""  # for a manifest: how much, and the hash of what was played


def recordings(path: Path) -> list[Path]:
    """A recording, or those of a folder: at most RECORDINGS of them, by chance, always the same.

    Raises InputError where there is none.
    """
    found = [path] if path.is_file() else sorted(p for p in path.glob("*") if p.suffix in SUFFIXES)
    if not found:
        raise InputError(
            f"[quantize.calibrate] expected recordings (WAV or FLAC) in {path}, got none; name a "
            "folder of what users say to the model"
        )
    chosen = np.random.default_rng(0).permutation(len(found))[:RECORDINGS]
    return [found[i] for i in sorted(chosen)]


class _Sample:
    """Runs of one graph, thinned as they come: each that is kept stands for as many others."""

    def __init__(self) -> None:
        self.runs: list[dict[str, np.ndarray]] = []
        self._every, self._n = 1, 0

    def add(self, inputs: dict[str, np.ndarray]) -> None:
        if self._n % self._every == 0:
            self.runs.append(inputs)
            size = sum(array.nbytes for array in inputs.values())
            if len(self.runs) >= 2 * max(1, min(KEPT_RUNS, KEPT_BYTES // max(1, 2 * size))):
                self.runs, self._every = self.runs[::2], 2 * self._every
        self._n += 1


def converse(bundle: Path, path: Path, *, importance: bool, tell: Tell = lambda done: None) -> Seen:
    """Plays recordings to a bundle, each a conversation of its own, and keeps what was read.

    Raises InputError where there are none, and whatever opening the bundle raises.
    """
    import parley

    samples: dict[str, _Sample] = {}
    files, seconds, digest = recordings(path), 0.0, hashlib.sha256()

    def see(graph: str, inputs: dict[str, np.ndarray]) -> None:
        samples.setdefault(graph, _Sample()).add(inputs)

    with parley.open(bundle, verify=False, on_run=see, importance=importance) as opened:
        for n, file in enumerate(files):
            tell(n / len(files))
            sound, rate = parley.read_audio(file)
            digest.update(hashlib.sha256(file.read_bytes()).digest())
            seconds += len(sound) / rate
            with opened.session() as session:
                for _ in session.play(sound, rate):
                    pass
        weights = dict(opened.importance())
    told = f"{len(files)} recordings, {seconds:.0f} s, sha256 {digest.hexdigest()}"
    return Seen({graph: sample.runs for graph, sample in samples.items()}, weights, told)


def spread(seen: Seen, graph: str) -> Iterator[dict[str, np.ndarray]]:
    """At most KEPT_RUNS runs of a graph. Raises InputError where it never ran."""
    runs = seen.runs.get(graph, [])
    if not runs:
        raise InputError(
            f"[quantize.{graph}] expected the conversations of --calibrate to use the graph "
            f"{graph}, got none that does; play recordings that the model answers"
        )
    yield from runs[:: max(1, -(-len(runs) // KEPT_RUNS))]

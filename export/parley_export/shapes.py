"""Bundles of a family's published shapes with random weights, to measure them; reads no checkpoint.

One bundle per stage holds that stage in full and the others small, so that a measurement needs the
memory of one stage. They lie in a folder named after the exporter's own sources, so that a changed
exporter makes new ones, and one that is there is not made again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parley_export import bundle, exporter, random_gguf, work
from parley_export.family import Checkpoint, Choices, Family
from parley_export.progress import MemoryWatch, size
from parley_export.random_weights import WHOLE
from parley_export.settings import Settings

PLAIN = "-plain"  # behind a stage: without the engine's own operators
WRITE_PER_S = 0.25e9  # bytes per second on two cores, random numbers and hashes included


@dataclass(frozen=True)
class Plan:
    """One bundle to make: which stage is in full, and what it will take."""

    family: Family
    stage: str
    folder: Path
    checkpoint: Checkpoint
    choices: Choices
    bytes: int
    done: bool

    @property
    def seconds(self) -> float:
        """A guess, from two cores."""
        return 0.0 if self.done else self.bytes / WRITE_PER_S

    @property
    def works(self) -> work.Works:
        """What runs of its graphs take."""
        parts = self.family.parts(self.checkpoint, self.choices)
        backbone = self.family.token_model(self.checkpoint).config
        graphs = {part.name: part.work for part in parts if part.work is not None}
        return work.Works(graphs, work.token_model(backbone), work.logits(backbone))


class RandomJob(exporter.Job):
    """An export whose backbone is written quantized instead of being quantized."""

    def _sources(self) -> dict[str, Path]:
        return {}

    def _licence(self) -> tuple[str | None, str, str]:
        return None, "none", "random weights of the published shapes: for measurements only"

    def _decoder(self, name: str) -> dict[str, Any]:
        model, precision = self.token_models[name]
        if precision != "q4_k_m":
            return super()._decoder(name)
        with self.progress.step(f"writing the {name}"):
            random_gguf.write_random_q4_k_m(
                self.folder / exporter.gguf_file(name),
                model,
                name=self.options.layout.name,
                progress=self.progress.update,
            )
        return {"precision": "q4_k_m", "types": "random Q4_K and Q6_K", "fallback": []}

    def _steps(self) -> dict[str, float]:
        return super()._steps() | {f"writing the {name}": 1.0 for name in self.token_models}


def plan(
    family: Family,
    cache: Path,
    stages: Iterable[str],
    settings: Settings,
    *,
    backbone: str,
    graphs: str,
) -> list[Plan]:
    """What there is and what is to be made for `stages`.

    They are of the family's stages or WHOLE, maybe with PLAIN behind.
    """
    plans = []
    for wanted in stages:
        stage, fused = wanted.removesuffix(PLAIN), not wanted.endswith(PLAIN)
        checkpoint = family.random(stage, settings)
        kind = backbone if stage in ("backbone", WHOLE) else "f32"
        name = f"{wanted}-{kind}-{graphs}-{_digest(settings)}"
        folder = cache / family.name / _digest(*_sources()) / name
        head = backbone if stage in ("head", WHOLE) else "f32"
        choices = Choices(
            backbone=kind, head=head, graphs=graphs, duplex=True, system="", fused=fused
        )
        total = sum(part.bytes for part in family.parts(checkpoint, choices))
        for model, precision in exporter.token_models(family, checkpoint, choices).values():
            total += model.estimated_bytes(precision)
        there = (folder / bundle.MANIFEST).is_file()
        plans.append(Plan(family, wanted, folder, checkpoint, choices, total, there))
    return plans


def make(wanted: Plan, memory: MemoryWatch) -> None:
    """Write one bundle, whole or not at all.

    Raises:
        OSError: the disk is full (nothing is written then) or cannot be written.
        LibraryError: a package of the extra `export` is missing.
    """
    if wanted.done:
        return
    wanted.folder.parent.mkdir(parents=True, exist_ok=True)
    bundle.check_space(wanted.folder.parent, int(1.05 * wanted.bytes) + exporter.SPARE_BYTES)
    options = exporter.Options(
        layout=wanted.checkpoint.layout, out=wanted.folder, **vars(wanted.choices)
    )
    exporter.write_bundle(RandomJob(wanted.family, options, wanted.checkpoint, memory))


def describe(plans: Iterable[Plan]) -> list[str]:
    """What will be made, in lines for people."""
    lines = []
    for wanted in plans:
        about = "is there" if wanted.done else f"to make, about {wanted.seconds:.0f} s"
        lines.append(f"  {wanted.stage:13s} {size(wanted.bytes):>8s}  {about}")
    return lines


def left_over(family: Family, cache: Path) -> list[Path]:
    """Folders that another version of the exporter made; nothing uses them any more."""
    ours = _digest(*_sources())
    return sorted(
        path for path in cache.glob(f"{family.name}/*/") if path.name != ours and path.is_dir()
    )


def _sources() -> list[bytes]:
    files = sorted(Path(__file__).parent.rglob("*.py"))
    return [path.read_bytes() for path in [*files, *Path(__file__).parent.rglob("*.json")]]


def _digest(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else repr(part).encode())
    return digest.hexdigest()[:8]

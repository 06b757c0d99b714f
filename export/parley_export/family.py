"""What a family of checkpoints is to the exporter: values and functions; knows no family."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from parley_export.backbone_gguf import TokenModel
from parley_export.graph_builder import GraphInfo
from parley_export.loading import Module
from parley_export.manifest import Sections
from parley_export.settings import Settings
from parley_export.tokenizer import Tokenizer
from parley_export.voices import Voice
from parley_export.weights import Shards
from parley_export.work import Work


@dataclass(frozen=True)
class Places:
    """Where a user says that parts of a checkpoint lie, None for the usual place."""

    decoder_config: Path | None = None
    token2wav: Path | None = None
    voice: Path | None = None


USUAL = Places()


@dataclass(frozen=True)
class Layout:
    """Where a checkpoint lies; a family adds where its own parts are."""

    folder: Path
    name: str  # of the model, for people
    location: str  # where it came from: a folder's name or a repository at a commit


@dataclass(frozen=True)
class Checkpoint:
    """A checked checkpoint, to which a family adds its own. Tensors stay in their files."""

    layout: Layout
    tokenizer: Tokenizer
    shards: Shards
    settings: Settings

    def read(self, name: str) -> Any:
        """A torch tensor by its full name, in the file's own type."""
        return self.shards.read(name)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """How a user wants a bundle."""

    backbone: str = "q4_k_m"
    head: str = "q8_0"  # of a family that has one, see Family.head_model
    graphs: str = "f32"
    vocoder: str | None = None  # its graph's precision, where it is not that of `graphs`
    duplex: bool = False
    system: str | None = None
    fused: bool = True  # the engine's own operators where they are faster

    @property
    def graph_bytes(self) -> int:
        """Of one weight of a graph."""
        return 2 if self.graphs == "f16" else 4


@dataclass(frozen=True)
class Probe:
    """One run on made-up inputs: what a graph is fed, states apart, and its modules' own way.

    run: graph output -> the modules' value, for those that the modules have.
    """

    feeds: Mapping[str, np.ndarray]
    run: Callable[[], dict[str, Tensor]]


@dataclass(frozen=True)
class Part:
    """One graph of a bundle.

    name: one of contract.py's. modules: what it is made from. export: writes it,
    `export(*modules, path, **choices)`. bytes: about what its weights take. probe:
    `probe(*modules)`, for looking inside. work: of a run, for the manifest; None for a graph whose
    share of a chunk's cost is not worth counting.
    """

    name: str
    modules: tuple[Module, ...]
    export: Callable[..., GraphInfo]
    bytes: int
    choices: Mapping[str, Any] = field(default_factory=dict)
    probe: Callable[..., Probe] | None = None
    work: Work | None = None


# A number of a golden file: key, kind (of apps' table of tolerances), ours, the golden one.
Compared = tuple[str, str, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Family:
    """One kind of checkpoint. Functions take what the family's own `read` gave.

    name: in the manifest; the engine's table of families holds the same.
    title: for people.
    files: patterns of what is fetched from a repository, data only.
    notice: what a user must be shown where the licence is not known to be open.
    locate: folder, places, location -> layout; names every part that is missing.
    read: reads configs, tokenizer and voices, maps the weights, checks all of it.
    check: refuses choices that the checkpoint does not serve, before any work.
    parts: the graphs of a bundle, those that share modules one after another.
    token_model: the backbone for its GGUF file. head_model: the same of a second decoder, which
        makes codes of the backbone's states; none where the backbone makes them itself.
    sections: the manifest's sections that the exporter does not know itself.
    write_voices: writes them into the bundle's folder, gives the manifest's entries.
    sources: name in the manifest -> every file that the bundle is made from.
    stages: of which `random` makes the published sizes.
    golden: checkpoint, bundle's folder, its manifest, arrays of a golden file -> what both have,
        the bundle's files run outside of the engine; none where that is not written.
    random: stage (or "whole"), settings -> a checkpoint of random weights for measurements, the
        named stage with the published sizes and the others small.
    make_voice: samples [n] of one speaker, their rate, the decoder's folder, a new folder -> a
        voice, written there as --voice takes it; where checkpoints hold models for that.
    """

    name: str
    title: str
    files: tuple[str, ...]
    notice: str
    settings: type[Settings]
    stages: tuple[str, ...]
    locate: Callable[[Path, Places, str], Layout]
    read: Callable[[Any], Checkpoint]
    check: Callable[[Any, Choices], None]
    parts: Callable[[Any, Choices], list[Part]]
    token_model: Callable[[Any], TokenModel]
    sections: Callable[[Any, Choices], Sections]
    write_voices: Callable[[Any, Path], dict[str, Any]]
    sources: Callable[[Any], dict[str, Path]]
    random: Callable[[str, Any], Checkpoint]
    head_model: Callable[[Any], TokenModel] | None = None
    golden: Callable[[Any, Path, Any, Mapping[str, np.ndarray]], Iterator[Compared]] | None = None
    make_voice: Callable[[np.ndarray, int, Path, Path], Voice] | None = None

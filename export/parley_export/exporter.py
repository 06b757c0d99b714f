"""The way from a checkpoint to a bundle, step by step; knows no terminal and no exit code."""

from __future__ import annotations

import importlib.metadata
import os
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from parley_export import backbone_gguf, bundle, loading
from parley_export.errors import InputError
from parley_export.families.covo_audio import (
    encoder_graphs,
    flow_graphs,
    manifest,
    vocoder_graphs,
    voices,
)
from parley_export.families.covo_audio.checkpoint import (
    Checkpoint,
    Configs,
    Layout,
    licence_file,
    read_checkpoint,
    sha256,
    source_files,
)
from parley_export.progress import MemoryWatch, Progress, size
from parley_export.quantize import FILE_TYPES, quantize, require_llama
from parley_export.settings import Settings

BACKBONE_FILE = "backbone.gguf"
SOURCE_FILE = "backbone.source.gguf"  # what is quantized; never part of the bundle
SPARE_BYTES = 64 << 20  # manifest, voices, graph nodes
GRAPHS = {
    "encoder_segment": encoder_graphs.export_encoder_segment,
    "encoder_chunk": encoder_graphs.export_encoder_chunk,
    "flow_condition": flow_graphs.export_flow_condition,
    "flow_modulation": flow_graphs.export_flow_modulation,
    "flow_field": flow_graphs.export_flow_field,
    "vocoder": vocoder_graphs.export_vocoder,
}
PACKAGES = ("torch", "numpy", "onnx", "gguf", "safetensors", "llama_cpp_python")

# Speed measured on two cores at the published shapes, for the estimate only.
HASH_PER_S, WRITE_PER_S, QUANTIZE_PER_S = 0.8e9, 0.4e9, 15e6  # bytes, bytes, weights


@dataclass(frozen=True)
class Options:
    """What the user chose."""

    layout: Layout
    out: Path
    backbone: str = "q4_k_m"
    graphs: str = "f32"
    vocoder: str | None = None  # its graph's precision, where it is not that of `graphs`
    duplex: bool = False
    system: str | None = None
    force: bool = False
    fused: bool = True  # the engine's own operators where they are faster


@dataclass
class Report:
    """What came out, for people and programs."""

    bundle: str
    bytes: int = 0
    seconds: float = 0.0
    peak_anonymous_bytes: int | None = None
    backbone: dict[str, Any] = field(default_factory=dict)
    graphs: dict[str, str] = field(default_factory=dict)
    licence: str = ""
    notice: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def export_bundle(options: Options, memory: MemoryWatch) -> Report:
    """Read and check everything, then write the bundle and move it into place.

    Raises:
        InputError, BundleError, LibraryError, OSError: nothing is left behind then.
    """
    bundle.check_target(Path(os.path.abspath(options.out)), options.force)
    if options.backbone in FILE_TYPES:
        require_llama()
    checkpoint = read_checkpoint(options.layout)
    if options.duplex:
        manifest.check_duplex(checkpoint.configs, checkpoint.tokenizer, checkpoint.settings)
    elif not checkpoint.settings.turns:
        raise InputError(
            "[export.start] expected --duplex for a checkpoint whose parley.json says that it has "
            "no whole turns, got none; add --duplex"
        )
    bundle.check_space(Path(os.path.abspath(options.out)).parent, needed_bytes(checkpoint, options))
    return write_bundle(Job, checkpoint, options, memory)


def write_bundle(
    kind: type[Job], checkpoint: Checkpoint, options: Options, memory: MemoryWatch
) -> Report:
    """Write the bundle of a checked checkpoint and move it into place."""
    begin = time.monotonic()
    with bundle.PartialBundle(options.out, options.force) as partial:
        job = kind(options, checkpoint, partial.folder, memory)
        try:
            report = job.run()
        finally:
            job.progress.close()
        partial.commit()
    report.seconds = time.monotonic() - begin
    report.peak_anonymous_bytes = memory.peak
    return report


def needed_bytes(checkpoint: Checkpoint, options: Options) -> int:
    """The largest use of the disk during an export, a few percent above what it takes."""
    backbone = backbone_gguf.estimated_bytes(checkpoint.configs.backbone, options.backbone)
    extra = 0
    if options.backbone in FILE_TYPES:
        extra = _source_bytes(checkpoint)
    parts = part_bytes(checkpoint, options)
    return int(1.03 * (backbone + max(extra, sum(parts.values())))) + SPARE_BYTES


def _source_bytes(checkpoint: Checkpoint) -> int:
    names = backbone_gguf.expected_tensors(checkpoint.configs.backbone)
    return sum(checkpoint.shards.tensors[name].nbytes for name in names)


def part_bytes(checkpoint: Checkpoint, options: Options) -> dict[str, int]:
    """Graph -> about how many bytes its weights take."""
    return part_bytes_of(
        checkpoint.configs, checkpoint.settings, duplex=options.duplex, graphs=options.graphs
    )


def part_bytes_of(
    configs: Configs, settings: Settings, *, duplex: bool, graphs: str
) -> dict[str, int]:
    """The same from sizes alone."""
    width = 2 if graphs == "f16" else 4
    weights = {
        part: width
        * sum(
            _product(shape)
            for shape in loading.module_shapes(**{part: getattr(configs, part)}).values()
        )
        for part in loading.PARTS
    }
    hearing = weights["encoder"] + weights["adapter"]
    parts = {"encoder_segment": hearing} if settings.turns else {}
    if duplex:
        parts["encoder_chunk"] = hearing
    flow = configs.flow
    known = width * flow.codes * flow.code_width
    # Nearly all of the modulation graph is one linear layer per block.
    modulation = width * (6 * flow.layers + 2) * flow.hidden * flow.hidden
    parts["flow_condition"] = known
    parts["flow_modulation"] = modulation
    parts["flow_field"] = max(0, weights["flow"] - known - modulation)
    parts["vocoder"] = weights["vocoder"]
    return parts


def _product(shape: tuple[int, ...]) -> int:
    n = 1
    for extent in shape:
        n *= extent
    return n


class Job:
    """One export under way: the checked checkpoint, the folder it goes to, and its progress."""

    def __init__(self, options: Options, checkpoint: Checkpoint, folder: Path, memory: MemoryWatch):
        self.options = options
        self.checkpoint = checkpoint
        self.folder = folder
        self.memory = memory
        self.parts = part_bytes(checkpoint, options)
        self.sources = self._sources()
        self.progress = Progress(self._steps())

    def _sources(self) -> dict[str, Path]:
        return source_files(self.checkpoint.layout, self.checkpoint.shards)

    def _licence(self) -> tuple[str | None, str, str]:
        """The checkpoint's licence text, its name, and what the user must be shown."""
        file = licence_file(self.checkpoint.layout)
        text = None if file is None else file.read_text("utf-8", "replace")
        return text, *manifest.licence_and_notice(text)

    def _steps(self) -> dict[str, float]:
        config = self.checkpoint.configs.backbone
        sources = sum(path.stat().st_size for path in self.sources.values())
        result = backbone_gguf.estimated_bytes(config, self.options.backbone)
        steps = {"hashing the checkpoint": sources / HASH_PER_S}
        if self.options.backbone in FILE_TYPES:
            source = _source_bytes(self.checkpoint)
            weights = backbone_gguf.elements(config)
            steps["copying the backbone"] = source / WRITE_PER_S
            steps[f"quantizing to {self.options.backbone}"] = weights / QUANTIZE_PER_S
        else:
            steps["writing the backbone"] = result / WRITE_PER_S
        for name, n_bytes in self.parts.items():
            steps[f"graph {name}"] = n_bytes / WRITE_PER_S
        steps["hashing the bundle"] = (result + sum(self.parts.values())) / HASH_PER_S
        return steps

    def run(self) -> Report:
        report = Report(bundle=os.path.abspath(self.options.out))
        licence, report.licence, report.notice = self._licence()
        self.progress.note(f"notice: {report.notice}")
        hashes = self._hash("hashing the checkpoint", self.sources)
        report.backbone = self._backbone()
        described = self._graphs()
        report.graphs = {name: info["precision"] for name, info in described.items()}
        written_voices = {
            name: voices.write_voice(self.folder, name, voice)
            for name, voice in self.checkpoint.voices.items()
        }
        if licence is not None:
            (self.folder / "LICENSE").write_text(licence, encoding="utf-8")
        with self.progress.step("hashing the bundle"):
            files = bundle.file_table(self.folder, sha256)
        written = manifest.build_manifest(
            self.checkpoint,
            name=self.checkpoint.settings.name or self.options.layout.name,
            source={
                "location": self.options.layout.location,
                "sha256": hashes,
                "licence": report.licence,
                "notice": report.notice,
            },
            created_by=versions() | {"backbone_types": report.backbone["types"]},
            files=files,
            graphs=described,
            backbone={"file": BACKBONE_FILE, "precision": self.options.backbone},
            voices=written_voices,
            system=manifest.system_prompt(self.options.system, self.checkpoint.settings.system),
            duplex=self.options.duplex,
        )
        bundle.write_manifest(self.folder, written)
        report.bytes = sum(entry["bytes"] for entry in files.values())
        return report

    def _hash(self, step: str, files: dict[str, Path]) -> dict[str, str]:
        total = sum(path.stat().st_size for path in files.values()) or 1
        seen = 0

        def count(n_bytes: int) -> None:
            nonlocal seen
            seen += n_bytes
            self.progress.update(seen / total)

        with self.progress.step(step):
            return {name: sha256(path, count) for name, path in files.items()}

    def _backbone(self) -> dict[str, Any]:
        """Write backbone.gguf; returns its precision and the types that its tensors really got."""
        precision = self.options.backbone
        target = self.folder / BACKBONE_FILE
        if precision in FILE_TYPES:
            source = self.folder / SOURCE_FILE
            with self.progress.step("copying the backbone"):
                self._write_gguf(source, "source")
            with self.progress.step(f"quantizing to {precision}"):
                quantize(source, target, precision, self.progress.update, self.memory.add)
            source.unlink()
        else:
            with self.progress.step("writing the backbone"):
                self._write_gguf(target, precision)
        types = Counter(backbone_gguf.stored_types(target).values())
        text = ", ".join(f"{kind} x {n}" for kind, n in types.most_common())
        unusual = sorted(set(types) - backbone_gguf.USUAL_TYPES[precision])
        if unusual:
            self.progress.note(
                f"note: some widths do not fit {precision} (K types need multiples of 256), so "
                f"tensors got {' and '.join(unusual)} instead; in all {text}"
            )
        return {"precision": precision, "types": text, "fallback": unusual}

    def _write_gguf(self, path: Path, precision: str) -> None:
        backbone_gguf.write_gguf(
            path,
            self.checkpoint.configs.backbone,
            self.checkpoint.tokenizer,
            self.checkpoint.shards.read,
            precision=precision,
            name=self.options.layout.name,
            max_positions=self.checkpoint.configs.max_positions,
            progress=self.progress.update,
        )
        self.checkpoint.shards.close()

    def _graphs(self) -> dict[str, Any]:
        """Write all graphs; each module lives only as long as its graphs need it."""
        precision = self.options.graphs
        infos: dict[str, Any] = {}

        def write(name: str, *modules: Any, **choices: Any) -> None:
            export = GRAPHS[name]
            choices = {"precision": precision, **choices}
            with self.progress.step(f"graph {name}"):
                infos[name] = export(*modules, self.folder / f"{name}.onnx", **choices)

        encoder, adapter = self._load("encoder"), self._load("adapter")
        if self.checkpoint.settings.turns:
            write("encoder_segment", encoder, adapter)
        if self.options.duplex:
            write("encoder_chunk", encoder, adapter)
        del encoder, adapter
        self.checkpoint.shards.close()
        flow = self._load("flow")
        write("flow_condition", flow)
        write("flow_modulation", flow)
        write("flow_field", flow, cache=self.checkpoint.settings.flow_cache or precision)
        del flow
        chosen = {"precision": self.options.vocoder or precision, "fused": self.options.fused}
        write("vocoder", self._load("vocoder"), **chosen)
        return infos

    def _load(self, part: str) -> Any:
        limit = backbone_gguf.F16_MAX if self.options.graphs == "f16" else float("inf")
        config = getattr(self.checkpoint.configs, part)
        return loading.load_module(part, config, self.checkpoint.read, limit=limit)


def versions() -> dict[str, str]:
    """The versions of what wrote a bundle."""
    found = {}
    for package in ("parley", *PACKAGES):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "source tree" if package == "parley" else "not installed"
    return found


def describe(report: Report) -> str:
    """A report in a few lines for people."""
    peak = report.peak_anonymous_bytes
    memory = "" if peak is None else f", at most {size(peak)} of anonymous memory"
    return (
        f"wrote {report.bundle}: {size(report.bytes)} in {report.seconds:.0f} s{memory}\n"
        f"backbone {report.backbone['precision']} ({report.backbone['types']}), graphs "
        f"{next(iter(report.graphs.values()))}: {', '.join(report.graphs)}\n"
        f"licence: {report.licence}"
    )

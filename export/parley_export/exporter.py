"""The way from a checkpoint to a bundle, step by step; knows no terminal and no exit code."""

from __future__ import annotations

import importlib.metadata
import math
import os
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from parley_export import backbone_gguf, bundle, loading, provenance, work
from parley_export.backbone_gguf import TokenModel
from parley_export.family import Checkpoint, Choices, Family, Layout
from parley_export.graph_builder import GraphInfo
from parley_export.manifest import SCHEMA_VERSION, Manifest
from parley_export.progress import MemoryWatch, Progress, size
from parley_export.quantize import FILE_TYPES, quantize, require_llama

SOURCE_FILE = "source.gguf"  # what is quantized; never part of the bundle
SPARE_BYTES = 64 << 20  # manifest, voices, graph nodes
PACKAGES = ("torch", "numpy", "onnx", "gguf", "safetensors", "parley_llama")

# Speed measured on two cores at the published shapes, for the estimate only.
HASH_PER_S, WRITE_PER_S, QUANTIZE_PER_S = 0.8e9, 0.4e9, 15e6  # bytes, bytes, weights


@dataclass(frozen=True, kw_only=True)
class Options(Choices):
    """What the user chose, and where the bundle goes."""

    layout: Layout
    out: Path
    force: bool = False


@dataclass
class Report:
    """What came out, for people and programs."""

    bundle: str
    bytes: int = 0
    seconds: float = 0.0
    peak_anonymous_bytes: int | None = None
    backbone: dict[str, Any] = field(default_factory=dict)
    head: dict[str, Any] | None = None
    graphs: dict[str, str] = field(default_factory=dict)
    licence: str = ""
    notice: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def export_bundle(family: Family, options: Options, memory: MemoryWatch) -> Report:
    """Read and check everything, then write the bundle and move it into place.

    Raises:
        InputError, BundleError, LibraryError, OSError: nothing is left behind then.
    """
    bundle.check_target(Path(os.path.abspath(options.out)), options.force)
    has_head = family.head_model is not None
    if options.backbone in FILE_TYPES or (has_head and options.head in FILE_TYPES):
        require_llama()
    checkpoint = family.read(options.layout)
    family.check(checkpoint, options)
    needed = needed_bytes(family, checkpoint, options)
    bundle.check_space(Path(os.path.abspath(options.out)).parent, needed)
    return write_bundle(Job(family, options, checkpoint, memory))


def write_bundle(job: Job) -> Report:
    """Write the bundle of a checked checkpoint and move it into place."""
    begin = time.monotonic()
    with bundle.PartialBundle(job.options.out, job.options.force) as partial:
        try:
            report = job.run(partial.folder)
        finally:
            job.progress.close()
        partial.commit()
    report.seconds = time.monotonic() - begin
    report.peak_anonymous_bytes = job.memory.peak
    return report


def needed_bytes(family: Family, checkpoint: Checkpoint, options: Choices) -> int:
    """The largest use of the disk during an export, a few percent above what it takes."""
    models = token_models(family, checkpoint, options)
    written = sum(model.estimated_bytes(precision) for model, precision in models.values())
    extra = max(
        (_source_bytes(model, checkpoint) for model, kind in models.values() if kind in FILE_TYPES),
        default=0,
    )
    parts = sum(part.bytes for part in family.parts(checkpoint, options))
    return int(1.03 * (written + max(extra, parts))) + SPARE_BYTES


def token_models(
    family: Family, checkpoint: Checkpoint, options: Choices
) -> dict[str, tuple[TokenModel, str]]:
    """Name -> a decoder of the bundle and its precision, the backbone first."""
    models = {"backbone": (family.token_model(checkpoint), options.backbone)}
    if family.head_model is not None:
        models["head"] = (family.head_model(checkpoint), options.head)
    return models


def gguf_file(name: str) -> str:
    """Of a decoder in a bundle."""
    return f"{name}.gguf"


def _source_bytes(model: TokenModel, checkpoint: Checkpoint) -> int:
    """Of its tensors in the checkpoint; what is computed from several is float32."""
    known = checkpoint.shards.tensors
    return sum(
        known[name].nbytes if name in known else 4 * math.prod(shape)
        for name, shape in model.shapes.items()
    )


class Job:
    """One export under way: the checked checkpoint, the folder it goes to, and its progress."""

    folder: Path  # set when the work begins

    def __init__(
        self, family: Family, options: Options, checkpoint: Checkpoint, memory: MemoryWatch
    ):
        self.family = family
        self.options = options
        self.checkpoint = checkpoint
        self.memory = memory
        self.parts = family.parts(checkpoint, options)
        self.token_models = token_models(family, checkpoint, options)
        self.sources = self._sources()
        self.progress = Progress(self._steps())

    def _sources(self) -> dict[str, Path]:
        return self.family.sources(self.checkpoint)

    def _licence(self) -> tuple[str | None, str, str]:
        """The checkpoint's licence text, its name, and what the user must be shown."""
        file = provenance.licence_file(self.checkpoint.layout.folder)
        text = None if file is None else file.read_text("utf-8", "replace")
        return text, *provenance.licence_and_notice(text, self.family.notice)

    def _steps(self) -> dict[str, float]:
        sources = sum(path.stat().st_size for path in self.sources.values())
        steps = {"hashing the checkpoint": sources / HASH_PER_S}
        written = sum(part.bytes for part in self.parts)
        for name, (model, precision) in self.token_models.items():
            result = model.estimated_bytes(precision)
            written += result
            if precision in FILE_TYPES:
                source = _source_bytes(model, self.checkpoint)
                steps[f"copying the {name}"] = source / WRITE_PER_S
                steps[f"quantizing the {name} to {precision}"] = model.elements / QUANTIZE_PER_S
            else:
                steps[f"writing the {name}"] = result / WRITE_PER_S
        for part in self.parts:
            steps[f"graph {part.name}"] = part.bytes / WRITE_PER_S
        steps["hashing the bundle"] = written / HASH_PER_S
        return steps

    def run(self, folder: Path) -> Report:
        """Write all files into `folder`, which is there and empty."""
        self.folder = folder
        report = Report(bundle=os.path.abspath(self.options.out))
        licence, report.licence, report.notice = self._licence()
        self.progress.note(f"notice: {report.notice}")
        hashes = self._hash("hashing the checkpoint", self.sources)
        decoders = {name: self._decoder(name) for name in self.token_models}
        report.backbone, report.head = decoders["backbone"], decoders.get("head")
        described = self._graphs()
        report.graphs = {name: info["precision"] for name, info in described.items()}
        voices = self.family.write_voices(self.checkpoint, folder)
        if licence is not None:
            (folder / "LICENSE").write_text(licence, encoding="utf-8")
        with self.progress.step("hashing the bundle"):
            files = bundle.file_table(folder, provenance.sha256)
        sections = self.family.sections(self.checkpoint, self.options)
        files_of = {
            name: {"file": gguf_file(name), "precision": precision, **self._decoder_work(name)}
            for name, (_, precision) in self.token_models.items()
        }
        manifest: Manifest = {
            "schema_version": SCHEMA_VERSION,
            "family": self.family.name,
            "name": self.checkpoint.settings.name or self.options.layout.name,
            "source": {
                "location": self.options.layout.location,
                "sha256": hashes,
                "licence": report.licence,
                "notice": report.notice,
            },
            "created_by": versions()
            | {f"{name}_types": entry["types"] for name, entry in decoders.items()},
            "files": files,
            **sections,
            "graphs": described,
            "backbone": {**files_of["backbone"], **sections["backbone"]},
            "voices": voices,
            "default_voice": next(iter(voices)),
        }
        if (head := sections.get("head")) is not None:
            manifest["head"] = {**files_of["head"], **head}
        bundle.write_manifest(folder, manifest)
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
            return {name: provenance.sha256(path, count) for name, path in files.items()}

    def _decoder(self, name: str) -> dict[str, Any]:
        """Write a decoder's GGUF; returns its precision and the types its tensors really got."""
        model, precision = self.token_models[name]
        target = self.folder / gguf_file(name)
        if precision in FILE_TYPES:
            source = self.folder / SOURCE_FILE
            with self.progress.step(f"copying the {name}"):
                self._write_gguf(source, model, "source")
            with self.progress.step(f"quantizing the {name} to {precision}"):
                quantize(source, target, precision, self.progress.update, self.memory.add)
            source.unlink()
        else:
            with self.progress.step(f"writing the {name}"):
                self._write_gguf(target, model, precision)
        types = Counter(kind for kind, _ in backbone_gguf.stored_tensors(target).values())
        text = ", ".join(f"{kind} x {n}" for kind, n in types.most_common())
        unusual = sorted(set(types) - backbone_gguf.USUAL_TYPES[precision])
        if unusual:
            self.progress.note(
                f"note: some widths of the {name} do not fit {precision} (K types need multiples "
                f"of 256), so tensors got {' and '.join(unusual)} instead; in all {text}"
            )
        return {"precision": precision, "types": text, "fallback": unusual}

    def _decoder_work(self, name: str) -> dict[str, Any]:
        """What a pass of a decoder reads and computes: of its layers, and of its logits."""
        stored = backbone_gguf.stored_tensors(self.folder / gguf_file(name))
        sizes = self.token_models[name][0].config
        layers = sum(n for tensor, (_, n) in stored.items() if tensor.startswith("blk."))
        _, last = stored.get("output.weight") or stored["token_embd.weight"]
        return {
            "work": work.token_model(sizes, layers).as_dict(),
            "logits": work.logits(sizes, last).as_dict(),
        }

    def _write_gguf(self, path: Path, model: TokenModel, precision: str) -> None:
        backbone_gguf.write_gguf(
            path,
            model,
            self.checkpoint.read,
            precision=precision,
            name=self.options.layout.name,
            progress=self.progress.update,
        )
        self.checkpoint.shards.close()

    def _graphs(self) -> dict[str, GraphInfo]:
        """Write all graphs; each module lives only as long as its graphs need it."""
        infos: dict[str, GraphInfo] = {}
        loaded: dict[str, nn.Module] = {}
        for part in self.parts:
            loaded = {m.name: loaded[m.name] for m in part.modules if m.name in loaded}
            loaded |= {m.name: self._load(m) for m in part.modules if m.name not in loaded}
            modules = [loaded[m.name] for m in part.modules]
            file = self.folder / f"{part.name}.onnx"
            with self.progress.step(f"graph {part.name}"):
                infos[part.name] = part.export(*modules, file, **part.choices)
            if part.work is not None:
                infos[part.name]["work"] = part.work.as_dict()
            del modules
            self.checkpoint.shards.close()
        return infos

    def _load(self, module: loading.Module) -> nn.Module:
        limit = backbone_gguf.F16_MAX if self.options.graphs == "f16" else float("inf")
        return loading.load_module(module, self.checkpoint.read, limit=limit)


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
    head = report.head
    also = "" if head is None else f", head {head['precision']} ({head['types']})"
    memory = "" if peak is None else f", at most {size(peak)} of anonymous memory"
    return (
        f"wrote {report.bundle}: {size(report.bytes)} in {report.seconds:.0f} s{memory}\n"
        f"backbone {report.backbone['precision']} ({report.backbone['types']}){also}, graphs "
        f"{next(iter(report.graphs.values()))}: {', '.join(report.graphs)}\n"
        f"licence: {report.licence}"
    )

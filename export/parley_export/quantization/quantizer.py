"""The way from a bundle to a smaller one, stage by stage; knows no terminal and no exit code."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parley_export import bundle, provenance
from parley_export.errors import BundleError, InputError, LibraryError
from parley_export.manifest import Manifest
from parley_export.progress import Progress
from parley_export.quantization.types import (
    DECODERS,
    KEEP,
    SOURCES,
    STAGES,
    TYPES,
    check_decoder_type,
    check_graph_type,
    listed,
    stage_of,
)
from parley_export.quantize import quantize as quantize_gguf

if TYPE_CHECKING:
    import onnx

    from parley_export.quantization.calibration import Seen

SPARE_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Mix:
    """The type of each stage, and the recordings for those types that want them."""

    encoder: str = KEEP
    flow: str = KEEP
    vocoder: str = KEEP
    backbone: str = KEEP
    head: str = KEEP
    calibrate: Path | None = None  # for graphs
    imatrix: Path | None = None  # for the backbone

    def graphs(self) -> dict[str, str]:
        return {stage: getattr(self, stage) for stage in STAGES}

    def recordings(self) -> tuple[Path | None, Path | None]:
        """For graphs and for the backbone, where one of their types wants them."""
        wanted = any(kind in TYPES and TYPES[kind].calibrated for kind in self.graphs().values())
        return (self.calibrate if wanted else None, self.imatrix)

    def name(self) -> str:
        """Such as "encoder int8, backbone q4_k_m with importance"."""
        told = {stage: getattr(self, stage) for stage in (*STAGES, *DECODERS)}
        if self.backbone != KEEP and self.imatrix is not None:
            told["backbone"] += " with importance"
        return ", ".join(f"{stage} {kind}" for stage, kind in told.items() if kind != KEEP)


@dataclass
class Report:
    """What came out, for people and programs. nodes: {graph: {"what became of them": count}}."""

    bundle: str
    source: str
    mix: dict[str, str]
    bytes: int = 0
    source_bytes: int = 0
    seconds: float = 0.0
    nodes: dict[str, dict[str, int]] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    weakest_weight: dict[str, tuple[str, float]] = field(default_factory=dict)
    calibration: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def quantize_bundle(source: Path, out: Path, mix: Mix, *, force: bool = False) -> Report:
    """Writes the bundle `out` from `source`; raises before anything is written where it cannot.

    Raises:
        InputError: a type that a stage cannot take, or nothing to do.
        BundleError: the source is damaged.
        LibraryError: onnx, ONNX Runtime or llama.cpp are missing.
    """
    from parley import read_manifest

    require_packages()
    begin = time.monotonic()
    manifest = read_manifest(source)
    check_mix(source, manifest, mix)
    bundle.check_target(Path(os.path.abspath(out)), force)
    total = sum(entry["bytes"] for entry in manifest["files"].values())
    bundle.check_space(Path(os.path.abspath(out)).parent, 2 * total + SPARE_BYTES)
    with bundle.PartialBundle(out, force) as partial:
        job = _Job(source, manifest, mix, partial.folder)
        try:
            job.run()
        finally:
            job.progress.close()
        check_opens([partial.folder / file for file in job.changed])
        partial.commit()
    report = job.report
    report.bundle, report.seconds = os.path.abspath(out), time.monotonic() - begin
    return report


def require_packages() -> None:
    """Raises LibraryError where onnx or ONNX Runtime's tools are missing."""
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise LibraryError(
            f"[quantize.start] expected the packages onnx and onnxruntime, got no "
            f"{', '.join(missing)}; pip install 'parley[quantize]'"
        )


def check_mix(source: Path, manifest: dict[str, Any], mix: Mix) -> None:
    """Raises InputError that names the stage and what it can take."""
    for decoder in DECODERS:
        have = (manifest.get(decoder) or {}).get("precision")
        check_decoder_type(decoder, have, getattr(mix, decoder))
    if mix.imatrix is not None and mix.backbone in (KEEP, manifest["backbone"]["precision"]):
        raise InputError(
            "[quantize.backbone] expected a --backbone to quantize where --imatrix is given, got "
            "none; name a type"
        )
    for stage, kind in mix.graphs().items():
        check_graph_type(stage, kind)
        for graph in _changed(manifest, stage, kind):
            have = manifest["graphs"][graph]["precision"]
            if have not in SOURCES:
                raise InputError(
                    f"[quantize.{stage}] expected a stage in {listed(SOURCES)}, got {have}; start "
                    "from the bundle that this one was made from"
                )
        if kind in TYPES and TYPES[kind].calibrated and mix.calibrate is None:
            raise InputError(
                f"[quantize.{stage}] expected recordings for {kind}, got none; give --calibrate "
                "RUNS, a folder of what users say to the model"
            )
        _check_products(source, manifest, stage, kind)
    if not mix.name():
        raise InputError(
            "[quantize.start] expected a type for one of the stages encoder, flow, vocoder and "
            "backbone, got none; name one, such as --encoder int8"
        )


def _changed(manifest: dict[str, Any], stage: str, kind: str) -> Iterable[str]:
    """The stage's graphs that `kind` changes."""
    for name, graph in manifest["graphs"].items():
        if stage_of(name) == stage and kind not in (KEEP, graph["precision"]):
            yield name


def _check_products(source: Path, manifest: dict[str, Any], stage: str, kind: str) -> None:
    """MatMulNBits takes products of matrices: a stage that has none cannot be of its types."""
    if kind == KEEP or TYPES[kind].products != "blocks":
        return
    import onnx

    from parley_export.quantization.plain import graphs

    counts = {"MatMul": 0, "Conv": 0, "ConvTranspose": 0}
    for name in _changed(manifest, stage, kind):
        file = source / manifest["graphs"][name]["file"]
        model = onnx.load(file, load_external_data=False)
        for node in (node for part in graphs(model.graph) for node in part.node):
            operator = "Conv" if node.op_type == "Conv1d" else node.op_type
            counts[operator] = counts.get(operator, 0) + 1
    if counts["MatMul"]:
        return
    can = [name for name, kind_ in TYPES.items() if kind_.products != "blocks"]
    raise InputError(
        f"[quantize.{stage}] expected one of {listed(can)}, got {kind!r}, which is for products of "
        f"matrices: the stage has {counts['MatMul']} of them and "
        f"{counts['Conv'] + counts['ConvTranspose']} convolutions; choose one of those"
    )


def check_opens(graphs: Sequence[Path]) -> None:
    """Opens graphs in a process of its own: what ONNX Runtime cannot take may end that.

    Raises BundleError.
    """
    code = (
        "import sys, onnxruntime, parley\n"
        "options = onnxruntime.SessionOptions()\n"
        "options.register_custom_ops_library(parley.ops_library())\n"
        "for path in sys.argv[1:]:\n"
        "    onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])\n"
    )
    command = [sys.executable, "-c", code, *map(str, graphs)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BundleError(
            f"[quantize.check] expected graphs that open, got exit code {done.returncode} and "
            f"{done.stderr.strip()[-400:]!r}; choose other types"
        )


class _Job:
    """One bundle being made into another: what is known of the old one, and the new folder."""

    def __init__(self, source: Path, manifest: dict[str, Any], mix: Mix, folder: Path) -> None:
        self.source, self.manifest, self.mix, self.folder = source, manifest, mix, folder
        self.changed: list[str] = []  # files of graphs
        total = sum(entry["bytes"] for entry in manifest["files"].values())
        self.report = Report(
            bundle="",
            source=str(source),
            mix={stage: getattr(mix, stage) for stage in (*STAGES, *DECODERS)},
            source_bytes=total,
        )
        self.decoders = {
            name: manifest[name]["file"] for name in DECODERS if manifest.get(name) is not None
        }
        wants_runs = any(path is not None for path in mix.recordings())
        self.progress = Progress(
            {
                **({"playing recordings": 30.0} if wants_runs else {}),
                **{f"graph {name}": 2.0 + total / 20e6 for name in manifest["graphs"]},
                **{
                    name: 1.0 + manifest["files"][file]["bytes"] / 15e6
                    for name, file in self.decoders.items()
                },
                "hashing": total / 0.8e9,
            }
        )

    def run(self) -> None:
        graphs_seen, backbone_seen = self._converse()
        entries = {}
        for name, entry in self.manifest["graphs"].items():
            with self.progress.step(f"graph {name}"):
                entries[name] = self._graph(name, entry, graphs_seen)
        decoders = {}
        for name in self.decoders:
            with self.progress.step(name):
                decoders[name] = self._decoder(name, backbone_seen)
        done = {e["file"] for e in (*entries.values(), *decoders.values())}
        done |= {file for entry in entries.values() for file in entry["external"]}
        replaced = {e["file"] for e in self.manifest["graphs"].values()}
        replaced |= {f for e in self.manifest["graphs"].values() for f in e["external"]}
        for name in self.manifest["files"].keys() - done - replaced:
            self._copy(name)
        with self.progress.step("hashing"):
            files = bundle.file_table(self.folder, provenance.sha256)
        self.report.bytes = sum(entry["bytes"] for entry in files.values())
        self._tell_stages(entries, decoders, files)
        written: Manifest = {
            **self.manifest,  # type: ignore[typeddict-item]
            "created_by": self.manifest["created_by"] | self._provenance(),
            "files": files,
            "graphs": entries,
            **decoders,
        }
        bundle.write_manifest(self.folder, written)

    def _converse(self) -> tuple[Seen | None, Seen | None]:
        """What graphs and what the backbone read; one conversation for both where they may."""
        from parley_export.quantization.calibration import converse

        calibrate, imatrix = self.mix.recordings()
        paths = {path for path in (calibrate, imatrix) if path is not None}
        if not paths:
            return None, None
        seen = {}
        with self.progress.step("playing recordings"):
            for path in sorted(paths):
                wants = path == imatrix
                seen[path] = converse(
                    self.source, path, importance=wants, tell=self.progress.update
                )
        self.report.calibration = "; ".join(one.told for one in seen.values())
        return (
            seen[calibrate] if calibrate is not None else None,
            seen[imatrix] if imatrix is not None else None,
        )

    def _graph(self, name: str, entry: dict[str, Any], seen: Seen | None) -> dict[str, Any]:
        kind = self.mix.graphs().get(stage_of(name), KEEP)
        if kind in (KEEP, entry["precision"]):
            for file in (entry["file"], *entry["external"]):
                self._copy(file)
            return entry
        import onnx

        from parley_export.quantization import plain, store, tools
        from parley_export.quantization.calibration import spread

        model = onnx.load(self.source / entry["file"])
        plain.plain(model)
        wanted = TYPES[kind]
        if wanted.products:
            plain.turn_products(model)
        runs = list(spread(seen, name)) if seen is not None and wanted.calibrated else ()
        kept = store.Kept()
        model = tools.quantize(model, wanted, runs)
        integers = tools.count(model)
        store.keep_weights(model, wanted.rest, kept)
        external = store.save(model, self.folder / entry["file"])
        self.changed.append(entry["file"])
        self._tell_nodes(name, integers, kept)
        changed = {**entry, "external": external, "precision": kind, "opset": _opset(model)}
        own = sorted({f"{n.domain}.{n.op_type}" for n in model.graph.node if n.domain == "parley"})
        changed.pop("custom_ops", None)
        return changed | ({"custom_ops": own} if own else {})

    def _decoder(self, name: str, seen: Seen | None) -> dict[str, Any]:
        entry, wanted = self.manifest[name], getattr(self.mix, name)
        if wanted in (KEEP, entry["precision"]):
            self._copy(entry["file"])
            return dict(entry)
        quantize_gguf(
            self.source / entry["file"],
            self.folder / entry["file"],
            wanted,
            self.progress.update,
            importance=seen.importance if seen is not None and name == "backbone" else None,
            requantize=entry["precision"] == "q8_0",
        )
        changed: dict[str, Any] = {**entry, "precision": wanted}
        return changed

    def _copy(self, name: str) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.source / name, self.folder / name)

    def _provenance(self) -> dict[str, str]:
        """The source's hash, what was done, by which tools; texts, as the manifest has them."""
        made = {
            "quantized_from": provenance.sha256(self.source / bundle.MANIFEST),
            "quantized": self.mix.name(),
            "quantized_by": ", ".join(
                f"{package} {importlib.metadata.version(package)}"
                for package in ("onnx", "onnxruntime", "parley-llama")
            ),
        }
        if self.mix.backbone != KEEP:
            made["backbone_types"] = f"quantized to {self.mix.backbone}"
        return made | ({"calibration": self.report.calibration} if self.report.calibration else {})

    def _tell_nodes(self, name: str, integers: dict[str, int], kept: Any) -> None:
        words = {
            "i8": "weights of 8 bits, computed in f32",
            "Conv1d": "products in bf16",
        }
        told = dict(integers)
        for (operator, how), n in sorted(kept.nodes.items()):
            told[f"{operator}: {words.get(how, f'weights in {how}, computed in f32')}"] = n
        self.report.nodes[name] = told
        if kept.snr_db:
            weakest = min(kept.snr_db, key=kept.snr_db.__getitem__)
            self.report.weakest_weight[name] = (weakest, kept.snr_db[weakest])

    def _tell_stages(
        self, entries: dict[str, Any], decoders: dict[str, Any], files: dict[str, Any]
    ) -> None:
        """Bytes of each stage before and after."""

        def size(names: Iterable[str], table: dict[str, Any]) -> int:
            return sum(int(table[name]["bytes"]) for name in names)

        for stage in STAGES:
            own = [n for n in entries if stage_of(n) == stage]
            both = [
                size([f for n in own for f in (graphs[n]["file"], *graphs[n]["external"])], table)
                for graphs, table in (
                    (self.manifest["graphs"], self.manifest["files"]),
                    (entries, files),
                )
            ]
            kind = listed(sorted({entries[n]["precision"] for n in own}))
            self.report.stages[stage] = {"type": kind, "bytes": both[1], "source_bytes": both[0]}
        for name, entry in decoders.items():
            self.report.stages[name] = {
                "type": entry["precision"],
                "bytes": size([entry["file"]], files),
                "source_bytes": size([entry["file"]], self.manifest["files"]),
            }


def _opset(model: onnx.ModelProto) -> int:
    return next(int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx"))

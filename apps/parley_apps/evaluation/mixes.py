"""Mixes of types, one per stage: how they are written, which to look at, and their bundles."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STAGES = ("encoder", "flow", "vocoder", "backbone", "head", "kv")
CACHES = ("f16", "bf16", "q8_0", "f32")
REFERENCE = "as it is"
# One stage at a time, for "which part hurts"; the backbone's smaller than what it has.
SINGLE = {
    "encoder": ("int8", "w8", "w4"),
    "flow": ("int8", "w8", "w4"),
    "vocoder": ("bf16", "int8"),
    "backbone": ("q8_0", "q6_k", "q4_k_m", "q3_k_m", "q2_k"),
    "head": ("q8_0", "q4_k_m"),
    "kv": ("bf16", "q8_0"),
}
DECODERS = ("backbone", "head")
CALIBRATED = {
    "encoder": ("int8_static", "w4_gptq"),
    "flow": ("int8_static", "w4_gptq"),
    "vocoder": ("int8_static",),
}
WHOLE = "encoder=int8+flow=int8+vocoder=int8+backbone=q4_k_m"


def mix(value: str) -> str:
    """An argparse type: stage=type, joined by +; returns it in the stages' order."""
    parts: dict[str, str] = {}
    for part in value.split("+"):
        stage, _, kind = part.partition("=")
        if stage not in STAGES or not kind or stage in parts:
            raise argparse.ArgumentTypeError(
                f"expected stages and types such as encoder=int8+backbone=q4_k_m, got {value!r}; "
                f"stages are {', '.join(STAGES)}"
            )
        if stage == "kv" and kind not in CACHES:
            raise argparse.ArgumentTypeError(
                f"expected kv as one of {', '.join(CACHES)}, got {kind!r}"
            )
        parts[stage] = kind
    return named(parts)


def parts(name: str) -> dict[str, str]:
    """Stage -> type; none for the reference."""
    return {} if name == REFERENCE else dict(part.split("=") for part in name.split("+"))


def named(types: Mapping[str, str]) -> str:
    return "+".join(f"{stage}={types[stage]}" for stage in STAGES if stage in types) or REFERENCE


def worth_a_look(manifest: Mapping[str, Any], calibrated: bool) -> list[str]:
    """Each stage in each type that it can take, one at a time, and one mix of all."""
    from parley_export.errors import InputError
    from parley_export.quantization.types import check_decoder_type, stage_of

    have: dict[str, set[str]] = {}
    for name, graph in manifest["graphs"].items():
        have.setdefault(stage_of(name), set()).add(graph["precision"])
    decoders = {name: (manifest.get(name) or {}).get("precision") for name in DECODERS}
    found = []
    for stage, kinds in SINGLE.items():
        for kind in kinds + (CALIBRATED.get(stage, ()) if calibrated else ()):
            try:
                if stage in DECODERS:
                    check_decoder_type(stage, decoders[stage], kind)
            except InputError:
                continue
            if have.get(stage) != {kind} and decoders.get(stage) != kind:
                found.append(f"{stage}={kind}")
    types = parts(WHOLE)
    if f"backbone={types['backbone']}" not in found:
        del types["backbone"]
    return [*found, named(types)]


def bundle_of(source: Path, name: str, work: Path, runs: tuple[Path | None, Path | None]) -> Path:
    """The bundle of a mix, made in `work` where it is not there; `runs`: calibrate and imatrix.

    Raises what `parley quantize` raises for it.
    """
    from parley_export.quantization.quantizer import Mix, quantize_bundle

    types = {stage: kind for stage, kind in parts(name).items() if stage != "kv"}
    if not types:
        return source
    folder = work / named(types)
    if (folder / "manifest.json").is_file():
        return folder
    calibrate, imatrix = runs
    chosen = Mix(**types, calibrate=calibrate, imatrix=imatrix if "backbone" in types else None)
    report = quantize_bundle(source, folder, chosen)
    (work / f"{named(types)}.made.json").write_text(json.dumps(report.as_dict()), encoding="utf-8")
    return folder


def nodes(work: Path, name: str) -> dict[str, dict[str, int]]:
    """What became of a mix's nodes, graph by graph, as its making told; none where nothing did."""
    types = {stage: kind for stage, kind in parts(name).items() if stage != "kv"}
    path = work / f"{named(types)}.made.json"
    if not types or not path.is_file():
        return {}
    told: dict[str, dict[str, int]] = json.loads(path.read_text(encoding="utf-8"))["nodes"]
    return told

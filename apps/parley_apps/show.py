"""`parley show`: tells what a bundle is; reads its manifest alone and opens no model."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from parley_apps import options
from parley_apps.flow_facts import flow_facts

EXAMPLES = """\
Tells what a bundle is: where its weights came from and what their licence asks, its stages, sizes,
rates and delays, voices, modes and limits. Only the manifest is read; commands that open the bundle
check the files themselves.

examples:
  parley show my.bundle
  parley show my.bundle --json | jq .notice
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from parley_apps import errors

    parser.description = EXAMPLES
    parser.epilog = errors.EXIT_CODES_HELP
    options.add_bundle(parser)
    options.add_json(parser, "it")


def run(args: argparse.Namespace) -> int:
    import parley

    manifest = parley.read_manifest(args.bundle)
    facts = describe(manifest)
    if args.json:
        print(json.dumps(facts, indent=2))
    else:
        print("\n".join(_lines(facts)))
    return 0


def describe(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a user wants to know of a bundle, as plain data."""
    from parley.session_options import modes_of

    source, backbone, files = manifest["source"], manifest["backbone"], manifest["files"]
    vocabulary = manifest["vocabulary"]
    stages = {
        name: {
            "precision": graph["precision"],
            "bytes": _bytes(files, [graph["file"], *graph["external"]]),
            "opset": graph["opset"],
            "states": [state["name"] for state in graph.get("states", [])],
        }
        for name, graph in manifest["graphs"].items()
    }
    for decoder in ("backbone", "head"):
        if (entry := manifest.get(decoder)) is not None:
            stages[decoder] = {
                "precision": entry["precision"],
                "bytes": _bytes(files, [entry["file"]]),
                "width": entry["width"],
            }
    return {
        "name": manifest["name"],
        "family": manifest["family"],
        "schema_version": manifest["schema_version"],
        "modes": modes_of(manifest),
        "source": source["location"],
        "licence": source["licence"],
        "notice": source["notice"],
        "created_by": manifest["created_by"],
        "bytes": sum(entry["bytes"] for entry in files.values()),
        "files": len(files),
        "stages": stages,
        "rates": manifest["rates"],
        "delays_ms": delays_ms(manifest),
        "flow": flow_facts(manifest),
        "voices": sorted(manifest["voices"]),
        "default_voice": manifest["default_voice"],
        "limits": manifest["limits"],
        "vocabulary": {
            "ids": backbone["vocab_size"],
            "text": vocabulary["text_end"],
            "audio_codes": vocabulary["audio_codes"],
            "control": vocabulary["control"],
        },
        "prompts": manifest["prompts"],
    }


def delays_ms(manifest: dict[str, Any]) -> dict[str, float]:
    """How long each part waits for what comes after; a chunk is heard one chunk after it came."""
    flow, vocoder, rates = manifest["flow"], manifest["vocoder"], manifest["rates"]
    latent_ms = 1000.0 * vocoder["samples_per_latent"] / rates["output_hz"]
    return {
        "chunk": float(rates["chunk_ms"]),
        "flow_lookahead": 1000.0 * flow["lookahead_codes"] / flow["codes_hz"],
        "vocoder_lookahead": latent_ms * vocoder["lookahead_frames"],
    }


def _bytes(files: dict[str, Any], names: list[str]) -> int:
    return sum(int(files[name]["bytes"]) for name in names if name in files)


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    size = f"{_size(facts['bytes'])} in {facts['files']} files"
    yield f"{facts['name']}: a bundle of the family {facts['family']}, {size}"
    yield _row("modes", ", ".join(facts["modes"]))
    yield _row("source", facts["source"])
    yield _row("licence", facts["licence"])
    yield _row("notice", facts["notice"] or "none")
    made = ", ".join(f"{name} {value}" for name, value in facts["created_by"].items())
    yield _row("made by", made)
    yield ""
    yield f"  {'stage':18s} {'precision':10s} {'size':>10s}"
    for name, stage in facts["stages"].items():
        yield f"  {name:18s} {stage['precision']:10s} {_size(stage['bytes']):>10s}"
    yield ""
    rates, delays, limits = facts["rates"], facts["delays_ms"], facts["limits"]
    yield _row("rates", f"{rates['input_hz']} Hz in, {rates['output_hz']} Hz out")
    flow = facts["flow"]
    told = f"{flow['mode']}, {flow['evaluations']} evaluations, {flow['guided']} with guidance"
    if flow["setup_evaluations"]:
        told += (
            f"; a voice takes {_size(flow['voice_bytes'])}, and {flow['setup_evaluations']} "
            f"evaluations of {flow['prompt_frames']} latent frames before its first session"
        )
    yield _row("flow decoder", told)
    waits = (f"{name.replace('_', ' ')} {ms:g} ms" for name, ms in delays.items())
    yield _row("delays", ", ".join(waits))
    yield _row("voices", _voices(facts))
    context = f"context {limits['context']} positions"
    yield _row("limits", f"{context}, a turn of {limits['max_turn_seconds']} s")
    vocabulary = facts["vocabulary"]
    counts = f"{vocabulary['ids']} ids, {vocabulary['text']} of text and control"
    yield _row("vocabulary", f"{counts}, {vocabulary['audio_codes']} audio codes")


def _voices(facts: dict[str, Any]) -> str:
    mark = {facts["default_voice"]: " (default)"}
    return ", ".join(name + mark.get(name, "") for name in facts["voices"])


def _row(name: str, value: str) -> str:
    return f"  {name:11s} {value}"


def _size(n_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} GiB"

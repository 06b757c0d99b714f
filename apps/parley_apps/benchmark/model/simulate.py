"""`parley bench simulate DEVICE`: the least time that a device allows; runs nothing."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from parley_apps import errors, options
from parley_apps.benchmark.model import cost, sizes
from parley_apps.benchmark.model.cost import CHUNK_S, Cost, Way


@dataclass(frozen=True)
class Device:
    """Memory bandwidth and arithmetic in units of 10^9 and 10^12 per second."""

    name: str
    gb_per_s: float
    tflops: float
    what: str


# Dense half-precision arithmetic, except for the processor: float32.
DEVICES = {
    "h200": Device("H200", 4800, 790, "NVIDIA H200"),
    "4090": Device("RTX 4090", 1008, 165, "float32 accumulation"),
    "4060-laptop": Device("RTX 4060 Laptop", 256, 30, "8 GB"),
    "agx-orin": Device("AGX Orin", 204.8, 42, "64 GB"),
    "orin-nano": Device("Orin Nano Super", 102, 17, "8 GB"),
    "m4-max": Device("M4 Max", 546, 34, "40 cores"),
    "2-core": Device("2-core slice", 30, 0.125, "two AVX-512 cores, float32"),
}
CUSTOM = re.compile(r"([\d.]+)GB/s,([\d.]+)TF")


def device(text: str) -> Device:
    """An argparse type: a name of DEVICES, or such as 100GB/s,20TF."""
    if found := CUSTOM.fullmatch(text):
        with contextlib.suppress(argparse.ArgumentTypeError):
            bandwidth, tflops = (options.positive(number) for number in found.groups())
            return Device(text, bandwidth, tflops, "")
    if text in DEVICES:
        return DEVICES[text]
    raise argparse.ArgumentTypeError(
        f"expected one of {', '.join(DEVICES)}, all, or such as 100GB/s,20TF, got {text!r}"
    )


def _chosen(text: str) -> Device | str:
    return text if text == "all" else device(text)


EXAMPLES = f"""\
Tells the least time that memory bandwidth and arithmetic of a device allow; runs nothing. DEVICE is
one of {", ".join(DEVICES)}, or all of them,
or bandwidth and arithmetic such as 100GB/s,20TF.

examples:
  parley bench simulate all
  parley bench simulate 200GB/s,20TF --bundle my.bundle

JSON: devices {{name: {{way: {{stages {{name: {{bytes, flops, ms, binds}}}}, ms, rtf, slowest}}}}}};
ways, assumed, sizes.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = EXAMPLES
    parser.epilog = errors.EXIT_CODES_HELP
    add = parser.add_argument
    add("device", metavar="DEVICE", nargs="?", type=_chosen, default="all", help="default: all")
    add("--bundle", metavar="BUNDLE", help="of its sizes and settings (default: published ones)")
    options.add_json(parser, "the result")


def run(args: argparse.Namespace) -> int:
    """Prints one table per device; of the published sizes where no bundle is named."""
    name, found, ways = _subject(args.bundle)
    devices = list(DEVICES.values()) if args.device == "all" else [args.device]
    result = {
        "sizes": name,
        "ways": {way.name: way.about for way in ways},
        "devices": {one.name: simulate(found, ways, one) for one in devices},
        "assumed": {one.name: [one.gb_per_s, one.tflops] for one in devices},
    }
    if args.json:
        print(json.dumps(result))
    else:
        print("\n".join(lines(result)))
    return 0


def _subject(bundle: str | None) -> tuple[str, sizes.Sizes, list[Way]]:
    if bundle is None:
        return "published", sizes.published(), list(cost.WAYS)
    import parley

    manifest = parley.read_manifest(bundle)
    ways = [cost.upstream_way(manifest), cost.own_way(manifest)]
    return manifest["name"], sizes.of_bundle(manifest), ways


def simulate(found: sizes.Sizes, ways: list[Way], on: Device) -> dict[str, Any]:
    """Way -> stage -> bytes, FLOPs, milliseconds and what binds; with their sum and RTF."""
    rates = (on.gb_per_s * 1e9, on.tflops * 1e12)
    result: dict[str, Any] = {}
    for way in ways:
        rows = {stage: _row(c, rates) for stage, c in cost.costs(found, way).items()}
        total_ms = sum(row["ms"] for row in rows.values())
        result[way.name] = {
            "stages": rows,
            "ms": total_ms,
            "rtf": total_ms / 1000 / CHUNK_S,
            "slowest": max(rows, key=lambda stage: rows[stage]["ms"]),
        }
    return result


def _row(c: Cost, rates: tuple[float, float]) -> dict[str, Any]:
    return {
        "bytes": c.n_bytes,
        "flops": c.flops,
        "ms": 1000 * c.seconds(*rates),
        "binds": c.binds(*rates),
    }


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The tables for people; m and c say that memory or arithmetic binds a stage."""
    yield f"{result['sizes']}: the least ms per chunk of 160 ms, stages one after another"
    stages = ("encoder", "backbone", "flow", "vocoder")
    for name, ways in result["devices"].items():
        bandwidth, tflops = result["assumed"][name]
        yield f"\n{name}: {bandwidth:g} GB/s, {tflops:g} TFLOPS"
        head = "".join(f"{stage:>13s}" for stage in stages)
        yield f"  {'':10s}{head}{'sum':>11s}{'RTF':>9s}  most"
        for way, row in ways.items():
            cells = "".join(_cell(row["stages"][stage]) for stage in stages)
            yield f"  {way:10s}{cells}{_ms(row['ms']):>11s}{row['rtf']:9.3f}  {row['slowest']}"
    yield "\nGB and GFLOP per chunk"
    for way, row in next(iter(result["devices"].values())).items():
        cells = "".join(
            f"{row['stages'][s]['bytes'] / 1e9:7.2f}/{row['stages'][s]['flops'] / 1e9:<7.0f}"
            for s in stages
        )
        yield f"  {way:10s}  {cells}"
    yield "\nm: memory binds, c: arithmetic"
    for way, about in result["ways"].items():
        yield from textwrap.wrap(
            f"{way:10s}{about}", 98, initial_indent="  ", subsequent_indent=12 * " "
        )


def _cell(row: dict[str, Any]) -> str:
    return f"{_ms(row['ms']):>11s} {'m' if row['binds'] == 'memory' else 'c'}"


def _ms(ms: float) -> str:
    return f"{ms:.2f}" if ms < 10 else f"{ms:.1f}" if ms < 100 else f"{ms:.0f}"

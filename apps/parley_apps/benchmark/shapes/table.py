"""The table of `parley bench shapes` for people, from its result; measures nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def lines(result: dict[str, Any]) -> Iterator[str]:
    """All of it."""
    yield from _head(result)
    yield from _rows(result)
    yield from _notes(result["stages"], result["rtf"])


def _head(result: dict[str, Any]) -> Iterator[str]:
    what, limits = result["machine"], result["bound"]
    # Results of before these two could be chosen lack them.
    device, kv = result.get("device", "cpu"), result.get("kv", "f16")
    yield (
        f"published shapes, random weights: backbone {result['backbone']}, {result['graphs']}, "
        f"keys and values {kv}, on {device}"
    )
    yield f"{what['cpu']}, {result['threads']} threads of {what['cores']} cores"
    if limits is None:
        yield f"no bound: memory and arithmetic of {device} are not measured"
    else:
        yield (
            f"measured: read {limits['read_gb_per_s']:.1f} GB/s, triad "
            f"{limits['triad_gb_per_s']:.1f} GB/s, float32 product "
            f"{limits['gemm_gflops']:.0f} GFLOPS"
        )


def _rows(result: dict[str, Any]) -> Iterator[str]:
    yield (
        f"{'ms per chunk':20s}{'median':>9s}{'95 %':>9s}{'99 %':>9s}{'GB':>8s}{'GFLOP':>8s}"
        f"{'bound':>9s}{'of it':>7s}{'upstream':>11s}{'ratio':>8s}{'CPU':>8s}"
    )
    for stage, row in result["stages"].items():
        ms = row["ms"]
        yield (
            f"{stage:20s}{ms['p50_ms']:9.1f}{ms['p95_ms']:9.1f}{ms['p99_ms']:9.1f}"
            f"{row['bytes'] / 1e9:8.2f}{row['flops'] / 1e9:8.1f}{_number(row['bound_ms']):>9s}"
            f"{_number(row['percent_of_bound'], '.0f', '%'):>7s}{row['upstream']['ms']:11.0f}"
            f"{row['ratio']:8.1f}{_number(row['cpu_ratio']):>8s}"
        )
    yield f"{'sum':20s}{result['sum_ms']:9.1f}{'':52s}{result['upstream_sum_ms']:10.0f}" + (
        f"{result['ratio']:8.1f}"
    )
    yield "ratio: upstream's milliseconds over ours; CPU: the same in processor time, which a busy"
    yield "machine changes less"


def _notes(stages: dict[str, Any], rtf: float) -> Iterator[str]:
    yield f"real-time factor {rtf:.1f}; upstream's way:"
    for stage, row in stages.items():
        way = row["upstream"]
        part = f"{_number(way['percent_of_bound'], '.0f')} % of bound"
        if "plain" in row:
            other = row["plain"]
            part += f"; without fused operators {other['ms']:.0f} ms, ratio {other['ratio']:.1f}, "
            part += f"CPU {_number(other['cpu_ratio'])}"
        yield f"  {stage}: {way['what']} ({way['measured']}, {part})"
    yield "ready (files opened, then the voice set up), peak memory of the process, settings:"
    for stage, row in stages.items():
        settings = " ".join(f"{name}={value}" for name, value in row["settings"].items())
        ready = f"{row['open_s']:.0f} s, {row['session_s']:.1f} s, {row['peak_memory_mb']:.0f} MiB"
        yield f"  {stage}: {ready} {settings}".rstrip()


def _number(value: float | None, shape: str = ".1f", unit: str = "") -> str:
    """As `shape` says; a dash where it was not measured."""
    return "-" if value is None else f"{value:{shape}}{unit}"

"""`parley bench kernels`: single operations beside the graphs that they replace."""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parley_apps import errors, machine, options

EXAMPLES = """\
Times the vocoder's activation (up 2x, snakebeta, down 2x) as the operator parley.SnakeBeta and its
convolutions as parley.Conv1d (products in bfloat16) in ONNX Runtime, each beside ONNX's own nodes
in float32, taking turns, at the widths and rates of every stage. Figures are medians of a call (a
convolution's are sums over a stage's kernels), of processor time with one thread and of wall clock
with more; `all` is the sum over a whole vocoder.

examples:
  parley bench kernels
  parley bench kernels --threads 2 --frames 4
  parley bench kernels --json | jq .snakebeta.published.all.times

Needs parley[export].

"""
RATES = (5, 3, 2, 2, 2, 2)


@dataclass(frozen=True)
class Model:
    """Sizes of a vocoder: channels of each stage, and each block's taps and dilations."""

    widths: tuple[int, ...]
    taps: tuple[int, ...]
    dilations: int

    @property
    def calls(self) -> int:
        """Of an operation in a stage, over all taps; every dilation has two convolutions."""
        return 2 * self.dilations * len(self.taps)


MODELS = {
    "nano": Model((128, 96, 64, 48, 24, 12), (3, 7), 1),
    "published": Model((768, 384, 192, 96, 48, 24), (3, 7, 11), 3),
}
OPERATIONS = ("snakebeta", "conv1d")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = EXAMPLES
    parser.epilog = errors.EXIT_CODES_HELP
    add = parser.add_argument
    add("--frames", type=options.count, default=16, metavar="N", help="latent frames (default: 16)")
    add(
        "--repeats", type=options.count, default=40, metavar="N", help="calls of each (default: 40)"
    )
    add("--threads", type=options.count, default=1, metavar="N", help="default: 1")
    options.add_json(parser, "the result")


def run(args: argparse.Namespace) -> int:
    result: dict[str, Any] = {
        operation: {name: _model(operation, model, args) for name, model in MODELS.items()}
        for operation in OPERATIONS
    }
    result |= {
        "threads": args.threads,
        "frames": args.frames,
        "machine": machine.describe(),
        "versions": machine.versions(),
    }
    print(json.dumps(result) if args.json else "\n".join(lines(result)))
    return 0


def lines(result: dict[str, Any]) -> Iterator[str]:
    """A result as a table."""
    clock = "processor time" if result["threads"] == 1 else "wall clock"
    yield f"{result['frames']} latent frames, threads {result['threads']}, microseconds, {clock}"
    for operation in OPERATIONS:
        for name, measured in result[operation].items():
            yield ""
            yield f"{operation + ', ' + name:22s} {_HEAD}"
            for row in measured["stages"]:
                sizes = f"{row['channels']:8d} {row['samples']:8d} {row['calls']:6d}"
                yield f"{'':22s} {sizes} {_figures(row)}"
            row = measured["all"]
            yield f"{'':22s} {'all':>8s} {'':8s} {row['calls']:6d} {_figures(row)}"


_HEAD = "channels  samples  calls     nodes  operator times form"


def _figures(row: dict[str, Any]) -> str:
    return (
        f"{row['plain_us']:9.1f} {row['fused_us']:9.1f} {row['times']:5.1f} {row.get('form', '')}"
    )


def _model(operation: str, model: Model, args: argparse.Namespace) -> dict[str, Any]:
    """Every stage: one call of the activation, or one of each convolution."""
    stages, samples = [], args.frames
    for width, rate in zip(model.widths, RATES, strict=True):
        samples *= rate
        kinds = model.taps if operation == "conv1d" else (0,)
        rows = [_turns(width, samples, taps, args) for taps in kinds]
        form = _together(_form(width, taps) for taps in kinds)
        sums = {key: sum(row[key] for row in rows) for key in rows[0]}
        calls = model.calls // len(kinds)
        stages.append({"channels": width, "samples": samples, "calls": calls, **sums, "form": form})
    if operation == "snakebeta":
        stages[-1]["calls"] += 1  # before the last convolution
    for row in stages:
        row["times"] = row["plain_us"] / row["fused_us"]
    sums = {key: sum(r["calls"] * r[key] for r in stages) for key in ("plain_us", "fused_us")}
    calls = model.calls * len(stages) + (operation == "snakebeta")
    whole: dict[str, Any] = {"calls": calls, **sums, "times": sums["plain_us"] / sums["fused_us"]}
    whole["form"] = _together(row["form"] for row in stages)
    return {"stages": stages, "all": whole}


def _form(channels: int, taps: int) -> str:
    """Of an operator that has run: what it found to be faster here."""
    import parley
    from parley import kernel_forms

    operators = ctypes.CDLL(parley.ops_library())
    operators.parley_kernel_forms.restype = ctypes.c_char_p
    chosen = kernel_forms.chosen(operators.parley_kernel_forms().decode())
    return chosen.get(f"conv1d {channels} {channels} {taps}", "parley")


def _together(forms: Iterable[str]) -> str:
    different = set(forms)
    return different.pop() if len(different) == 1 else "both"


def _turns(channels: int, samples: int, taps: int, args: argparse.Namespace) -> dict[str, float]:
    """Both forms in turn on the same input; `taps` of a convolution, 0 for the activation."""
    n = samples + max(0, taps - 1)
    x = np.random.default_rng(0).normal(0, 1, (1, channels, n)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        runs = {
            form: _session(Path(folder) / f"{form}.onnx", channels, taps, form == "fused_us", args)
            for form in ("plain_us", "fused_us")
        }
        clock = time.process_time if args.threads == 1 else time.perf_counter
        took: dict[str, list[float]] = {form: [] for form in runs}
        for _ in range(args.repeats):
            for form, session in runs.items():
                begin = clock()
                session.run(None, {"x": x})
                took[form].append(1e6 * (clock() - begin))
    return {form: statistics.median(times) for form, times in took.items()}


def _session(path: Path, channels: int, taps: int, fused: bool, args: argparse.Namespace) -> Any:
    """A graph of one operation."""
    import onnxruntime

    import parley
    from parley_export.contract import GraphContract, TensorContract
    from parley_export.families.covo_audio.activation_graphs import alias_free_activation
    from parley_export.families.covo_audio.modules.activation import SnakeBeta
    from parley_export.families.covo_audio.modules.vocoder import CausalConv1d
    from parley_export.graph_builder import GraphBuilder

    inputs = (TensorContract("x", "f32", (1, channels, "T")),)
    outputs = (TensorContract("y", "f32", (1, channels, "N")),)
    g = GraphBuilder(GraphContract("one", inputs, outputs), {}, "bf16" if fused else "f32")
    if taps:
        conv = CausalConv1d(channels, channels, taps)
        y = g.conv(g.input("x"), conv.kernel, conv.bias, "conv")
    else:
        act = SnakeBeta(channels)
        y = alias_free_activation(g, g.input("x"), act.alpha, act.beta, fused=fused)
    g.output("y", y)
    g.save(path)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = args.threads
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.register_custom_ops_library(parley.ops_library())
    return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])

"""What the stages of a bundle may be made of; opens no graph and needs no package."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from parley_export.errors import InputError
from parley_export.quantize import FILE_TYPES

KEEP = "keep"  # the stage as it is
STAGES = ("encoder", "flow", "vocoder")  # graphs; a graph's name begins with its stage's
DECODERS = ("backbone", "head")  # in GGUF; a bundle may lack the second


@dataclass(frozen=True)
class GraphType:
    """How a graph keeps and multiplies its weights.

    products: what becomes of matrix products with constant weights: "" (nothing), "dynamic",
    "static" or "blocks" (MatMulNBits, `bits` and `block`). convolutions: whether these become
    8-bit integers too. rest: how all other weights are kept, to be expanded once when a graph is
    opened: f32, f16, bf16, or i8 (8 bits and a scale per output channel).
    """

    products: str = ""
    bits: int = 0
    block: int = 0
    calibrated: bool = False
    convolutions: bool = False
    rest: str = "i8"


TYPES = {
    "f32": GraphType(rest="f32"),
    "f16": GraphType(rest="f16"),
    "bf16": GraphType(rest="bf16"),
    "int8": GraphType("dynamic", bits=8),
    "int8_static": GraphType("static", bits=8, calibrated=True, convolutions=True),
    "w8": GraphType("blocks", bits=8, block=32),
    "w8_128": GraphType("blocks", bits=8, block=128),
    "w4": GraphType("blocks", bits=4, block=32),
    "w4_128": GraphType("blocks", bits=4, block=128),
    "w4_gptq": GraphType("blocks", bits=4, block=32, calibrated=True),
    "w4_128_gptq": GraphType("blocks", bits=4, block=128, calibrated=True),
}
SOURCES = ("f32", "f16", "bf16")  # types that a graph may have and still be quantized

# The backbone's, from large to small.
BACKBONES = ("f32", "f16", *FILE_TYPES)
REQUANTIZED = ("q8_0",)  # small enough a loss to go on from
DESCRIPTION = """\
types of encoder, flow and vocoder:
  f32, f16, bf16       how weights are kept; all is computed in f32. bf16: plain convolutions
                       multiply in bfloat16 (parley.Conv1d)
  int8                 matrix products in 8-bit integers, their inputs scaled run by run
  int8_static          these and convolutions, with ranges that were seen in --calibrate RUNS
  w8, w8_128           weights of matrix products in 8 bits, by blocks of 32 or 128 (MatMulNBits)
  w4, w4_128           the same in 4 bits, rounded to nearest
  w4_gptq, w4_128_gptq the same, rounded so that products in --calibrate RUNS lose least (GPTQ)
  keep                 as it is
With int8, int8_static, w8 and w4, weights that have no such form are kept in 8 bits and expanded
when the bundle is opened; what became what is told by the count of nodes."""


def check_graph_type(stage: str, wanted: str) -> None:
    """Raises InputError that says what the stage can take."""
    if wanted not in (KEEP, *TYPES):
        raise InputError(
            f"[quantize.{stage}] expected one of {', '.join((KEEP, *TYPES))}, got {wanted!r}; "
            "choose one of them"
        )


def check_decoder_type(decoder: str, have: str | None, wanted: str) -> None:
    """Raises InputError where llama.cpp cannot or should not make `wanted` from `have`."""
    if wanted in (KEEP, have):
        return
    where = f"[quantize.{decoder}] expected"
    if have is None:
        raise InputError(f"{where} a bundle with a {decoder}, got one without; leave it out")
    smaller = BACKBONES[BACKBONES.index(have) + 1 :] if have in BACKBONES else ()
    if wanted not in FILE_TYPES or wanted not in smaller:
        can = ", ".join(t for t in smaller if t in FILE_TYPES) or "keep alone"
        raise InputError(
            f"{where} a type smaller than its {have} ({can}), got {wanted!r}; choose one"
        )
    if have in FILE_TYPES and have not in REQUANTIZED:
        raise InputError(
            f"{where} it in f32, f16 or q8_0 to quantize, got {have}, which has lost too "
            "much; start from a larger bundle"
        )


def stage_of(graph: str) -> str:
    """The stage that a graph of the manifest belongs to."""
    return next((stage for stage in STAGES if graph.startswith(stage)), "head")


def listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"

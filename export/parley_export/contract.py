"""Names, types and shapes of every graph tensor; knows no weights. Also writes the C++ header.

`python -m parley_export.contract > cpp/src/stages/contract.h` makes the engine's copy.
"""

from __future__ import annotations

from dataclasses import dataclass

FREE = -1  # a dimension that the caller chooses per run
STATE_IN, STATE_OUT = "state_in.", "state_out."
CUSTOM_DOMAIN, CUSTOM_OPSET = "parley", 1  # of the engine's own operators
INLINE_BYTES = 1024  # smaller weights stay in the graph file


@dataclass(frozen=True)
class TensorContract:
    """One graph tensor; `shape` holds numbers and names of sizes.

    A name that ends with a dot stands for one tensor per layer, whose number follows. `type` is
    f32, i64, or `cache`: f32 or f16, as the exporter stores keys and values.
    """

    name: str
    type: str
    shape: tuple[int | str, ...]

    def expand(self, layers: int, cache: str) -> list[TensorContract]:
        """The graph's own tensors behind this one, in order of layers."""
        kind = cache if self.type == "cache" else self.type
        if not self.name.endswith("."):
            return [TensorContract(self.name, kind, self.shape)]
        return [TensorContract(f"{self.name}{i}", kind, self.shape) for i in range(layers)]

    def resolve(self, sizes: dict[str, int]) -> dict[str, object]:
        """The manifest's entry, sizes filled in; names that `sizes` lacks are free."""
        shape = [d if isinstance(d, int) else sizes.get(d, FREE) for d in self.shape]
        return {"name": self.name, "type": self.type, "shape": shape}


@dataclass(frozen=True)
class StateContract:
    """A streaming state: input `state_in.<name>`, output `state_out.<name>`."""

    name: str
    type: str
    shape: tuple[int | str, ...]
    initial: float = 0.0

    def resolve(self, sizes: dict[str, int]) -> dict[str, object]:
        """The manifest's entry, sizes filled in."""
        tensor = TensorContract(self.name, self.type, self.shape)
        return {**tensor.resolve(sizes), "initial": self.initial}


@dataclass(frozen=True)
class GraphContract:
    """One graph; with `some_states` it has those of the states that it needs."""

    name: str
    inputs: tuple[TensorContract, ...]
    outputs: tuple[TensorContract, ...]
    states: tuple[StateContract, ...] = ()
    some_states: bool = False


def _f32(name: str, *shape: int | str) -> TensorContract:
    return TensorContract(name, "f32", shape)


def _cache(name: str, *shape: int | str) -> TensorContract:
    return TensorContract(name, "cache", shape)


# Sizes in capitals are free per run, the others fixed per bundle.
GRAPHS = (
    GraphContract(
        "encoder_segment",
        (_f32("log_mel", 1, "n_mels", "MEL_FRAMES"),),
        (
            _f32("encoded", 1, "FRAMES", "encoder_width"),
            _f32("features", 1, "FEATURES", "width"),
        ),
    ),
    GraphContract(
        "encoder_chunk",
        (_f32("log_mel", 1, "n_mels", "chunk_mel_frames"),),
        (_f32("features", 1, "chunk_features", "width"),),
        (
            StateContract("conv1", "f32", (1, "n_mels", 2)),
            StateContract("conv2", "f32", (1, "encoder_width", 1)),
            StateContract("keys", "f32", ("layers", "heads", "left_context", "head_width")),
            StateContract("values", "f32", ("layers", "heads", "left_context", "head_width")),
            StateContract("filled", "i64", (1,)),
            StateContract("position", "i64", (1,)),
            StateContract("adapter", "f32", ("adapter_stages", 1, "encoder_width")),
        ),
    ),
    GraphContract(
        "head_slots",
        # Of positions: what the backbone's head sees, and the embedding of the token.
        (_f32("hidden", "N", "width"), _f32("text", "N", "width")),
        (_f32("slots", "SLOTS", "head_width"),),
    ),
    GraphContract(
        "head_input",
        # What the backbone is fed next, of a token's embedding and the codes beside it.
        (_f32("text", 1, "width"), TensorContract("codes", "i64", ("group",))),
        (_f32("row", 1, "width"),),
    ),
    GraphContract(
        "flow_condition",
        (TensorContract("codes", "i64", (1, "N")),),
        (_f32("token_features", 1, "FRAMES", "hidden"),),
    ),
    GraphContract(
        "flow_encoder",
        # The last few codes are only seen ahead; -1 where nothing is known of them.
        (TensorContract("codes", "i64", (1, "N")), _f32("speaker", 1, "speaker_width")),
        (_f32("token_features", 1, "FRAMES", "hidden"),),
        (
            StateContract("lookahead", "f32", (1, "width", "lookahead_rows")),
            StateContract("upsampled", "f32", (1, "width", "upsampled_rows")),
            StateContract("keys", "f32", ("blocks", "heads", "past", "head_width")),
            StateContract("values", "f32", ("blocks", "heads", "past", "head_width")),
            StateContract("up_keys", "f32", ("up_blocks", "heads", "up_past", "head_width")),
            StateContract("up_values", "f32", ("up_blocks", "heads", "up_past", "head_width")),
            StateContract("filled", "i64", (1,)),
        ),
        some_states=True,
    ),
    GraphContract(
        "flow_modulation",
        (_f32("t", "K"), _f32("speaker", 1, "speaker_width")),
        (_f32("modulation", "K", "modulation_width"),),
    ),
    GraphContract(
        "flow_field",
        (
            _f32("inputs", "B", "T", "field_width"),
            _f32("modulation", 1, "modulation_width"),
            # Of the own rows: as the past's keys were rotated, and as the prompt's were.
            TensorContract("positions", "i64", ("T",)),
            TensorContract("prompt_positions", "i64", ("T",)),
            _f32("mask", "ROWS"),  # added to the scores of the past's rows, then of the own ones
            _f32("carried", "B", "carried_frames", "carried_width"),
            _cache("prompt_keys.", "B", "heads", "PROMPT", "head_width"),  # rotated
            _cache("prompt_values.", "B", "heads", "head_width", "PROMPT"),
            _cache("past_keys.", "B", "heads", "PAST", "head_width"),  # rotated
            _cache("past_values.", "B", "heads", "PAST", "head_width"),
        ),
        (
            _f32("velocity", "B", "T", "z"),
            # What later frames carry: the last carried_frames of these, behind those before. A
            # graph may give no others; their number is then fixed.
            _f32("rows", "B", "ROWS_LEFT", "carried_width"),
            _cache("keys.", "B", "heads", "T", "head_width"),  # rotated; for both kinds of memory
            _cache("values.", "B", "heads", "T", "head_width"),
        ),
    ),
    GraphContract(
        "vocoder",
        # kept: how many of the frames the state takes in; those behind them only show what comes.
        # range: first latent frame of the reply and the one after its last, counted from the first
        # of `latents`.
        (
            _f32("latents", 1, "z", "T"),
            TensorContract("range", "i64", (2,)),
            TensorContract("kept", "i64", (1,)),
        ),
        (_f32("wave", 1, 1, "SAMPLES"),),
        (StateContract("history", "f32", ("history",)),),
    ),
    GraphContract(
        "vocoder_with_noise",
        # As the vocoder, with a source that is drawn: one noise per sample of it.
        (
            _f32("latents", 1, "z", "T"),
            _f32("noise", 1, 1, "SAMPLES"),
            TensorContract("range", "i64", (2,)),
            TensorContract("kept", "i64", (1,)),
        ),
        (_f32("wave", 1, 1, "SAMPLES"),),
        (StateContract("history", "f32", ("history",)),),
    ),
)


def graph(name: str) -> GraphContract:
    """The contract of one graph. Raises KeyError."""
    return {g.name: g for g in GRAPHS}[name]


def state_tensors(states: tuple[StateContract, ...], prefix: str) -> tuple[TensorContract, ...]:
    """The graph tensors that carry the states in or out."""
    return tuple(TensorContract(prefix + s.name, s.type, s.shape) for s in states)


_HEADER = """\
// Names of graphs and graph tensors as the exporter writes them; generated, do not edit.
// python -m parley_export.contract > cpp/src/stages/contract.h
#pragma once

namespace parley::contract {

inline constexpr char kStateIn[] = "%s";
inline constexpr char kStateOut[] = "%s";
"""


def header() -> str:
    """The C++ header that holds the same names."""
    lines = [_HEADER % (STATE_IN, STATE_OUT)]
    for g in GRAPHS:
        lines.append(f"namespace {g.name} {{")
        lines.append(f'inline constexpr char kGraph[] = "{g.name}";')
        tensors: tuple[TensorContract | StateContract, ...] = (*g.inputs, *g.outputs, *g.states)
        for tensor in tensors:
            camel = "".join(part.capitalize() for part in tensor.name.strip(".").split("_"))
            shape = ", ".join(str(d) for d in tensor.shape)
            lines.append(f"// {tensor.type} [{shape}]")
            lines.append(f'inline constexpr char k{camel}[] = "{tensor.name}";')
        lines.append(f"}}  // namespace {g.name}\n")
    return "\n".join([*lines, "}  // namespace parley::contract\n"])


if __name__ == "__main__":
    print(header(), end="")

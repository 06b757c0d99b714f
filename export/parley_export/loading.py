"""Put a checkpoint's tensors into modules and check names, shapes and constants; reads no files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from parley_export.errors import Problems

# Buffers whose values the architecture fixes; a file may hold them or not.
CONSTANTS = (".filter", ".inv_freq")
# Files may hold constants rounded to bfloat16 (8 significant bits).
CONSTANT_RELATIVE_ERROR = 2.0**-8

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Module:
    """A PyTorch module of a checkpoint.

    prefix: of its tensors' names in the checkpoint. kind: makes it from its config. float32: its
    weights are made float32 when they are loaded, since its export computes with them.
    """

    name: str
    prefix: str
    kind: Callable[[Any], nn.Module]
    config: Any
    float32: bool = False


@contextmanager
def _parameters_without_memory() -> Iterator[None]:
    """Move each new parameter to the meta device; buffers stay real: small and constant."""
    register = nn.Module.register_parameter

    def register_empty(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            parameter = nn.Parameter(parameter.to("meta"), requires_grad=False)
        register(module, name, parameter)

    nn.Module.register_parameter = register_empty  # type: ignore[assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def empty_module(module: Module) -> nn.Module:
    """Build a module whose parameters have shapes but no memory."""
    with _parameters_without_memory():
        return module.kind(module.config)


def module_shapes(*modules: Module) -> Shapes:
    """Full name -> shape of every parameter."""
    return {
        module.prefix + name: tuple(parameter.shape)
        for module in modules
        for name, parameter in empty_module(module).named_parameters()
    }


def count_weights(*modules: Module, below: str = "") -> int:
    """How many they have, of those whose names begin with `below`."""
    return sum(
        math.prod(shape)
        for module in modules
        for name, shape in module_shapes(module).items()
        if name.startswith(module.prefix + below)
    )


def load_module(
    described: Module, read: Callable[[str], torch.Tensor], *, limit: float = math.inf
) -> nn.Module:
    """Build a module with a checkpoint's weights, used where they lie and in their own type.

    Args:
        read: gives a tensor by its full name; one from a mapped file costs no anonymous memory.
        limit: the largest magnitude that the export's type can hold.
    Raises:
        BundleError: a weight is NaN, infinite or above the limit; names all such tensors.
    """
    prefix, module = described.prefix, empty_module(described)
    problems = Problems("export.load", "fetch the checkpoint again, or export with --graphs f32")
    state = {}
    for name, _ in module.named_parameters():
        tensor = read(prefix + name)
        if described.float32:
            tensor = tensor.to(torch.float32)
        low, high = (float(x) for x in tensor.aminmax())
        if not (math.isfinite(low) and math.isfinite(high)):  # aminmax hands NaN through
            problems.add(f"expected finite weights, got NaN or infinity in {prefix + name}")
        elif max(-low, high) > limit:
            problems.add(
                f"expected weights up to {limit:.0f}, got {max(-low, high):g} in {prefix + name}"
            )
        state[name] = tensor
    problems.raise_if_any()
    module.load_state_dict(state, strict=True, assign=True)
    return module.eval().requires_grad_(False)


def compare_shapes(where: str, expected: Shapes, found: Shapes, problems: Problems) -> None:
    """Name every tensor that is missing, unknown or of another shape."""
    for name, shape in expected.items():
        if name not in found:
            hint = " (tied heads are not supported)" if name.endswith("lm_head.weight") else ""
            problems.add(f"expected the tensor {name} {list(shape)} in {where}, got none{hint}")
        elif found[name] != shape:
            problems.add(f"expected {name} {list(shape)} in {where}, got {list(found[name])}")
    for name in found:
        if name not in expected and not name.endswith(CONSTANTS):
            problems.add(f"expected only known tensors in {where}, got {name} {list(found[name])}")


def compare_constants(
    where: str, modules: Iterable[Module], tensors: Mapping[str, Any], problems: Problems
) -> None:
    """Check the constants that a checkpoint carries against the architecture's own."""
    known: dict[str, torch.Tensor] = {}
    for module in modules:
        constants: dict[str, torch.Tensor] = getattr(empty_module(module), "constants", dict)()
        known |= {module.prefix + name: value for name, value in constants.items()}
    for name, value in tensors.items():
        if not name.endswith(CONSTANTS):
            continue
        expected = known.get(name)
        if expected is None:
            problems.add(f"expected only known tensors in {where}, got {name}")
        elif value.shape != expected.shape:
            problems.add(
                f"expected {name} {list(expected.shape)} in {where}, got {list(value.shape)}"
            )
        elif not _close(value, expected):
            problems.add(
                f"expected {name} in {where} to hold the architecture's constant, got other values"
            )


def _close(value: torch.Tensor, expected: torch.Tensor) -> bool:
    limit = CONSTANT_RELATIVE_ERROR * expected.abs().max()
    return bool(((value.float() - expected).abs() <= limit).all())

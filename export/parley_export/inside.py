"""Looks inside a graph: its intermediate values beside those of the modules that it was made from.

A value belongs to a module where a node computes with that module's weight: weights are found by
what they hold, so nothing depends on how a family names its nodes. Knows no family.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from parley_export.family import Probe

NUMPY_TYPES = {"f32": np.float32, "f16": np.float16, "i64": np.int64}
TORCH_TYPES = {
    onnx.TensorProto.FLOAT: torch.float32,
    onnx.TensorProto.FLOAT16: torch.float16,
    onnx.TensorProto.BFLOAT16: torch.bfloat16,
}
RESHAPES = ("Cast", "Transpose", "Reshape", "Unsqueeze", "Squeeze")  # what may happen to a weight
LATE = 0.1  # relative distance from which on a value may be an earlier sample's
TRIED = 8  # likely delays


@dataclass(frozen=True)
class Seen:
    """One value of a graph beside its module's. `late`: by how many frames or samples it is late.

    distance: norm of the difference by the norm of the module's value; NaN where their shapes have
    nothing in common.
    """

    value: str
    module: str
    shape: tuple[int, ...]
    distance: float
    late: int = 0


def look_inside(
    file: Path, entry: dict[str, Any], modules: dict[str, nn.Module], probe: Probe
) -> list[Seen]:
    """Run a graph and its modules on a probe's inputs; values in the order of the graph.

    Args:
        entry: the graph's entry in the manifest.
        modules: by the names that rows begin with.
    """
    model = onnx.load(file, load_external_data=False)
    found = dict(values_of(model.graph, weights_of(model.graph, file.parent), modules))
    theirs = hooked(modules, probe)
    outputs = [output.name for output in model.graph.output]
    model.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in found if name not in outputs
    )
    ours = run(model, file.parent, feeds_of(entry, probe))
    pairs = [*found.items(), *((name, name) for name in outputs)]
    return [compared(name, key, ours[name], theirs[key]) for name, key in pairs if key in theirs]


def weights_of(graph: onnx.GraphProto, folder: Path) -> dict[str, str]:
    """Initializer -> digest of what it holds, in its own type."""
    digests = {}
    for tensor in graph.initializer:
        if tensor.data_type in TORCH_TYPES:
            data = tensor.raw_data
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                place = {e.key: e.value for e in tensor.external_data}
                with (folder / place["location"]).open("rb") as stored:
                    stored.seek(int(place["offset"]))
                    data = stored.read(int(place["length"]))
            digests[tensor.name] = digest(data, tensor.data_type)
    return digests


def digest(data: bytes, kind: int) -> str:
    return f"{kind} {hashlib.sha256(data).hexdigest()}"


def values_of(
    graph: onnx.GraphProto, weights: dict[str, str], modules: dict[str, nn.Module]
) -> Iterator[tuple[str, str]]:
    """Value that a node computes with a module's weight, bias added -> path of the module."""
    owners = owners_of(modules)
    users: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            users[name].append(node)
    for node in graph.node:
        value = node.output[0]
        if node.op_type in RESHAPES and node.input[0] in weights:
            weights[value] = weights[node.input[0]]
            continue
        paths = [owners[weights[name]] for name in node.input if weights.get(name) in owners]
        if not paths or not paths[0] or node.op_type in ("Add", "Mul"):
            continue
        if len(users[value]) == 1 and users[value][0].op_type == "Add":
            addition = users[value][0]
            if any(name in weights for name in addition.input):
                value = addition.output[0]
        yield value, paths[0].pop(0)


def owners_of(modules: dict[str, nn.Module]) -> dict[str, list[str]]:
    """Digest of a weight, as it is or transposed, in each type -> modules that have it."""
    owners: dict[str, list[str]] = defaultdict(list)
    for top, module in modules.items():
        for name, inner in module.named_modules():
            weight = inner.kernel() if hasattr(inner, "kernel") else getattr(inner, "weight", None)
            if not isinstance(weight, torch.Tensor):
                continue
            forms = [weight] if weight.ndim != 2 else [weight, weight.T]
            for kind, dtype in TORCH_TYPES.items():
                digests = {digest(bytes_of(form.to(dtype)), kind) for form in forms}
                for one in digests:
                    owners[one].append(f"{top}.{name}")
    return owners


def bytes_of(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@torch.no_grad()
def hooked(modules: dict[str, nn.Module], probe: Probe) -> dict[str, np.ndarray]:
    """Path of a module, and name of a graph's output -> what came out of it first."""
    seen: dict[str, np.ndarray] = {}
    handles = []
    for top, module in modules.items():
        for name, inner in module.named_modules():

            def keep(*call: Any, path: str = f"{top}.{name}") -> None:
                if isinstance(out := call[2], torch.Tensor):
                    seen.setdefault(path, out.float().numpy().copy())

            handles.append(inner.register_forward_hook(keep))
    try:
        outputs = probe.run()
    finally:
        for handle in handles:
            handle.remove()
    return seen | {name: value.float().numpy() for name, value in outputs.items()}


def feeds_of(entry: dict[str, Any], probe: Probe) -> dict[str, np.ndarray]:
    """The probe's inputs in the graph's types, and states as a stream begins."""
    feeds = {
        tensor["name"]: np.asarray(probe.feeds[tensor["name"]], NUMPY_TYPES[tensor["type"]])
        for tensor in entry["inputs"]
    }
    for state in entry.get("states", []):
        kind = NUMPY_TYPES[state["type"]]
        feeds[f"state_in.{state['name']}"] = np.full(state["shape"], state["initial"], kind)
    return feeds


def run(
    model: onnx.ModelProto, folder: Path, feeds: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """All outputs of a graph whose weights lie in `folder`."""
    import onnxruntime

    import parley

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder.resolve())
    )
    options.register_custom_ops_library(parley.ops_library())
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, ["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def compared(value: str, module: str, ours: np.ndarray, theirs: np.ndarray) -> Seen:
    """The nearest of the layouts in which the graph may hold the module's value."""
    shape = tuple(theirs.shape)
    layouts = list(layouts_of(ours.astype(np.float64), theirs.shape))
    if not layouts:
        return Seen(value, module, shape, float("nan"))
    wanted = theirs.astype(np.float64)
    nearest = min(layouts, key=lambda layout: relative(layout, wanted))
    distance, late = relative(nearest, wanted), 0
    if distance > LATE:
        distance, late = min((distance, 0), aligned(nearest, wanted))
    return Seen(value, module, shape, distance, late)


def layouts_of(ours: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """`ours` as `shape` in every order of axes that gives it, also with axes run together."""
    if ours.size != np.prod(shape):
        return
    kept = [n for n in shape if n != 1]
    for order in itertools.permutations(range(len(kept))):
        stored = [kept[axis] for axis in order]
        if fits([n for n in ours.shape if n != 1], stored):
            yield ours.reshape(stored).transpose(np.argsort(order)).reshape(shape)


def fits(found: list[int], stored: list[int]) -> bool:
    """Whether the extents `found` are those of `stored`, neighbours multiplied or not."""
    left = iter(stored)
    for extent in found:
        product = 1
        while product < extent:
            product *= next(left, extent + 1)
        if product != extent:
            return False
    return next(left, None) is None


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.linalg.norm(ours - theirs) / max(float(np.linalg.norm(theirs)), 1e-30))


def aligned(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, int]:
    """Distance and delay along the last axis where `ours` fits best: a stream answers late."""
    n = ours.shape[-1]
    sums = (x.reshape(-1, n).sum(0) for x in (ours, theirs))
    a, b = (np.fft.rfft(x - x.mean(), 2 * n) for x in sums)
    likely = np.argsort(np.fft.irfft(a * np.conj(b))[:n])[-TRIED:]
    return min((relative(ours[..., k:], theirs[..., : n - k]), int(k)) for k in likely)

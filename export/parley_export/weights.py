"""Read tensors from safetensors shards; knows no model's names.

Tensors come back as views of mapped files, so reading one costs no anonymous memory until somebody
converts it.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parley_export.errors import BundleError, LibraryError, Problems

# Bytes of one element. Weights must be floating point; integers in a checkpoint are a mistake.
FLOAT_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
MAX_HEADER_BYTES = 64 << 20  # a header of the real checkpoint has 0.1 MB
MAX_ELEMENTS = 1 << 40


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies and what it looks like; `dtype` is safetensors' name of it."""

    file: Path
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.elements * FLOAT_BYTES.get(self.dtype, 4)


class Shards:
    """All tensors of a sharded or single safetensors checkpoint.

    Raises:
        BundleError: a shard is missing, truncated or contradicts the index; names every fault.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.tensors: dict[str, TensorInfo] = {}
        self._open: tuple[Path, Any] | None = None
        problems = Problems("checkpoint.read_weights", "fetch the checkpoint's files again")
        index = folder / "model.safetensors.index.json"
        if index.is_file():
            listed = _read_index(index)
            self.files = [folder / name for name in sorted(set(listed.values()))]
        else:
            listed = None
            self.files = sorted(folder.glob("*.safetensors"))
            if not self.files:
                raise BundleError(
                    f"[checkpoint.read_weights] expected safetensors files in {folder}, got none; "
                    "point to the folder that holds config.json and model-*.safetensors"
                )
        for file in self.files:
            self._read_shard(file, problems)
        if listed is not None:
            self._compare_index(listed, problems)
        problems.raise_if_any()

    def _read_shard(self, file: Path, problems: Problems) -> None:
        if not file.is_file():
            problems.add(f"expected the shard {file.name} that the index names, got no such file")
            return
        try:
            header = read_header(file)
        except BundleError as e:
            problems.add_from(e)
            return
        for name, info in header.items():
            if name in self.tensors:
                problems.add(
                    f"expected each tensor once, got {name} in {self.tensors[name].file.name} "
                    f"and in {file.name}"
                )
            self.tensors[name] = info

    def _compare_index(self, listed: dict[str, str], problems: Problems) -> None:
        for name, file in listed.items():
            info = self.tensors.get(name)
            if info is None and (self.folder / file).is_file():
                problems.add(f"expected {name} in {file} as the index says, got no such tensor")
            elif info is not None and info.file.name != file:
                problems.add(f"expected {name} in {file} as the index says, got {info.file.name}")
        for name in self.tensors.keys() - listed.keys():
            problems.add(f"expected only tensors that the index names, got {name}")

    def read(self, name: str) -> Any:
        """Return one torch tensor that views the mapped shard, in the shard's own type."""
        info = self.tensors[name]
        if self._open is None or self._open[0] != info.file:
            self._open = (info.file, _safe_open(info.file))
        return self._open[1].get_tensor(name)

    def close(self) -> None:
        """Let go of the mapped shard; tensors that were read keep their own reference."""
        self._open = None


def _read_index(path: Path) -> dict[str, str]:
    where = "checkpoint.read_index"
    try:
        listed = json.loads(path.read_text("utf-8"))["weight_map"]
        if not isinstance(listed, dict) or not listed:
            raise TypeError
        for name, file in listed.items():
            # The name becomes a path: only plain file names of this folder.
            if not isinstance(file, str) or not isinstance(name, str):
                raise TypeError
            if Path(file).name != file or not file.endswith(".safetensors"):
                raise BundleError(
                    f"[{where}] expected plain names of safetensors files in {path.name}, "
                    f"got {file!r}; fetch the index again"
                )
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise BundleError(
            f"[{where}] expected a JSON object with weight_map in {path.name}, got something else; "
            "fetch the index again"
        ) from e
    return listed


def read_header(file: Path) -> dict[str, TensorInfo]:
    """Read and check a safetensors header: every extent inside the file, no overlap, no hole.

    Source of the format: the safetensors specification (8 bytes of length, JSON, data).
    """
    size = file.stat().st_size

    def bad(expected: str, got: str) -> BundleError:
        return BundleError(
            f"[checkpoint.read_header] expected {expected} in {file.name}, got {got}; "
            "the file is damaged or was cut off: fetch it again"
        )

    with file.open("rb") as f:
        start = f.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise bad("a header inside the file", f"{length} bytes of {size}")
        try:
            header = json.loads(f.read(length))
            items = [(n, i) for n, i in header.items() if n != "__metadata__"]
            tensors = {n: _info(file, i) for n, i in items}
            extents = sorted(tuple(map(int, i["data_offsets"])) for _, i in items)
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise bad("a readable header", "something else") from e
    for (name, item), info in zip(items, tensors.values(), strict=True):
        begin, end = item["data_offsets"]
        if info.dtype not in FLOAT_BYTES:
            raise bad(f"{name} as F32, F16 or BF16", info.dtype)
        if end - begin != info.nbytes:
            raise bad(f"{info.nbytes} bytes for {name}", f"{end - begin}")
    position = 0
    for begin, end in extents:
        if begin != position:
            raise bad("tensors one after another", f"offset {begin} after {position}")
        position = end
    if 8 + length + position != size:
        raise bad(f"{8 + length + position} bytes", f"{size}")
    return tensors


def _info(file: Path, item: dict[str, Any]) -> TensorInfo:
    shape = tuple(item["shape"])
    if any(not isinstance(n, int) or n < 0 for n in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise ValueError("shape")
    return TensorInfo(file, str(item["dtype"]), shape)


def _safe_open(file: Path) -> Any:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as e:
        raise LibraryError(
            "[checkpoint.read_weights] expected the package safetensors, got none; "
            "pip install 'parley[export]'"
        ) from e
    try:
        return safe_open(str(file), framework="pt")
    except SafetensorError as e:
        raise BundleError(
            f"[checkpoint.read_weights] expected a safetensors file, got {file.name} ({e}); "
            "fetch it again"
        ) from e

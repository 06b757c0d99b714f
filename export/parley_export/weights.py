"""Read tensors from safetensors shards; knows no model's names.

Tensors come back as views of mapped files, so reading one costs no anonymous memory until somebody
converts it.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parley_export.errors import BundleError, LibraryError, Problems

# Bytes of one element of the types that are read.
FLOAT_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
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
        return self.elements * FLOAT_BYTES[self.dtype]


class Shards:
    """All tensors of a sharded or single safetensors checkpoint.

    Raises:
        BundleError: a shard is missing, truncated, contradicts the index or holds weights of a type
            that is not read; names every fault.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.tensors: dict[str, TensorInfo] = {}
        self._open: tuple[Path, Any] | None = None
        self._unread: set[str] = set()  # names of damaged shards
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
        if (wrong := wrong_types(self.tensors)) is not None:
            problems.add_from(wrong)
        problems.raise_if_any()

    def _read_shard(self, file: Path, problems: Problems) -> None:
        if not file.is_file():
            problems.add(f"expected the shard {file.name} that the index names, got no such file")
            return
        try:
            header = read_header(file)
        except BundleError as e:
            problems.add_from(e)
            self._unread.add(file.name)
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
            if file in self._unread:
                continue
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
    """Tensors of a safetensors file; the library checks that every extent lies inside the file.

    Raises:
        BundleError: the file is damaged.
        OSError: it cannot be read.
    """
    file.open("rb").close()  # the library names no cause
    opened = _safe_open(file)
    views = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
    return {
        name: TensorInfo(file, view.get_dtype(), tuple(view.get_shape()))
        for name, view in views.items()
    }


def wrong_types(tensors: Mapping[str, TensorInfo]) -> BundleError | None:
    """The error that names all types which are not read, None where there are none."""
    wrong = {name: info for name, info in tensors.items() if info.dtype not in FLOAT_BYTES}
    if not wrong:
        return None
    counts = Counter(info.dtype for info in wrong.values())
    types = ", ".join(f"{kind} ({n} tensors)" for kind, n in counts.most_common())
    name, info = next(iter(wrong.items()))
    floats = all(kind.startswith("F") for kind in counts)
    return BundleError(
        f"[checkpoint.read_weights] expected weights of type F32, F16 or BF16, got {types}, such "
        f"as {name} in {info.file.name}; "
        + ("convert" if floats else "take the weights as they were trained, and convert")
        + " them to bfloat16 (tensor.to(torch.bfloat16), safetensors.torch.save_file)"
    )


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
            f"[checkpoint.read_header] expected a whole safetensors file, got {file.name} ({e}); "
            "the file is damaged or was cut off: fetch it again"
        ) from e

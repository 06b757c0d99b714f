"""Read the tensors of a zipped state dict from the internet without running any of it.

Three lines of defence: every name in the pickle is checked before anything is built; a plain
unpickler that knows inert stand-ins only reads which storages there are, and their sizes are
compared with the zip's entries (torch's mapped loader does not compare them); torch's weights_only
loader, in a version in which it is known to be safe.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from parley_export.errors import BundleError, LibraryError, Problems
from parley_export.weights import MAX_ELEMENTS

MAX_PICKLE_BYTES = 16 << 20  # data.pkl holds names and shapes only: 0.2 MB
# The first torch whose weights_only loader neither runs code (CVE-2025-32434, fixed in 2.6) nor
# corrupts memory (CVE-2026-24747, fixed in 2.10).
MIN_TORCH = (2, 10)

_ELEMENT_BYTES = {
    "BFloat16Storage": 2,
    "HalfStorage": 2,
    "FloatStorage": 4,
    "DoubleStorage": 8,
    "LongStorage": 8,
    "IntStorage": 4,
    "BoolStorage": 1,
}
_REBUILD = ("_rebuild_tensor_v2", "_rebuild_parameter")
# What a state dict needs to be rebuilt; anything else is refused.
_ALLOWED_GLOBALS = {
    "collections OrderedDict",
    *(f"torch._utils {name}" for name in _REBUILD),
    *(f"torch {name}" for name in _ELEMENT_BYTES),
}
# What torch.save writes beside them for tensors of other types, such as float8; harmless.
_TYPE = re.compile(r"torch (float8_\w+|u?int\d+|complex\d+|bool|\w+Storage)")
_OTHER_TYPES = {"torch._utils _rebuild_tensor_v3", "torch.storage UntypedStorage"}
# How other files begin that torch.save of some version, or somebody else, calls model.pt.
_OLD_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)


def read_state_dict(path: Path) -> dict[str, Any]:
    """Return the tensors of a torch zip file, mapped, `module.` stripped; executes nothing.

    Raises:
        LibraryError: torch is missing or older than 2.10.
        BundleError: the file is no zipped state dict, or names anything but tensors.
    """
    loaded = read_zip(path)
    if isinstance(loaded, dict) and set(loaded) == {"model"} and isinstance(loaded["model"], dict):
        loaded = loaded["model"]
    return _check_state_dict(path, loaded)


def read_zip(path: Path) -> Any:
    """Return what a torch zip file holds: tensors, mapped, and plain values; executes nothing.

    Raises as read_state_dict.
    """
    torch = require_torch()
    scan_pickle(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as e:  # torch raises many kinds; each means that the file cannot be used
        raise BundleError(
            f"[checkpoint.read_state_dict] expected a state dict in {path.name}, got "
            f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}; fetch the file again"
        ) from e


def require_torch() -> Any:
    """Import torch and refuse versions whose weights_only loader runs code or corrupts memory."""
    try:
        import torch
    except ImportError as e:
        raise LibraryError(
            "[export.start] expected PyTorch, got none; pip install 'parley[export]'"
        ) from e
    found = tuple(
        int("".join(c for c in p if c.isdigit()) or 0)
        for p in torch.__version__.split("+")[0].split(".")[:2]
    )
    if found < MIN_TORCH:
        raise LibraryError(
            f"[checkpoint.read_state_dict] expected torch >= {MIN_TORCH[0]}.{MIN_TORCH[1]}, the "
            "first whose weights_only loader is safe (CVE-2025-32434, CVE-2026-24747), got "
            f"{torch.__version__}; pip install -U 'parley[export]'"
        )
    return torch


def scan_pickle(path: Path) -> None:
    """Check a torch zip file's layout, the names in its pickle and the sizes of its storages."""

    def bad(got: str) -> BundleError:
        return BundleError(
            f"[checkpoint.scan_pickle] expected a zipped state dict of tensors in {path.name}, "
            f"got {got}; do not use this file, fetch it from its publisher"
        )

    _refuse_other_formats(path)
    try:
        data, sizes = _read_zip(path)
    except _BadZipError as e:
        raise bad(str(e)) from e
    except (zipfile.BadZipFile, EOFError, struct.error, NotImplementedError) as e:
        raise bad(f"a damaged file ({e})") from e
    try:
        forbidden = sorted(set(_global_names(data)) - _ALLOWED_GLOBALS)
    except (ValueError, IndexError) as e:
        raise bad("an unreadable pickle") from e
    types = [name for name in forbidden if _TYPE.fullmatch(name)]
    if types and set(forbidden) - set(types) <= _OTHER_TYPES:
        raise BundleError(
            f"[checkpoint.scan_pickle] expected tensors of float32, float16 or bfloat16 in "
            f"{path.name}, got {', '.join(n.replace(' ', '.') for n in types)}; convert them to "
            "bfloat16 (tensor.to(torch.bfloat16), torch.save)"
        )
    if forbidden:
        raise bad("a pickle that calls " + ", ".join(n.replace(" ", ".") for n in forbidden))
    reader = _StorageReader(data)
    try:
        reader.load()
    except Exception as e:  # a hostile stream can fail in any way; none of them runs anything
        raise bad(f"an unreadable pickle ({type(e).__name__})") from e
    for key, needed in reader.storages.items():
        if sizes.get(key) != needed:
            raise bad(f"a storage {key} of {sizes.get(key)} bytes that should have {needed}")


def _refuse_other_formats(path: Path) -> None:
    """Name the format of a file that is no zip, where it can be told."""
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(_OLD_MAGIC):
        got = "torch's format of before 1.6, without zip"
    elif start[257:262] == b"ustar":
        got = "torch's format of before 0.2, a tar archive"
    else:
        return
    raise BundleError(
        f"[checkpoint.scan_pickle] expected torch's zipped format in {path.name}, got {got}; save "
        'it anew where you trust it: python -c "import torch; torch.save(torch.load('
        f"'{path.name}', weights_only=True), '{path.name}')\""
    )


class _BadZipError(ValueError):
    """A zip file that torch.save would not have written."""


def _read_zip(path: Path) -> tuple[bytes, dict[str, int]]:
    """Return data.pkl and the size of each storage by its key."""
    with zipfile.ZipFile(path) as z:
        entries = z.infolist()
        pickles = [e for e in entries if e.filename.rsplit("/", 1)[-1] == "data.pkl"]
        if len(pickles) != 1:
            raise _BadZipError(f"{len(pickles)} pickles")
        if any(e.compress_type != zipfile.ZIP_STORED for e in entries):
            raise _BadZipError("compressed entries")
        if len({e.filename for e in entries}) != len(entries):
            raise _BadZipError("two entries of one name")
        if pickles[0].file_size > MAX_PICKLE_BYTES:
            raise _BadZipError(f"a pickle of {pickles[0].file_size} bytes")
        folder = pickles[0].filename.removesuffix("data.pkl") + "data/"
        sizes = {e.filename.removeprefix(folder): e.file_size for e in entries}
        return z.read(pickles[0]), sizes


def _global_names(data: bytes) -> Iterator[str]:
    """Yield "module name" for each global a pickle refers to, from its opcodes alone."""
    strings: list[str] = []
    for opcode, arg, _ in pickletools.genops(data):
        if opcode.name == "GLOBAL":
            yield str(arg)
        elif opcode.name in _CALLS:
            # torch.save writes protocol 2 and GLOBAL only; what needs a stack to tell is refused.
            yield f"<{opcode.name}> {' '.join(strings[-2:])}"
        elif isinstance(arg, str):
            strings.append(arg)


_CALLS = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}


class _StorageReader(pickle.Unpickler):
    """Notes the storages that a state dict names; what it builds are empty stand-ins."""

    def __init__(self, data: bytes):
        super().__init__(io.BytesIO(data))
        self.storages: dict[str, int] = {}  # key -> bytes that its elements need

    def find_class(self, module: str, name: str) -> Any:
        if f"{module} {name}" not in _ALLOWED_GLOBALS:
            raise pickle.UnpicklingError(f"{module}.{name}")
        if name == "OrderedDict":
            return OrderedDict
        return name if name in _ELEMENT_BYTES else _nothing

    def persistent_load(self, pid: Any) -> None:
        _, kind, key, _, elements = pid
        if not isinstance(elements, int) or not 0 <= elements <= MAX_ELEMENTS:
            raise pickle.UnpicklingError(f"{elements!r} elements")
        needed = elements * _ELEMENT_BYTES[kind]
        if self.storages.setdefault(str(key), needed) != needed:
            raise pickle.UnpicklingError(f"two sizes of the storage {key}")


def _nothing(*_arguments: Any) -> None:
    """Stands in for the functions that rebuild tensors."""


def _check_state_dict(path: Path, loaded: Any) -> dict[str, Any]:
    import torch

    problems = Problems("checkpoint.read_state_dict", "fetch the file from its publisher")
    if not isinstance(loaded, dict) or not loaded:
        problems.add(f"expected a state dict in {path.name}, got {type(loaded).__name__}")
        problems.raise_if_any()
    result: dict[str, Any] = {}
    for key, value in loaded.items():
        name = key.removeprefix("module.") if isinstance(key, str) else repr(key)
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            problems.add(f"expected only tensors, got {name}: {type(value).__name__}")
        elif not value.is_floating_point():
            problems.add(f"expected floating point, got {name}: {value.dtype}")
        elif value.numel() > MAX_ELEMENTS:
            problems.add(f"expected a finite size, got {name} of {tuple(value.shape)}")
        elif not inside_storage(value):
            problems.add(f"expected {name} inside its storage, got {tuple(value.shape)}")
        elif name in result:
            problems.add(f"expected each tensor once, got {name} twice")
        else:
            result[name] = value.detach()
    problems.raise_if_any()
    return result


def inside_storage(value: Any) -> bool:
    """True where every element lies in the storage; hostile strides may point outside."""
    last = value.storage_offset() + sum(
        (n - 1) * s for n, s in zip(value.shape, value.stride(), strict=True)
    )
    bytes_needed = (last + 1) * value.element_size() if value.numel() else 0
    return bytes_needed <= value.untyped_storage().nbytes() and min(value.stride(), default=0) >= 0

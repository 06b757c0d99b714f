"""The backbone on its own, to be quantized, or timed beside llama.cpp's loop; knows no bundle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from parley import _core
from parley.events import Floats
from parley.libraries import runnable_llama

if TYPE_CHECKING:
    from parley.bundle import CacheType, Device


ROWS_BYTES = 1 << 30  # that llama.cpp converts at once; bounds its anonymous memory


def quantize(
    source: str | Path,
    target: str | Path,
    file_type: int,
    *,
    threads: int,
    importance: Mapping[str, Floats] | None = None,
    requantize: bool = False,
) -> None:
    """Writes `target` as a copy of the GGUF file `source` in another type.

    `file_type` is llama.h's number. importance: as `Bundle.importance` gives it, for the columns
    that matter most to lose least. requantize: take a source that is quantized already. Tells
    progress as log messages of "parley.llama". Raises LibraryError where llama.cpp is missing,
    BundleError where it refuses the file.
    """
    _core.quantize_gguf(
        os.fsencode(runnable_llama()),
        os.fsencode(source),
        os.fsencode(target),
        file_type=file_type,
        threads=threads,
        rows_bytes=ROWS_BYTES,
        importance=dict(importance or {}),
        requantize=requantize,
    )


def open_bench(
    gguf: str | Path,
    *,
    device: Device = "cpu",
    kv: CacheType = "f16",
    threads: int = 1,
    n_cells: int = 1024,
) -> _core.BackboneBench:
    """Both loops over a GGUF file, each with a cache of `n_cells` positions.

    Raises BundleError for a file that is no decoder, InputError for a cache type that its heads do
    not allow, LibraryError where llama.cpp is missing.
    """
    return _core.BackboneBench(
        os.fsencode(gguf),
        llama=os.fsencode(runnable_llama()),
        device=device,
        kv=kv,
        threads=threads,
        n_cells=n_cells,
    )

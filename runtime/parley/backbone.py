"""The backbone on its own, to be timed beside llama.cpp's own loop; knows no bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from parley import _core
from parley.libraries import llama_path

if TYPE_CHECKING:
    from parley.bundle import CacheType, Device


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
        str(gguf), llama=llama_path(None), device=device, kv=kv, threads=threads, n_cells=n_cells
    )

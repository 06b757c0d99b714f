"""Where parley's own ONNX operators lie, for other programs; loads nothing."""

from __future__ import annotations

from pathlib import Path

from parley.errors import LibraryError


def ops_library() -> str:
    """The path of the library that adds parley's operators to ONNX Runtime.

    Bundles' graphs may use the operator `parley.SnakeBeta`. `parley.open` knows it; a session of
    your own learns it so:

    >>> import onnxruntime, parley
    >>> options = onnxruntime.SessionOptions()
    >>> options.register_custom_ops_library(parley.ops_library())

    Raises LibraryError where the installation lacks it.
    """
    folder = Path(__file__).parent
    for name in ("libparley_ops.so", "libparley_ops.dylib"):
        if (folder / name).is_file():
            return str(folder / name)
    raise LibraryError(
        f"[ops.find] expected libparley_ops in {folder}, got none; install parley anew"
    )

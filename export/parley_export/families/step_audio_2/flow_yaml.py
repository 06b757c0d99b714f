"""Reads token2wav/flow.yaml, whose tags name Python classes; makes none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from parley_export.config_section import MAX_JSON_BYTES
from parley_export.errors import BundleError, LibraryError

TAG = "!new:"  # before the name of the class that a section's values go to


def read_flow_yaml(path: Path) -> dict[str, Any]:
    """The section `flow` as plain values; raises BundleError, LibraryError."""
    try:
        import yaml
    except ImportError as e:
        raise LibraryError(
            "[checkpoint.read_flow_yaml] expected the package pyyaml, got none; "
            "pip install 'parley[export]'"
        ) from e

    class Loader(yaml.SafeLoader):
        """Plain values only; a class's name is dropped and its section kept."""

    def section(loader: Any, _name: str, node: Any) -> Any:
        return loader.construct_mapping(node, deep=True)

    Loader.add_multi_constructor(TAG, section)
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        read = yaml.load(path.read_text("utf-8"), Loader)
        if not isinstance(read, dict) or not isinstance(read.get("flow"), dict):
            raise ValueError("no section flow")
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        told = " ".join(str(e).split())
        raise BundleError(
            f"[checkpoint.read_flow_yaml] expected a table flow in {path}, got {told}; "
            "fetch it again"
        ) from e
    flow: dict[str, Any] = read["flow"]
    return flow

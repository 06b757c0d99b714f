"""Reads YAML whose tags name Python classes (HyperPyYAML's) as plain values; makes no object."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from parley_export.config_section import MAX_JSON_BYTES
from parley_export.errors import BundleError, LibraryError

REFERENCE = re.compile(r"<(\w+)>")


def read_tagged_yaml(path: Path, *tables: str) -> dict[str, Any]:
    """A file's values, `tables` among them: tags are dropped and what they stand before is kept.

    `!ref <name>` becomes the value of that name at the top, a product of such and numbers theirs.

    Raises:
        BundleError: no YAML, no such table, or a tag that makes Python objects by itself.
        LibraryError: the package pyyaml is missing.
    """
    try:
        import yaml
    except ImportError as e:
        raise LibraryError(
            "[checkpoint.read_yaml] expected the package pyyaml, got none; "
            "pip install 'parley[export]'"
        ) from e

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """Plain values only."""

    def plain(loader: Any, tag: str, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        text = loader.construct_scalar(node)
        return _Reference(text) if tag == "ref" else text

    Loader.add_multi_constructor("!", plain)
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        read = yaml.load(path.read_text("utf-8"), Loader)
        for name in tables:
            if not isinstance(read, dict) or not isinstance(read.get(name), dict):
                raise ValueError(f"no section {name}")
        return {str(key): _resolved(value, read) for key, value in read.items()}
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        told = " ".join(str(e).split())
        raise BundleError(
            f"[checkpoint.read_yaml] expected {', '.join(f'a table {name}' for name in tables)} in "
            f"{path}, got {told}; fetch it again"
        ) from e


class _Reference(str):
    """What stands behind `!ref`."""


def _resolved(value: Any, top: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _resolved(inner, top) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolved(inner, top) for inner in value]
    if not isinstance(value, _Reference):
        return value
    if (alone := REFERENCE.fullmatch(value)) is not None:
        return _resolved(top.get(alone[1]), top)
    text = REFERENCE.sub(lambda found: str(top.get(found[1])), value)
    factors = [part.strip() for part in text.split("*")]
    return math.prod(map(int, factors)) if all(part.isdigit() for part in factors) else text

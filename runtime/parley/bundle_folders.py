"""Where bundles lie, by path or by name; opens none."""

from __future__ import annotations

import os
from pathlib import Path

from parley.errors import BundleError

MANIFEST = "manifest.json"
FOLDER_VARIABLE = "PARLEY_BUNDLES"  # a folder of bundles, one per name
BUILT_IN = Path(__file__).parent / "bundles"


def find_bundle(path_or_name: str | Path) -> Path:
    """The folder of a bundle: a path, or a name in the PARLEY_BUNDLES folder or built in.

    Raises BundleError that lists the known names.
    """
    path = Path(os.fsdecode(path_or_name))
    if (path / MANIFEST).is_file():
        return path
    if path.is_dir():
        raise BundleError(
            f"[bundle.open] expected a bundle in {path}, got a folder without {MANIFEST}; "
            "make one with `parley export CHECKPOINT --out BUNDLE`"
        )
    known = named_bundles()
    if str(path_or_name) in known:
        return known[str(path_or_name)]
    names = ", ".join(known) or "none"
    raise BundleError(
        f"[bundle.open] expected the folder or the name of a bundle, got {str(path_or_name)!r}; "
        f"known names: {names}. Give a path, set {FOLDER_VARIABLE} to the folder that holds your "
        "bundles, or make one with `parley export CHECKPOINT --out BUNDLE`"
    )


def named_bundles() -> dict[str, Path]:
    """Names of bundles and their folders: those of PARLEY_BUNDLES, then the built-in ones."""
    folders = [BUILT_IN]
    if variable := os.environ.get(FOLDER_VARIABLE):
        folders.insert(0, Path(variable))
    found: dict[str, Path] = {}
    for folder in folders:
        for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
            found.setdefault(manifest.parent.name, manifest.parent)
    return found

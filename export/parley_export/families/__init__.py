"""The kinds of checkpoint that the exporter knows, a folder and a line of FAMILIES for each."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from parley_export.config_section import read_json
from parley_export.errors import BundleError
from parley_export.folder import check_folder

if TYPE_CHECKING:
    from parley_export.family import Family

# model_type of a checkpoint's config.json -> the module that holds its FAMILY.
FAMILIES = {
    "covo_audio": "parley_export.families.covo_audio.family",
    "step_audio_2": "parley_export.families.step_audio_2.family",
    "funaudiochat": "parley_export.families.fun_audio_chat.family",
}


def named(model_type: str) -> Family:
    """The family of a model_type. Raises KeyError."""
    family: Family = importlib.import_module(FAMILIES[model_type]).FAMILY
    return family


def described() -> str:
    """What each family is and what its checkpoints hold, for people; imports none of them whole."""
    packages = (module.rpartition(".")[0] for module in FAMILIES.values())
    return "\n".join(importlib.import_module(name).__doc__ or "" for name in packages)


def of(checkpoint: Path) -> Family:
    """The family that a checkpoint's config.json names.

    Raises:
        InputError: the folder does not exist.
        BundleError: it is no checkpoint, or of a kind that is not known; lists the known.
    """
    check_folder(checkpoint)
    config = checkpoint / "config.json"
    known = ", ".join(FAMILIES)
    if not config.is_file():
        raise BundleError(
            f"[checkpoint.locate] expected the file {config}, got none; point to the folder of a "
            f"checkpoint whose config.json has one of the model types {known}"
        )
    model_type = read_json(config).get("model_type")
    if model_type not in FAMILIES:
        raise BundleError(
            f"[checkpoint.locate] expected one of the model types {known} in {config}, got "
            f"{model_type!r}; point to a checkpoint of a family that parley knows"
        )
    return named(model_type)

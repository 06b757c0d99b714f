"""`parley export`: mounts the exporter's own command; knows no checkpoint."""

from __future__ import annotations

import argparse
import importlib
from types import ModuleType


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _command().add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    return int(_command().run(args))


def _command() -> ModuleType:
    try:
        return importlib.import_module("parley_export.command")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        raise ImportError(
            f"[export.start] expected the packages that exporting needs, got none named "
            f"{package!r}; run `pip install 'parley[export]'`"
        ) from error

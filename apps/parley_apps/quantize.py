"""`parley quantize`: mounts the exporter's own command; knows no bundle."""

from __future__ import annotations

import argparse
import importlib
from types import ModuleType


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from parley_apps import errors

    _command().add_arguments(parser)
    parser.epilog = errors.EXIT_CODES_HELP


def run(args: argparse.Namespace) -> int:
    return int(_command().run(args))


def _command() -> ModuleType:
    return importlib.import_module("parley_export.quantization.command")

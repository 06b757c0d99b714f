"""Brings what ONNX Runtime and llama.cpp say to Python's logging; knows no bundle."""

from __future__ import annotations

import atexit
import logging

from parley import _core

LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)


def _tell(level: int, library: str, text: str) -> None:
    """A message under "parley.onnxruntime" or "parley.llama", on the thread that it comes from."""
    logging.getLogger(f"parley.{library}").log(LEVELS[level], "%s", text)


def start() -> None:
    """The libraries are heard from now on until the interpreter ends.

    Nothing is printed unless the program asks logging for it, such as by `logging.basicConfig()`.
    """
    logging.getLogger("parley").addHandler(logging.NullHandler())
    _core.set_log(_tell)
    # A library's thread may outlive the interpreter.
    atexit.register(_core.set_log, None)

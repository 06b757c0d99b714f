"""What the libraries say arrives in Python's logging, and nowhere where nobody listens."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

import parley
from parley import _core

TELLS = (
    "import sys, threading, logging, parley\n"
    "if sys.argv[2] == 'on': logging.basicConfig(level=logging.DEBUG)\n"
    "def go(): parley.open(sys.argv[1], threads=1).close()\n"
    "thread = threading.Thread(target=go); thread.start(); thread.join()\n"
    "bundle = parley.open(sys.argv[1], threads=1)\n"  # open when the interpreter ends
)


def test_a_bundle_s_libraries_are_heard(
    tiny_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="parley"), parley.open(tiny_bundle, threads=1):
        pass
    told = [record for record in caplog.records if record.name == "parley.llama"]
    assert any("llama" in record.getMessage() for record in told)
    assert {record.levelno for record in told} <= {logging.DEBUG, logging.INFO, logging.WARNING}
    assert all(not record.getMessage().endswith("\n") for record in told)


@pytest.mark.parametrize("listens", ["on", "off"])
def test_threads_and_the_interpreter_s_end(tiny_bundle: Path, listens: str) -> None:
    command = [sys.executable, "-c", TELLS, str(tiny_bundle), listens]
    child = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert child.returncode == 0, child.stderr
    assert child.stdout == "" and ("parley.llama" in child.stderr) == (listens == "on")


def test_an_own_listener_and_its_errors(tiny_bundle: Path) -> None:
    heard: list[tuple[int, str]] = []

    def listen(level: int, library: str, text: str) -> None:
        heard.append((level, library))
        raise ValueError("must not reach the library")

    from parley import log

    _core.set_log(listen)
    try:
        parley.open(tiny_bundle, threads=1).close()
    finally:
        _core.set_log(log._tell)
    assert {library for _, library in heard} == {"llama"}

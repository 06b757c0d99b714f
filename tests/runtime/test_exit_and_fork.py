"""The engine when the interpreter ends or the process forks: no crash, no hang, own exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BEGIN = """
import atexit, os, sys, threading, time
import numpy as np
import parley

FOLDER, LIMIT_S = sys.argv[1], 60
chunk, bundle = None, parley.open(FOLDER, threads=1)
sound = np.random.default_rng(1).uniform(-1, 1, 200_000).astype(np.float32)
begun = threading.Event()

def forever(work):
    def loop():
        while True:
            begun.set()
            work()
    threading.Thread(target=loop, daemon=True).start()
    begun.wait()
    time.sleep(0.1)

def told(work):
    try:
        work()
        return "done"
    except parley.Error as error:
        return type(error).__name__ + " " + str(error)
"""
CALLS = {
    "play": "s = bundle.session(overlap=True)\nforever(lambda: list(s.play(sound)))",
    "step": "s = bundle.session()\nforever(lambda: s.step(sound[: s.chunk_samples]))",
    "feed": "s = bundle.session(overlap=True)\nforever(lambda: list(s.feed(sound)))",
    "open": "forever(lambda: parley.open(FOLDER, threads=1))",
    "session": "forever(lambda: bundle.session().close())",
    "resample": "forever(lambda: bundle.resample(np.tile(sound, 20), 44_100))",
    "verify": "b = bundle.workbench()\nforever(lambda: b.flow_decode([1] * 50))",
    "progress": "forever(lambda: parley.open(FOLDER, threads=1).session(\n"
    "    progress=lambda done, n: time.sleep(0.01)))",
    "several": "for s in [bundle.session(overlap=True) for _ in range(3)]:\n"
    "    forever(lambda s=s: list(s.feed(sound)))",
}


def run(code: str, bundle: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BEGIN + code, str(bundle)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "GGML_NO_BACKTRACE": "1"},
    )


@pytest.mark.parametrize("call", CALLS)
def test_a_thread_inside_the_engine_leaves_the_exit_code_alone(
    call: str, tiny_bundle: Path
) -> None:
    """Regression: SIGABRT or SIGSEGV."""
    assert run(CALLS[call] + "\nsys.exit(7)", tiny_bundle).returncode == 7


def test_a_thread_can_still_be_joined_by_who_registered_that(tiny_bundle: Path) -> None:
    code = """
stop = threading.Event()
def end():
    stop.set()
    thread.join(60)
    print("alive" if thread.is_alive() else "joined", flush=True)
atexit.register(end)
s = bundle.session()
def loop():
    while not stop.is_set(): list(s.feed(sound))
thread = threading.Thread(target=loop, daemon=True)
thread.start()
time.sleep(0.1)
"""
    done = run(code, tiny_bundle)
    assert (done.returncode, done.stdout.strip()) == (0, "joined")


FORK = """
s = bundle.session(overlap=True)
list(s.feed(sound[: 5 * s.chunk_samples]))
child = os.fork()
if child == 0:
    print(told(lambda: WORK), flush=True)
    sys.exit(5)  # its end goes through everything that an end goes through
print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
list(s.feed(sound[: 5 * s.chunk_samples]))
"""
IN_A_FORK = {
    "open": ("parley.open(FOLDER)", "LibraryError [engine.call] expected a process"),
    "session": ("bundle.session()", "LibraryError [engine.call] expected a process"),
    "step": ("s.step(sound[: s.chunk_samples])", "LibraryError [engine.call] expected a process"),
    "resample": ("bundle.resample(sound, 8000)", "LibraryError [engine.call] expected a process"),
    "close": ("(s.close(), bundle.close())", "done"),
    "manifest": ("parley.read_manifest(FOLDER)", "done"),
}


@pytest.mark.parametrize("call", IN_A_FORK)
def test_a_fork_of_a_process_that_used_the_engine_is_told_at_once(
    call: str, tiny_bundle: Path
) -> None:
    """Regression: it waited for threads that are not there, at its end too."""
    work, told = IN_A_FORK[call]
    done = run(FORK.replace("WORK", work), tiny_bundle)
    first, second = done.stdout.splitlines()
    assert first.startswith(told) and second == "child 5" and done.returncode == 0, done.stderr


def test_a_process_that_only_imported_parley_may_fork(tiny_bundle: Path) -> None:
    code = """
import os, sys, parley
child = os.fork()
if child == 0:
    parley.open(sys.argv[1], threads=1).session().close()
    sys.exit(5)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_bundle)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "5", done.stderr

"""Ctrl-C in the middle of a step: the step is cancelled at once, nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import parley
from parley_apps.interrupt import cancel_on_interrupt


class Stuck:
    """A session whose step lasts until it is cancelled."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()

    def step(self) -> None:
        if not self.cancelled.wait(timeout=30):
            raise AssertionError("nobody cancelled")
        raise parley.CancelledError("[session.step] cancelled")


def test_sigint_cancels_from_another_thread() -> None:
    session = Stuck()
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, lambda *_: None)
    try:
        with cancel_on_interrupt(session):  # type: ignore[arg-type]
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            with pytest.raises(parley.CancelledError):
                session.step()
    finally:
        signal.signal(signal.SIGINT, before)
    assert signal.set_wakeup_fd(-1) == -1, "everything is as before"


def test_talk_interrupted(tiny_bundle: Path, tmp_path: Path) -> None:
    recording, out = tmp_path / "long.wav", tmp_path / "o.wav"
    parley.write_wav(recording, np.zeros(20 * 60 * 24_000, np.float32))
    flags = ["--in", str(recording), "--out", str(out), "--mode", "duplex"]
    process = subprocess.Popen(
        [sys.executable, "-m", "parley_apps", "talk", str(tiny_bundle), *flags],
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore SIGINT, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.rstrip().endswith(("listening", "speaking")):
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "parley: error:" in err and "Traceback" not in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["long.wav"]

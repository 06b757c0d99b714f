"""What a person sees of a long export: a bar on a terminal, lines elsewhere, the memory it took."""

import io
import subprocess
import sys

import pytest

from parley_export import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    return clock


def work(bar, clock):
    for name in ("first", "second"):
        with bar.step(name):
            for i in range(100):
                clock.now += 1
                bar.update(i / 100)


def test_lines_without_a_terminal(clock):
    out = io.StringIO()
    work(progress.Progress({"first": 50, "second": 150}, out), clock)
    lines = out.getvalue().splitlines()
    assert "first" in lines[0] and lines[0].startswith("  0%") and "\x1b" not in out.getvalue()
    assert any(line.startswith(" 25% second") for line in lines)
    assert len(lines) < 200 / progress.LINE_S + 4
    parts = [int(line.split("%")[0]) for line in lines]
    assert parts == sorted(parts)


def test_a_bar_on_a_terminal_and_notes_beside_it(clock):
    out = Terminal()
    bar = progress.Progress({"first": 50, "second": 150}, out)
    work(bar, clock)
    bar.note("a word")
    bar.close()
    assert "\r[" in out.getvalue() and out.getvalue().endswith("a word\n\r\x1b[K")
    assert "[######...." in out.getvalue()


def test_the_estimate_follows_the_clock(clock):
    """Twice as slow as expected: half way, as much time is left as has gone."""
    out = io.StringIO()
    bar = progress.Progress({"only": 100}, out)
    with bar.step("only"):
        clock.now = 300
        bar.update(0.75)
    assert "5:00 gone, about 1:" in out.getvalue()


def test_sizes_and_times():
    assert [progress.size(n) for n in (5, 5000, 5e6, 5.04e9, 5e13)] == [
        "5 B",
        "5 kB",
        "5 MB",
        "5.0 GB",
        "50000.0 GB",
    ]
    assert progress.clock(754.9) == "12:34"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_anonymous_memory_of_helpers_counts():
    code = "x = bytearray(b'x' * 80_000_000); print('here', flush=True); input()"
    helper = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with progress.MemoryWatch(every_s=0.01) as memory:
        assert helper.stdout is not None and helper.stdout.readline() == b"here\n"
        before = memory.peak
        memory.add(helper.pid)
        memory._sample()
        after = memory.peak
    helper.communicate(b"\n")
    assert before is not None and after is not None and after - before > 70_000_000
    assert progress.anonymous_bytes(str(helper.pid)) is None

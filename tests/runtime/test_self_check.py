"""What dies on a processor is found in a child process, told, and not taken again."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import parley
from parley import _core, libraries, processor, self_check
from parley.self_check import GRAPHS, LLAMA, Finding, Outcome

ROOT = Path(__file__).resolve().parents[2]
NANO = ROOT / "models" / "nano" / "bundle"
STUB = ROOT / "tests" / "cpp" / "stubs" / "stub_ggml_variant.cpp"
BEST = "libggml-cpu-9999999.so"  # a score that no variant has


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(self_check, "NANO", tmp_path / "not installed")
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def deadly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ggml's code for the best of processors; it dies of SIGILL as soon as it is taken."""
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler to build a library that crashes")
    path = tmp_path_factory.mktemp("stub") / BEST
    subprocess.run([compiler, "-shared", "-fPIC", "-o", path, STUB], check=True)
    return path


@pytest.fixture
def llama(tmp_path: Path, deadly: Path) -> Path:
    """A llama.cpp like the installed one, with a variant that crashes."""
    if not NANO.is_dir():
        pytest.skip("no models/nano/bundle")
    installed = libraries.find_llama().path.parent
    if not list(installed.glob("libggml-cpu-*.so")):
        pytest.skip("the installed llama.cpp has no variants")
    folder = tmp_path / "llama"
    folder.mkdir()
    for library in installed.glob("*.so"):
        (folder / library.name).symlink_to(library)
    (folder / BEST).symlink_to(deadly)
    return folder / "libllama.so"


def test_a_variant_that_crashes_is_told_and_left_out(
    llama: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = libraries.onnxruntime_path()
    with pytest.warns(RuntimeWarning, match=r"9999999 dies of SIGILL on this processor") as told:
        taken = self_check.runnable(str(llama), graphs, NANO)
    assert processor.name() in str(told[0].message)
    assert Path(taken).parent == llama.parent and Path(taken).name != BEST
    assert Path(taken).stem.removeprefix("libggml-cpu-") in str(told[0].message)
    (kept,) = empty_cache.glob("parley/checked/*.json")
    assert json.loads(kept.read_text())["died"] == {BEST: "SIGILL"}
    monkeypatch.setattr(subprocess, "run", None)  # no child any more
    assert self_check.runnable(str(llama), graphs, NANO) == taken


def test_the_engine_runs_what_is_left(llama: Path) -> None:
    # A process of its own: one opens one llama.cpp, and other tests have.
    program = """
import sys, parley
with parley.open(sys.argv[1], llama=sys.argv[2]) as bundle, bundle.session() as session:
    assert len(session.answer([0.0] * bundle.rate, bundle.rate).samples)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, NANO, llama], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "RuntimeWarning" in done.stderr


def test_the_child_has_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """With two, on a machine that was busy, it took its whole two minutes, at every start anew."""
    if not NANO.is_dir():
        pytest.skip("no models/nano/bundle")
    asked: list[int] = []

    class Options(_core.OpenOptions):
        def __init__(self, **options: Any) -> None:
            asked.append(options["threads"])
            super().__init__(**options)

    monkeypatch.setattr(_core, "OpenOptions", Options)
    llama, onnxruntime = libraries.find_llama().path, libraries.find_onnxruntime().path
    self_check.main(str(llama), str(onnxruntime), str(NANO))
    assert asked == [1]


def test_nothing_left_is_an_error(llama: Path) -> None:
    for variant in llama.parent.glob("libggml-cpu-*.so"):
        if variant.name != BEST:
            variant.unlink()
    with pytest.raises(parley.LibraryError, match=rf"run on this processor .*{BEST} ends by SIGIL"):
        self_check.runnable(str(llama), libraries.onnxruntime_path(), NANO)


# ------------------------------------------------------------ without a child


def pretend(monkeypatch: pytest.MonkeyPatch, *outcomes: Outcome) -> list[str]:
    """Children that end so, one after another; what they were asked to open."""
    asked: list[str] = []
    left = list(outcomes)

    def child(llama: str, onnxruntime: str, bundle: Path) -> Outcome:
        asked.append(llama)
        return left.pop(0)

    monkeypatch.setattr(self_check, "_try", child)
    return asked


GOOD = Outcome(None, True, GRAPHS, ["/x/libggml-cpu-b.so", "/x/libggml-cpu-a.so"])


def test_what_runs_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, graphs = tmp_path / "libllama.so", tmp_path / "libonnxruntime.so"
    library.write_bytes(b"1")
    graphs.write_bytes(b"1")
    asked = pretend(monkeypatch, GOOD, GOOD, GOOD, GOOD)
    for times in (1, 1):
        # ggml chooses by itself: another processor of the same name may get another variant.
        assert self_check.runnable(str(library), str(graphs), NANO) == str(library)
        assert len(asked) == times
    graphs.write_bytes(b"another")
    self_check.runnable(str(library), str(graphs), NANO)
    monkeypatch.setattr(processor, "signature", lambda: "another processor")
    self_check.runnable(str(library), str(graphs), NANO)
    assert len(asked) == 3
    self_check.runnable(str(library), str(graphs), NANO, anew=True)
    assert len(asked) == 4


@pytest.mark.parametrize("stage", ["", LLAMA])
def test_an_end_that_tells_nothing_is_not_kept(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, Outcome(None, False, stage, []))
    assert self_check.check("libllama.so", "libonnxruntime.so", NANO) is None


def test_a_graph_that_crashes_names_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, Outcome(signal.SIGSEGV, False, GRAPHS, ["/x/libggml-cpu-a.so"]))
    with pytest.raises(parley.LibraryError, match=r"expected ONNX Runtime in '/o\.so'.*SIGSEGV"):
        self_check.check("/x/libllama.so", "/o.so", NANO)


def test_a_library_without_variants_that_crashes(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, Outcome(signal.SIGILL, False, LLAMA, []))
    with pytest.raises(parley.LibraryError, match=r"llama\.cpp in '/x/libllama\.so'.*SIGILL"):
        self_check.check("/x/libllama.so", "/o.so", NANO)


def test_a_named_variant_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pretend(monkeypatch)
    path = "/x/libggml-cpu-haswell.so"
    assert self_check.runnable(path, _core.__file__, NANO) == path and not asked


def test_a_home_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    self_check.keep(tmp_path / "file" / "below.json", Finding("", {}))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"variant": "", "died": 1}'])
def test_a_broken_file_says_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "kept.json").write_text(text)
    assert self_check.remembered(tmp_path / "kept.json") is None

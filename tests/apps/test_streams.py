"""What stdout, stderr, names and memory can do to a command; none of it costs what was computed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import parley
from parley_apps.main import main
from scripted_bundle import ScriptedBundle, opener, two_replies
from scripted_core import CHUNK, RATE

LATIN1 = os.fsdecode(b"caf\xe9")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "user.wav"
    parley.write_wav(path, np.full(2 * CHUNK, 0.5, np.float32), RATE)
    return path


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch) -> ScriptedBundle:
    made = ScriptedBundle(two_replies())
    monkeypatch.setattr(parley, "open", opener(made, []))
    return made


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A bash line in which $P is the command `parley` over a scripted engine."""
    return subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        timeout=120,
        env={
            **os.environ,
            "P": f"{sys.executable} {__file__}",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            **environment,
        },
    )


STREAMS = {
    "stdout closed": (">&-", (0, 6)),
    "stdout full": (">/dev/full", (0, 6)),
    "stdout without a reader": ("| true; exit ${PIPESTATUS[0]}", (0, 6)),
    "stderr closed": ("2>&-", (0,)),
    "stderr full": ("2>/dev/full", (0,)),
    "all closed": ("<&- >&- 2>&-", (0, 6)),
    "all full": (">/dev/full 2>&1", (0, 6)),
}


@pytest.mark.parametrize("how", STREAMS)
@pytest.mark.parametrize("flags", ["", "--json"])
def test_the_conversation_is_written_whatever_becomes_of_what_is_told(
    how: str, flags: str, recording: Path, tmp_path: Path
) -> None:
    redirection, codes = STREAMS[how]
    out = tmp_path / "out.wav"
    done = shell(f"$P talk b --in {recording} --out {out} {flags} {redirection}")
    assert done.returncode in codes and b"Traceback" not in done.stderr
    assert parley.read_audio(out)[0].size >= 9 * CHUNK


@pytest.mark.parametrize("how", ["stdout closed", "stdout full"])
def test_what_is_told_alone_is_a_loss(how: str, tmp_path: Path) -> None:
    done = shell(f"$P doctor --json {STREAMS[how][0]}")
    assert done.returncode == 6 and b"Traceback" not in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin1", "utf-8"])
def test_json_is_json_in_every_encoding(encoding: str, recording: Path, tmp_path: Path) -> None:
    name = recording.rename(tmp_path / f"{LATIN1}.wav")
    text, trace = tmp_path / f"{LATIN1}.jsonl", tmp_path / "t.json"
    more = f"--text '{text}' --trace {trace}"
    line = f"$P talk b --in '{name}' --out '{tmp_path}/{LATIN1}-out.wav' {more} --json"
    done = shell(line, PYTHONIOENCODING=encoding)
    told = json.loads(done.stdout.decode(encoding))
    assert told["files"]["text"] == str(text)
    lines = [json.loads(line) for line in text.read_text("utf-8").splitlines()]
    assert any(line["text"] == str(name) for line in lines)
    assert json.loads(trace.read_text("utf-8"))["traceEvents"]


@pytest.mark.usefixtures("bundle")
@pytest.mark.parametrize("option", ["--system", "--voice", "--say"])
def test_a_text_that_is_no_utf8_is_told(
    option: str, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "o.wav")
    if option == "--say":
        assert main(["talk", "b", "--mode", "turns", option, LATIN1, "--out", out]) == 3
        assert "as UTF-8" in capsys.readouterr().err
    else:
        with pytest.raises(parley.InputError, match="as UTF-8"):
            parley.arguments.text("bundle.session", option, LATIN1)


@pytest.mark.usefixtures("bundle")
@pytest.mark.parametrize("n", [246, 251])
def test_the_longest_names_are_written(n: int, recording: Path, tmp_path: Path) -> None:
    out = tmp_path / ("a" * n + ".wav")
    assert main(["talk", "b", "--in", str(recording), "--out", str(out)]) == 0
    assert out.exists() and len(list(tmp_path.iterdir())) == 2


OUTPUTS = {
    "a name that is too long": "{}/" + "a" * 252 + ".wav",
    "a name with a zero": "{}/a\0b.wav",
    "a loop of links": "{}/loop.wav",
    "a file for a folder": "{}/user.wav/o.wav",
    "a link into nothing": "{}/dangling.wav",
}


@pytest.mark.parametrize("what", OUTPUTS)
def test_what_cannot_be_written_is_told_before_the_work(
    what: str, bundle: ScriptedBundle, recording: Path, tmp_path: Path
) -> None:
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    (tmp_path / "dangling.wav").symlink_to("none/there.wav")
    out = OUTPUTS[what].format(tmp_path)
    assert main(["talk", "b", "--in", str(recording), "--out", out]) == 6
    assert bundle.sessions == []


def test_a_full_disk_is_told_before_the_work(
    bundle: ScriptedBundle, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert main(["talk", "b", "--in", str(recording), "--out", str(tmp_path / "o.wav")]) == 6
    assert bundle.sessions == []


@pytest.mark.usefixtures("bundle")
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("a fault of drawing")])
def test_a_picture_that_fails_does_not_take_the_sound_along(
    error: Exception, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'parley[plot]'")

    def fail(*_: object, **__: object) -> bytes:
        raise error

    monkeypatch.setattr("parley_apps.plot.to_png", fail)
    names = {name: tmp_path / f"o.{name}" for name in ("wav", "png", "jsonl", "json")}
    flags = ["--plot", names["png"], "--text", names["jsonl"], "--trace", names["json"]]
    arguments = ["talk", "b", "--in", recording, "--out", names["wav"], *flags]
    if isinstance(error, MemoryError):
        assert main([str(a) for a in arguments]) == 6
    else:
        with pytest.raises(RuntimeError):
            main([str(a) for a in arguments])
    assert [names[n].exists() for n in ("wav", "jsonl", "json", "png")] == [True] * 3 + [False]


@pytest.mark.usefixtures("bundle")
def test_pipes_in_and_out(recording: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "in", tmp_path / "out"
    os.mkfifo(one)
    os.mkfifo(other)
    got: list[bytes] = []
    writer = threading.Thread(target=lambda: one.write_bytes(recording.read_bytes()))
    reader = threading.Thread(target=lambda: got.append(other.read_bytes()))
    writer.start()
    reader.start()
    assert main(["talk", "b", "--in", str(one), "--out", str(other)]) == 0
    writer.join()
    reader.join()
    assert got[0].startswith(b"RIFF") and len(got[0]) > 2 * 10 * CHUNK


def test_process_substitution(recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.wav"
    done = shell(f"$P talk b --in <(cat {recording}) --out >(cat > {out}; sync) && sleep 0.5")
    assert done.returncode == 0, done.stderr
    assert out.stat().st_size > 2 * 10 * CHUNK


if __name__ == "__main__":
    parley.open = opener(ScriptedBundle(two_replies()), [])  # type: ignore[assignment]
    sys.exit(main())

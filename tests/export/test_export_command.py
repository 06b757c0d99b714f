"""`parley export` as a user meets it: exit codes, messages, and nothing half written."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_checkpoint import save_shards

from parley_export import bundle, command, exit_codes, weights


def export(checkpoint, out, *options):
    """The exit code of an export in this process."""
    return command.main([str(checkpoint), "--out", str(out), "--backbone", "f32", *options])


def files(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture
def out(tmp_path):
    """A place beside which nothing else lies."""
    (tmp_path / "bundles").mkdir()
    return tmp_path / "bundles" / "b"


def test_exports_and_reports(intact_checkpoint, out, capsys):
    assert export(intact_checkpoint, out, "--json") == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert report["bundle"] == str(out)
    assert report["bytes"] == sum(
        p.stat().st_size for p in out.rglob("*") if p.is_file() and p.name != bundle.MANIFEST
    )
    assert report["peak_anonymous_bytes"] > 0 and report["backbone"]["precision"] == "f32"
    assert "academic" in report["notice"] and "academic" in printed.err
    assert "encoder_chunk" not in report["graphs"]
    described = json.loads((out / bundle.MANIFEST).read_text("utf-8"))
    assert described["duplex"] is None and described["turns"] is not None


def test_the_same_input_gives_the_same_files(intact_checkpoint, out):
    assert export(intact_checkpoint, out) == 0
    first = json.loads((out / bundle.MANIFEST).read_text("utf-8"))["files"]
    assert export(intact_checkpoint, out, "--force") == 0
    assert json.loads((out / bundle.MANIFEST).read_text("utf-8"))["files"] == first


@pytest.mark.parametrize(
    ("options", "precision", "operators"),
    [
        ((), "f32", ["parley.SnakeBeta"]),
        (("--no-fused",), "f32", []),
        (("--vocoder", "f16", "--no-fused"), "f16", []),
        (("--vocoder", "bf16"), "bf16", ["parley.Conv1d", "parley.SnakeBeta"]),
    ],
)
def test_the_vocoders_operators_are_named(options, precision, operators, intact_checkpoint, out):
    assert export(intact_checkpoint, out, *options) == 0
    graphs = json.loads((out / bundle.MANIFEST).read_text("utf-8"))["graphs"]
    assert graphs["vocoder"]["precision"] == precision
    assert graphs["vocoder"].get("custom_ops", []) == operators
    assert {info["precision"] for name, info in graphs.items() if name != "vocoder"} == {"f32"}


def test_duplex_adds_its_graph_and_layout(intact_checkpoint, out):
    assert export(intact_checkpoint, out, "--duplex") == 0
    described = json.loads((out / bundle.MANIFEST).read_text("utf-8"))
    chunk = described["graphs"]["encoder_chunk"]
    duplex = described["duplex"]
    assert chunk["inputs"][0]["shape"][2] == duplex["chunk_mel_frames"]
    states = {s["name"]: s["shape"] for s in chunk["states"]}
    assert states["keys"][2] == duplex["left_context_frames"]


def test_duplex_needs_the_control_tokens(checkpoint, out, capsys):
    path = checkpoint / "tokenizer.json"
    path.write_text(path.read_text().replace("<|SHIFT|>", "<|extra_1|>"))
    assert export(checkpoint, out, "--duplex") == 4
    message = capsys.readouterr().err
    assert "<|SHIFT|>" in message and "leave out --duplex" in message
    assert not out.exists()
    assert export(checkpoint, out) == 0


def test_half_precision_graphs(intact_checkpoint, out):
    assert export(intact_checkpoint, out, "--graphs", "f16") == 0
    described = json.loads((out / bundle.MANIFEST).read_text("utf-8"))
    assert {g["precision"] for g in described["graphs"].values()} == {"f16"}


def test_a_fallback_of_types_is_said(intact_checkpoint, out, capsys):
    """Widths of this checkpoint are no multiples of 256."""
    assert export(intact_checkpoint, out, "--backbone", "q4_k_m") == 0
    assert "instead" in capsys.readouterr().err
    described = json.loads((out / bundle.MANIFEST).read_text("utf-8"))
    assert described["backbone"]["precision"] == "q4_k_m"
    assert "Q5_0" in described["created_by"]["backbone_types"]
    assert files(out).count("backbone.gguf") == 1 and "source.gguf" not in files(out)


def test_a_persona_of_ones_own(intact_checkpoint, out, tmp_path):
    (tmp_path / "persona.txt").write_text("You are Ada.\n", encoding="utf-8")
    assert export(intact_checkpoint, out, "--system", f"@{tmp_path / 'persona.txt'}") == 0
    described = json.loads((out / bundle.MANIFEST).read_text("utf-8"))
    assert described["prompts"]["system"].startswith("You are Ada.\n")
    assert export(intact_checkpoint, out, "--force", "--system", "@/nothing") == 3


def test_a_persona_that_is_no_utf8(intact_checkpoint, out, tmp_path, capsys):
    """Regression: UnicodeEncodeError, exit 1."""
    latin1 = "Tu es Zoé.".encode("latin1")
    (tmp_path / "persona.txt").write_bytes(latin1)
    for text in (os.fsdecode(latin1), f"@{tmp_path / 'persona.txt'}"):
        assert export(intact_checkpoint, out, "--system", text) == 3
        assert "UTF-8" in capsys.readouterr().err
    assert not out.exists()


def test_a_checkpoint_whose_path_is_no_utf8(intact_checkpoint, tmp_path, out, capsys):
    """Regression: "damaged: fetch it again" for every file."""
    folder = tmp_path / os.fsdecode("modèle".encode("latin1"))
    shutil.copytree(intact_checkpoint, folder)
    assert export(folder, out) == 3
    told = capsys.readouterr().err
    assert "UTF-8" in told and "rename it" in told and len(told.splitlines()) == 1


@pytest.mark.parametrize(
    "file",
    [
        "token2wav/prompt/prompt_token.npy",
        "token2wav/global_mean_var.npy",
        "token2wav/model.pt",
        "model-00001-of-00002.safetensors",
        "tokenizer.json",
        "config.json",
    ],
)
def test_a_file_that_may_not_be_read(file, checkpoint, out, capsys, monkeypatch):
    """Regression: a voice's gave exit 4 and "fetch the checkpoint's files again"."""
    forbidden = checkpoint / file
    opened = open

    def refuse(path, *rest, **named):
        if isinstance(path, str | os.PathLike) and Path(path) == forbidden:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, *rest, **named)

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("io.open", refuse)
    assert export(checkpoint, out) == 6
    told = capsys.readouterr().err
    assert forbidden.name in told and "Permission denied" in told and "fetch" not in told


def test_memory_that_runs_out(intact_checkpoint, out, capsys, monkeypatch):
    """One line and an exit code of the table, which is the one that all commands have."""

    def full(*_):
        raise MemoryError

    monkeypatch.setattr("parley_export.bundle.check_space", full)
    assert export(intact_checkpoint, out) == exit_codes.IO
    told = capsys.readouterr().err
    assert "memory" in told and len(told.splitlines()) == 1


def test_the_licence_travels_with_the_weights(checkpoint, out):
    (checkpoint / "LICENSE").write_text("A Model Licence\nFor research only.\n")
    assert export(checkpoint, out) == 0
    described = json.loads((out / bundle.MANIFEST).read_text("utf-8"))
    assert "A Model Licence" in described["source"]["licence"]
    assert (out / "LICENSE").read_text().endswith("For research only.\n")
    assert "LICENSE" in described["files"] and "LICENSE" in described["source"]["sha256"]


# ------------------------------------------------------------ refusals


def test_exit_codes_of_bad_arguments(intact_checkpoint, tmp_path, out, capsys):
    assert export(tmp_path / "nothing", out) == 3
    assert export(tmp_path, out) == 4
    assert export(intact_checkpoint, tmp_path / "no" / "folder") == 3
    out.mkdir()
    (out / "thesis.tex").touch()
    assert export(intact_checkpoint, out, "--force") == 3
    assert files(out) == ["thesis.tex"]
    with pytest.raises(SystemExit) as e:
        export(intact_checkpoint, out, "--backbone", "q2")
    assert e.value.code == 2
    messages = [m for m in capsys.readouterr().err.splitlines() if m.startswith("parley export: [")]
    assert len(messages) == 4


def test_force(intact_checkpoint, out):
    assert export(intact_checkpoint, out) == 0
    (out / "old").touch()
    assert export(intact_checkpoint, out) == 3
    assert (out / "old").exists()
    assert export(intact_checkpoint, out, "--force") == 0
    assert not (out / "old").exists() and files(out.parent) == [out.name]


def test_a_bad_checkpoint_leaves_the_old_bundle(checkpoint, out):
    assert export(checkpoint, out) == 0
    shard = next(checkpoint.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1])
    assert export(checkpoint, out, "--force") == 4
    assert (out / bundle.MANIFEST).exists() and files(out.parent) == [out.name]


def test_a_fault_found_midway_leaves_nothing(checkpoint, out):
    shards = weights.Shards(checkpoint)
    tensors = {name: shards.read(name).clone() for name in shards.tensors}
    tensors["encoder.layer_norm.bias"].fill_(float("nan"))
    save_shards(checkpoint, tensors)
    assert export(checkpoint, out) == 4
    assert not files(out.parent)


def test_missing_libraries(intact_checkpoint, out, capsys, monkeypatch):
    find = command.importlib.util.find_spec
    hidden = lambda name: None if name == "gguf" else find(name)  # noqa: E731
    monkeypatch.setattr(command.importlib.util, "find_spec", hidden)
    assert export(intact_checkpoint, out) == 5
    assert "parley[export]" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setattr(torch, "__version__", "2.9.0")
    assert export(intact_checkpoint, out) == 5
    assert "2.10" in capsys.readouterr().err


# ------------------------------------------------------------ disk


def test_too_little_space_is_said_before(intact_checkpoint, out, capsys, monkeypatch):
    usage = shutil.disk_usage(out.parent)._replace(free=1000)
    monkeypatch.setattr(bundle.shutil, "disk_usage", lambda path: usage)
    assert export(intact_checkpoint, out) == 6
    assert "free" in capsys.readouterr().err and not files(out.parent)


@pytest.mark.parametrize("victim", ["backbone.gguf", "flow_field.onnx.data", "vocoder.onnx"])
def test_a_disk_that_fills_up(intact_checkpoint, out, capsys, monkeypatch, victim):
    """The kernel's own ENOSPC: one file of the bundle is a link to /dev/full."""
    make = bundle.PartialBundle.__enter__

    def with_full_disk(self):
        make(self)
        (self.folder / victim).symlink_to("/dev/full")
        return self

    monkeypatch.setattr(bundle.PartialBundle, "__enter__", with_full_disk)
    assert export(intact_checkpoint, out) == 6
    assert "No space left on device; free space" in capsys.readouterr().err
    assert not files(out.parent)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_small_disk(intact_checkpoint, tmp_path, capsys, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        monkeypatch.setattr(bundle, "check_space", lambda folder, needed: None)
        for backbone in ("f32", "q8_0"):
            assert export(intact_checkpoint, disk / "b", "--backbone", backbone) == 6
            assert "free space" in capsys.readouterr().err
            assert not files(disk)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# ------------------------------------------------------------ interruption


# Stop where the work would otherwise go on, and tell the test which helper process there is.
STALLS = {
    "graph": """
from parley_export.graph_builder import GraphBuilder

def stall(*arguments):
    print("here", 0, flush=True)
    time.sleep(60)

GraphBuilder.save = stall
""",
    "quantizing": """
from parley_export import quantize
from parley_export.progress import MemoryWatch

start = quantize.subprocess.Popen
quantize.subprocess.Popen = lambda command, **options: start(
    [command[0], "-c", "import time; time.sleep(60)"], **options
)
MemoryWatch.add = lambda self, pid: print("here", pid, flush=True)
""",
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", STALLS)
def test_an_interruption_leaves_nothing(intact_checkpoint, out, number, moment):
    code = (
        f"import sys, time\n{STALLS[moment]}\nfrom parley_export.command import main\n"
        f"sys.exit(main([{str(intact_checkpoint)!r}, '--out', {str(out)!r}]))\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )
    word, pid = process.stdout.readline().split()
    assert word == "here" and files(out.parent) == ["b.partial"]
    process.send_signal(number)
    errors = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "interrupted" in errors and not files(out.parent)
    if int(pid):
        assert not Path("/proc", pid).exists()

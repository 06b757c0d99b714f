"""A bundle appears whole or not at all, replaces only bundles, and describes itself truthfully."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_checkpoint import SMALL

from parley_export import bundle, exporter, provenance
from parley_export.errors import BundleError, InputError
from parley_export.families.covo_audio import checkpoint, prompts
from parley_export.families.covo_audio.family import FAMILY
from parley_export.progress import MemoryWatch

HOLD = """
import sys, time
from pathlib import Path
from parley_export.bundle import PartialBundle
with PartialBundle(Path(sys.argv[1])) as partial:
    (partial.folder / "half").write_text("x")
    print("ready", flush=True)
    time.sleep(60)
"""


def make_bundle(path: Path, content: str = "old") -> Path:
    path.mkdir()
    (path / bundle.MANIFEST).write_text(json.dumps({"schema_version": 1}))
    (path / "content").write_text(content)
    return path


def replace(path: Path, content: str, force: bool = False) -> None:
    with bundle.PartialBundle(path, force) as partial:
        (partial.folder / bundle.MANIFEST).write_text(json.dumps({"schema_version": 1}))
        (partial.folder / "content").write_text(content)
        partial.commit()


def left_over(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name.endswith(bundle.SUFFIX))


def holder(target: Path) -> subprocess.Popen:
    """Another process in the middle of an export to `target`."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(target)], stdout=subprocess.PIPE, env=env
    )
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    return process


# ------------------------------------------------------------ folder


@pytest.mark.parametrize("empty_folder", [False, True])
def test_a_new_bundle_appears_at_the_end(tmp_path, empty_folder):
    target = tmp_path / "b"
    if empty_folder:
        target.mkdir()
    with bundle.PartialBundle(target) as partial:
        (partial.folder / "content").write_text("new")
        assert not target.exists() or not any(target.iterdir())
        partial.commit()
    assert [p.name for p in target.iterdir()] == ["content"]
    assert not left_over(tmp_path)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_a_failure_leaves_nothing(tmp_path, error):
    target = make_bundle(tmp_path / "b")
    with pytest.raises(error), bundle.PartialBundle(target, force=True) as partial:
        (partial.folder / "content").write_text("half")
        raise error
    assert (target / "content").read_text() == "old"
    assert not left_over(tmp_path)


def test_what_a_kill_leaves_is_removed_by_the_next_export(tmp_path):
    process = holder(tmp_path / "b")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert left_over(tmp_path) == ["b.partial"] and not (tmp_path / "b").exists()
    replace(tmp_path / "b", "new")
    assert (tmp_path / "b" / "content").read_text() == "new"
    assert not left_over(tmp_path)


def test_two_exports_to_one_place(tmp_path):
    process = holder(tmp_path / "b")
    try:
        with pytest.raises(InputError, match="one export"):
            replace(tmp_path / "b", "new")
        assert (tmp_path / "b.partial" / "half").exists()
    finally:
        process.kill()
        process.wait()


def test_a_foreign_partial_folder_is_kept(tmp_path):
    (tmp_path / "b.partial").mkdir()
    (tmp_path / "b.partial" / "thesis.tex").touch()
    with pytest.raises(InputError, match="move it away"):
        replace(tmp_path / "b", "new")
    assert (tmp_path / "b.partial" / "thesis.tex").exists()


def test_force_replaces_a_bundle_only_when_given(tmp_path):
    target = make_bundle(tmp_path / "b")
    with pytest.raises(InputError, match="--force"):
        replace(target, "new")
    assert (target / "content").read_text() == "old"
    replace(target, "new", force=True)
    assert (target / "content").read_text() == "new"
    assert not left_over(tmp_path)


def test_a_kill_before_the_old_bundle_is_gone(tmp_path):
    """After the exchange the old bundle lies at .partial, without a marker."""
    make_bundle(tmp_path / "b", "new")
    make_bundle(tmp_path / "b.partial", "old")
    replace(tmp_path / "b", "newer", force=True)
    assert (tmp_path / "b" / "content").read_text() == "newer" and not left_over(tmp_path)


def test_without_an_exchange_in_the_kernel(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle.sys, "platform", "other")
    target = make_bundle(tmp_path / "b")
    replace(target, "new", force=True)
    assert (target / "content").read_text() == "new"
    assert not left_over(tmp_path)


@pytest.mark.parametrize("kind", ["folder", "file", "link", "other json"])
def test_what_is_no_bundle_is_never_replaced(tmp_path, kind):
    target = tmp_path / "b"
    if kind == "file":
        target.write_text("precious")
    elif kind == "link":
        target.symlink_to(make_bundle(tmp_path / "real"))
    else:
        target.mkdir()
        (target / bundle.MANIFEST).write_text("{}" if kind == "other json" else "precious")
    with pytest.raises(InputError, match="choose another path"):
        replace(target, "new", force=True)
    assert os.path.lexists(target) and not left_over(tmp_path)


def test_the_parent_must_exist(tmp_path):
    with pytest.raises(InputError, match="create"):
        replace(tmp_path / "a" / "b", "new")


def test_space_is_checked_before(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(bundle.shutil, "disk_usage", lambda path: usage)
    bundle.check_space(tmp_path, 10_000)
    with pytest.raises(OSError, match="10 kB") as e:
        bundle.check_space(tmp_path, 10_001)
    assert e.value.errno == errno.ENOSPC


def test_links_do_not_get_into_a_bundle(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").symlink_to("/etc/passwd")
    with pytest.raises(BundleError, match="plain files"):
        bundle.file_table(tmp_path / "b", lambda path: "")


# ------------------------------------------------------------ manifest


@pytest.fixture(scope="module")
def exported(intact_checkpoint, tmp_path_factory):
    """A finished bundle and its manifest."""
    out = tmp_path_factory.mktemp("bundles") / "small"
    layout = checkpoint.locate(intact_checkpoint)
    options = exporter.Options(layout=layout, out=out, backbone="f32", duplex=True)
    with MemoryWatch() as memory:
        exporter.export_bundle(FAMILY, options, memory)
    return out, json.loads((out / "manifest.json").read_text("utf-8"))


def test_every_file_is_listed_with_its_hash(exported):
    folder, described = exported
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    del found["manifest.json"]
    assert found.keys() == described["files"].keys()
    for name, path in found.items():
        entry = described["files"][name]
        assert entry["bytes"] == path.stat().st_size
        assert entry["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_file_named_is_there(exported):
    folder, described = exported
    names = [described["backbone"]["file"]]
    for graph in described["graphs"].values():
        names += [graph["file"], *graph["external"]]
    for voice in described["voices"].values():
        for array in voice.values():
            names.append(array["file"])
            assert (folder / array["file"]).stat().st_size == 4 * product(array["shape"])
    assert set(names) == described["files"].keys()


def product(shape):
    n = 1
    for extent in shape:
        n *= extent
    return n


def test_ids_and_sizes_come_from_the_checkpoint(exported):
    _, described = exported
    words = described["vocabulary"]
    first = SMALL.base_vocab
    assert words["control"] == {n: first + i for i, n in enumerate(SMALL.specials)}
    assert words["audio_begin"] == words["text_end"] == SMALL.audio_begin
    assert words["audio_codes"] == SMALL.codes
    assert words["audio_placeholder"] == words["control"]["<|cAUDIO|>"]
    assert described["duplex"]["break"] == words["control"]["<|BREAK|>"]
    assert described["turns"]["end"] == [
        words["control"]["<|im_end|>"],
        words["control"]["<|endoftext|>"],
    ]
    assert described["flow"]["z"] == SMALL.z == len(described["flow"]["latent_mean"])
    assert described["vocoder"]["samples_per_latent"] == product(SMALL.rates)
    assert described["front_end"]["n_mels"] == SMALL.n_mels
    assert described["backbone"]["vocab_size"] == SMALL.audio_begin + SMALL.codes


def test_provenance(exported, intact_checkpoint):
    _, described = exported
    source = described["source"]
    assert source["notice"] and source["location"] == intact_checkpoint.name
    config = (intact_checkpoint / "config.json").read_bytes()
    assert source["sha256"]["config.json"] == hashlib.sha256(config).hexdigest()
    shards = {p.name for p in intact_checkpoint.glob("*.safetensors")}
    assert shards < source["sha256"].keys() and "token2wav/model.pt" in source["sha256"]
    assert described["created_by"]["backbone_types"].startswith("F32")


def test_the_engine_reads_it(exported):
    parley = pytest.importorskip("parley", reason="the engine is not built", exc_type=ImportError)
    assert parley.read_manifest(exported[0]) == exported[1]


def test_the_prompt_ends_with_what_the_weights_were_trained_with():
    assert prompts.system_prompt(None).endswith(prompts.FUNCTION)
    assert prompts.system_prompt("You are Ada.") == f"You are Ada.\n{prompts.FUNCTION}"
    whole = f"You are Ada.\n{prompts.FUNCTION}"
    assert prompts.system_prompt(whole) == whole
    assert prompts.system_prompt("") == prompts.FUNCTION


def test_licences_and_notices():
    assert "academic" in provenance.licence_and_notice(None, FAMILY.notice)[1]
    own = provenance.licence_and_notice("\n  Some Model License v2  \nfor research", FAMILY.notice)
    assert own[0] == "see LICENSE: Some Model License v2" and "academic" in own[1]
    apache = "Apache License\nVersion 2.0, January 2004\n"
    assert provenance.licence_and_notice(apache, FAMILY.notice)[0] == "Apache-2.0"
    assert "academic" not in provenance.licence_and_notice(apache, FAMILY.notice)[1]

"""A second family is two files and two lines: the same graphs come out, in a bundle of its own."""

import json

import pytest
from second_family.checkpoint import MODEL_TYPE, write_second
from small_checkpoint import SMALL

import parley
from parley_export import command, families
from parley_export.families import FAMILIES


@pytest.fixture
def second(tmp_path, monkeypatch):
    """A checkpoint of the second family, and the line that makes it known."""
    monkeypatch.setitem(FAMILIES, MODEL_TYPE, "second_family.family")
    return write_second(tmp_path / "second", SMALL)


def export(checkpoint, out):
    assert command.main([str(checkpoint), "--out", str(out), "--backbone", "f32", "--duplex"]) == 0
    return json.loads((out / "manifest.json").read_text())


def test_the_same_weights_become_the_same_files(second, intact_checkpoint, tmp_path):
    first, other = export(intact_checkpoint, tmp_path / "a"), export(second, tmp_path / "b")
    assert first["family"] == "covo_audio" and other["family"] == MODEL_TYPE
    for name, entry in first["files"].items():
        if name != "backbone.gguf":  # it holds the model's name
            assert other["files"][name] == entry, name
    for section in ("graphs", "flow", "vocoder", "vocabulary", "turns", "duplex"):
        assert first[section] == other[section]


def test_the_engine_refuses_a_family_that_it_does_not_know(second, tmp_path):
    export(second, tmp_path / "b")
    with pytest.raises(
        parley.BundleError, match=r"one of the families covo_audio(, \w+)+, got \"second\""
    ):
        parley.open(tmp_path / "b")


def test_the_exporter_lists_the_families_that_it_knows(tmp_path, capsys):
    checkpoint = write_second(tmp_path / "second", SMALL)
    assert command.main([str(checkpoint), "--out", str(tmp_path / "b")]) == 4
    told = capsys.readouterr().err
    assert f"got '{MODEL_TYPE}'" in told and ", ".join(families.FAMILIES) in told

"""Layers by name: the markers are the table of tests/README.md, and every test has one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from layers import LAYERS, layer_of

TESTS = Path(__file__).resolve().parent


def test_the_markers_are_the_table() -> None:
    rows = re.findall(r"^\| (\w+) \|", (TESTS / "README.md").read_text(), re.MULTILINE)
    assert rows[1:] == list(LAYERS)


@pytest.mark.parametrize(
    ("path", "fixtures", "marks", "layer"),
    [
        ("test_layers.py", [], set(), "unit"),
        ("apps/test_verify.py", [], set(), "synthetic"),
        ("export/test_graphs.py", [], set(), "golden"),
        ("runtime/test_audio.py", ["tiny_bundle"], set(), "golden"),
        ("nano/test_bundle.py", [], set(), "nano"),
        ("test_layers.py", [], {"device"}, "device"),
    ],
)
def test_a_layer_follows_from_what_a_test_uses(
    path: str, fixtures: list[str], marks: set[str], layer: str
) -> None:
    assert layer_of(TESTS / path, fixtures, marks) == layer


def test_this_one_has_its_marker(request: pytest.FixtureRequest) -> None:
    assert [m.name for m in request.node.iter_markers() if m.name in LAYERS] == ["unit"]

"""The installed module: it is tied to no vendor library and to no folder of the build."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import parley._core


@pytest.fixture(scope="module")
def dynamic_section() -> str:
    """What the module asks of the loader, by readelf (binutils)."""
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("no readelf; apt-get install binutils")
    module = Path(parley._core.__file__)
    return subprocess.run(
        [readelf, "-d", module], check=True, capture_output=True, text=True
    ).stdout


def test_no_run_path_is_left(dynamic_section: str) -> None:
    assert "NEEDED" in dynamic_section  # readelf's words are as expected
    assert not re.search(r"\((?:RPATH|RUNPATH)\)", dynamic_section)


def test_no_vendor_library_is_linked(dynamic_section: str) -> None:
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic_section)
    assert needed
    assert not [name for name in needed if re.search("llama|ggml|onnxruntime|python", name)]

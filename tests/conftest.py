"""Fixtures that several rooms' tests share: a tiny bundle and a made-up recording."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from layers import LAYERS, layer_of
from synthetic_signal import synthetic_signal

RECORDING_S = 1.5


def pytest_configure(config: pytest.Config) -> None:
    for layer, what in LAYERS.items():
        config.addinivalue_line("markers", f"{layer}: {what}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test gets the marker of its layer: `pytest -m unit` runs those alone."""
    for item in items:
        fixtures = list(getattr(item, "fixturenames", ()))
        marks = {mark.name for mark in item.iter_markers()}
        item.add_marker(layer_of(item.path, fixtures, marks))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What parley keeps of a machine is neither taken from the user's home nor written there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint as a bundle in float32, with both modes. Read it only."""
    for package in ("torch", "onnx", "gguf", "safetensors", "tokenizers"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"no {package}; pip install 'parley[export]'")
    from parley_apps.main import main
    from tiny_checkpoint import write_checkpoint

    folder = tmp_path_factory.mktemp("tiny")
    checkpoint = write_checkpoint(folder / "checkpoint")
    out = folder / "bundle"
    arguments = ["export", str(checkpoint), "--out", str(out), "--duplex", "--backbone", "f32"]
    assert main(arguments) == 0
    return out


@pytest.fixture(scope="session")
def step_audio_2_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Step-Audio 2 checkpoint as a bundle in float32. Read it only."""
    for package in ("torch", "onnx", "gguf", "safetensors", "tokenizers", "yaml"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"no {package}; pip install 'parley[export]'")
    from parley_apps.main import main
    from step_audio_2_checkpoint import write_checkpoint

    folder = tmp_path_factory.mktemp("step")
    checkpoint = write_checkpoint(folder / "checkpoint")
    out = folder / "bundle"
    assert main(["export", str(checkpoint), "--out", str(out), "--backbone", "f32"]) == 0
    return out


@pytest.fixture(scope="session")
def fun_audio_chat_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Fun-Audio-Chat checkpoint as a bundle in float32. Read it only."""
    for package in ("torch", "onnx", "gguf", "safetensors", "tokenizers", "yaml"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"no {package}; pip install 'parley[export]'")
    from fun_audio_chat_checkpoint import write_checkpoint
    from parley_apps.main import main

    folder = tmp_path_factory.mktemp("fun")
    checkpoint = write_checkpoint(folder / "checkpoint")
    out = folder / "bundle"
    precisions = ["--backbone", "f32", "--head", "f32"]
    assert main(["export", str(checkpoint), "--out", str(out), *precisions]) == 0
    return out


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up recording, 48 kHz, 24 bit, in stereo."""
    import soundfile

    path = tmp_path_factory.mktemp("recordings") / "user.wav"
    samples = synthetic_signal(int(RECORDING_S * 48_000), 48_000)
    soundfile.write(path, np.stack([samples, samples], 1), 48_000, subtype="PCM_24")
    return path


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A run in which everything was skipped is no success."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if exitstatus != 0 or session.config.option.collectonly or reporter is None:
        return
    if not reporter.stats.get("passed"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line("\nno test passed, all were skipped: that proves nothing", red=True)

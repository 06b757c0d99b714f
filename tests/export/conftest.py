"""Fixtures of the exporter's tests: a small checkpoint to read, and copies of it to damage."""

import shutil
from pathlib import Path

import pytest
import torch
from small_checkpoint import SMALL

import fun_audio_chat_checkpoint
from tiny_checkpoint import write_checkpoint

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def intact_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read it only."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "small", SMALL)


@pytest.fixture
def checkpoint(intact_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy for one test, which may damage it."""
    return Path(shutil.copytree(intact_checkpoint, tmp_path / "small"))


@pytest.fixture(scope="session")
def fun_audio_chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's folder of a checkpoint in that family's layout. Read it only."""
    return fun_audio_chat_checkpoint.write_checkpoint(tmp_path_factory.mktemp("fun_audio_chat"))

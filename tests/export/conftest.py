"""Fixtures of the exporter's tests: a small checkpoint to read, and copies of it to damage."""

import shutil
from pathlib import Path

import pytest
import torch
from small_checkpoint import SMALL

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

"""model.pt comes from the internet: nothing in it runs, and old loaders are refused."""

import pickle
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

from parley_export import state_dict
from parley_export.errors import BundleError, LibraryError


def repack(path: Path, payload: bytes) -> None:
    """Put another pickle into a torch zip file."""
    with zipfile.ZipFile(path) as z:
        entries = {name: z.read(name) for name in z.namelist()}
    name = next(n for n in entries if n.endswith("data.pkl"))
    entries[name] = payload
    with zipfile.ZipFile(path, "w") as z:
        for entry, data in entries.items():
            z.writestr(entry, data)


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self):
        return (Path.touch, (self.canary,))


@pytest.fixture
def state(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"model": {"wavegan.a": torch.ones(3)}}, path)
    return path


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_forbidden_name_is_refused_unexecuted(state, tmp_path, protocol):
    canary = tmp_path / "executed"
    repack(state, pickle.dumps({"model": Trap(canary)}, protocol=protocol))
    with pytest.raises(BundleError, match="calls"):
        state_dict.read_state_dict(state)
    assert not canary.exists()


def test_the_trap_works(tmp_path):
    """The canary would be seen: otherwise the test above could not fail."""
    canary = tmp_path / "executed"
    pickle.loads(pickle.dumps(Trap(canary)))
    assert canary.exists()


def test_a_forbidden_name_is_named(state):
    repack(state, b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(BundleError, match=r"os\.system"):
        state_dict.read_state_dict(state)


def test_a_trap_beside_the_tensors_is_found(state, tmp_path):
    canary = tmp_path / "executed"
    torch.save({"model": {"wavegan.a": torch.ones(3)}, "x": Trap(canary)}, state)
    with pytest.raises(BundleError, match="calls"):
        state_dict.read_state_dict(state)
    assert not canary.exists()


def test_a_plain_pickle_is_refused(state, tmp_path):
    canary = tmp_path / "executed"
    state.write_bytes(pickle.dumps(Trap(canary)))
    with pytest.raises(BundleError, match=r"model\.pt"):
        state_dict.read_state_dict(state)
    assert not canary.exists()


def test_the_old_format_is_named(state):
    """Regression: "a damaged file"."""
    torch.save({"model": torch.load(state)}, state, _use_new_zipfile_serialization=False)
    with pytest.raises(BundleError, match=r"before 1\.6, without zip.*save it anew") as caught:
        state_dict.read_state_dict(state)
    assert "damaged" not in str(caught.value)
    command = str(caught.value).partition("python -c ")[2]
    assert command.startswith('"import torch; torch.save(torch.load(')


def test_a_tar_archive_is_named(state):
    with tarfile.open(state, "w") as archive:
        archive.addfile(tarfile.TarInfo("sys_info"))
    with pytest.raises(BundleError, match=r"before 0\.2, a tar archive"):
        state_dict.read_state_dict(state)


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.uint16, torch.complex64])
def test_other_types_of_tensors_are_named(state, kind):
    """Regression: "a pickle that calls torch.float8_e4m3fn ...; do not use this file"."""
    torch.save({"model": {"wavegan.a": torch.ones(3).to(kind)}}, state)
    with pytest.raises(BundleError, match=r"float32, float16 or bfloat16.*convert") as caught:
        state_dict.read_state_dict(state)
    assert "calls" not in str(caught.value)


@pytest.mark.parametrize("payload", [b"", b"\x80\x02", b"\xff" * 9, b"\x80\x02}q\x00"])
def test_a_damaged_pickle_is_refused(state, payload):
    repack(state, payload)
    with pytest.raises(BundleError, match=r"model\.pt"):
        state_dict.read_state_dict(state)


@pytest.mark.parametrize("keep", [0, 30, 200, -1])
def test_a_truncated_file_is_refused(state, keep):
    state.write_bytes(state.read_bytes()[:keep])
    with pytest.raises(BundleError, match=r"model\.pt"):
        state_dict.read_state_dict(state)


def test_a_compressed_file_is_refused(state):
    with zipfile.ZipFile(state) as z:
        entries = {name: z.read(name) for name in z.namelist()}
    with zipfile.ZipFile(state, "w", zipfile.ZIP_DEFLATED) as z:
        for entry, data in entries.items():
            z.writestr(entry, data)
    with pytest.raises(BundleError, match="compressed"):
        state_dict.read_state_dict(state)


@pytest.mark.parametrize("value", [5, "text", [1], torch.ones(2, dtype=torch.int64), None])
def test_only_floating_point_tensors_are_taken(state, value):
    torch.save({"model": {"wavegan.a": value}}, state)
    with pytest.raises(BundleError, match=r"wavegan\.a"):
        state_dict.read_state_dict(state)


def test_a_storage_smaller_than_its_tensor_is_refused(state):
    """A tensor that claims more than its storage holds must not be read."""
    with zipfile.ZipFile(state) as z:
        entries = {name: z.read(name) for name in z.namelist()}
    with zipfile.ZipFile(state, "w") as z:
        for name, data in entries.items():
            z.writestr(name, data[:4] if name.endswith("data/0") else data)
    with pytest.raises(BundleError, match=r"model\.pt"):
        state_dict.read_state_dict(state)


def test_an_old_torch_is_refused(state, monkeypatch):
    for version in ("2.5.1", "2.6.0+cu124", "2.9.1"):
        monkeypatch.setattr(torch, "__version__", version)
        with pytest.raises(LibraryError, match="CVE-2026-24747"):
            state_dict.read_state_dict(state)
    monkeypatch.setattr(torch, "__version__", "2.10.0a0+git1")
    assert set(state_dict.read_state_dict(state)) == {"wavegan.a"}


def test_names_are_found_however_they_are_written():
    """The scan sees names in every protocol without running them."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(Path.touch, protocol=protocol)
        assert set(state_dict._global_names(data)) - state_dict._ALLOWED_GLOBALS

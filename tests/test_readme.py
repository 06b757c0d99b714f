"""Runs the README's Python example and checks that what the documents name is there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from parley_apps import errors
from parley_apps.main import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = [
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "tests" / "README.md",
]
NANO = ROOT / "models/nano/bundle"
MADE_BY_MAKE = ("demo/", "bundle/", "build/", "dist/")
SERVED = ("/v1/",)  # addresses of a server


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.nano
@pytest.mark.skipif(not NANO.is_dir(), reason="no models/nano/bundle; make nano makes one")
def test_the_python_example_runs(tmp_path: Path) -> None:
    example, *_ = blocks(README, "python")
    assert len(example.splitlines()) <= 11
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / "nano").symlink_to(NANO)
    shutil.copytree(ROOT / "apps/parley_apps/data", tmp_path / "apps/parley_apps/data")
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        env={**os.environ, "PARLEY_BUNDLES": str(tmp_path / "bundles")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "shift" in done.stdout and "text  hello" in done.stdout
    assert (tmp_path / "answer.wav").stat().st_size > 1000


@pytest.mark.nano
@pytest.mark.skipif(not NANO.is_dir(), reason="no models/nano/bundle; make nano makes one")
def test_the_live_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nano").symlink_to(NANO)
    monkeypatch.setenv("PARLEY_BUNDLES", str(tmp_path))
    _, example, _ = blocks(README, "python")
    assert "bundle.live()" in example
    # Without devices and without a thread it is over at once.
    exec(example.replace("bundle.live()", "bundle.live(devices=False, start=False)"), {})


@pytest.mark.nano
@pytest.mark.skipif(not NANO.is_dir(), reason="no models/nano/bundle; make nano makes one")
def test_the_stock_clients_example_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openai", reason="no openai; pip install 'parley[test]'")
    from served import serving

    *_, example = blocks(README, "python")
    assert "8765" in example and len(example.splitlines()) <= 12
    monkeypatch.chdir(ROOT)
    with serving() as server:
        exec(example.replace("8765", str(server.port)), {})
    assert capsys.readouterr().out == "reminder to buy flowers on friday"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_documents_exist(path: Path) -> None:
    rules = re.findall(r"^([a-z -]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    targets = {target for rule in rules for target in rule.split()}
    shell = "\n".join(blocks(path.read_text(), "sh"))
    text = shell + "\n" + "\n".join(re.findall(r"`((?:make|parley) [^`]*)`", path.read_text()))
    for target in re.findall(r"^make ([a-z-]+)", text, re.MULTILINE):
        assert target in targets, f"make {target}"
    for command in re.findall(r"^parley ([a-z]+)", text, re.MULTILINE):
        assert command in COMMANDS, f"parley {command}"


def test_all_subcommands_and_exit_codes_are_told() -> None:
    told = re.findall(r"^parley ([a-z]+)", "\n".join(blocks(README, "sh")), re.MULTILINE)
    assert sorted(set(told)) == sorted(COMMANDS)
    in_help = set(re.findall(r"^  (\d+) ", errors.EXIT_CODES_HELP, re.MULTILINE))
    assert set(re.findall(r"^\| (\d+) \|", README, re.MULTILINE)) == in_help


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_in_documents_exist(path: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    named = re.findall(r"`([\w./-]+/[\w./-]*)`", prose) + re.findall(r"\]\(([^)]+)\)", prose)
    for name in named:
        places = [ROOT / name, ROOT / "cpp" / "src" / name, path.parent / name]
        found = any(place.exists() or list(place.parent.glob(place.name + "*")) for place in places)
        assert found or name.startswith((*MADE_BY_MAKE, *SERVED)), f"{path.name} names {name}"

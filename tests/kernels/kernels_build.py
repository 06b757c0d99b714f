"""Compiles kernels for tests, one library per version of a processor; knows no kernel."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAST = ["-O3", "-ffp-contract=fast", "-Wno-psabi"]
# Processor flags that a version needs.
NEEDS = {
    "avx2": {"avx2", "fma"},
    "avx512": {"avx512f", "avx512vl", "avx512dq"},
    "avx512bf16": {"avx512f", "avx512vl", "avx512_bf16"},
}


def need_processor(version):
    """Skips a test where this processor cannot run a version."""
    missing = NEEDS.get(version, set()) - processor_flags()
    if missing:
        pytest.skip(f"this processor has no {', '.join(sorted(missing))}")


def processor_flags():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith("flags") for flag in line.split()}


def compiled(folder, flags, *sources):
    """The sources as a loaded library."""
    if shutil.which("c++") is None:
        pytest.skip("no c++; install a C++ compiler")
    path = folder / "kernel.so"
    command = ["c++", "-std=c++20", "-Wall", "-Wextra", "-Werror", *flags, "-fPIC", "-shared"]
    subprocess.run([*command, f"-I{ROOT}", *map(str, sources), "-o", str(path)], check=True)
    return ctypes.CDLL(str(path))

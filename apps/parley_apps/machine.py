"""What machine this is and what is installed on it; knows no bundle."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import sys
from pathlib import Path


def describe() -> dict[str, object]:
    """Operating system, processor, cores, memory and Python, as plain data."""
    return {
        "os": platform.platform(),
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "memory_gb": memory_gb(),
        "python": platform.python_version(),
    }


def circumstances() -> dict[str, object]:
    """What belongs to every measurement: machine, versions, and the command that was given."""
    command = shlex.join(["parley", *sys.argv[1:]])
    return {"machine": describe(), "versions": versions(), "command": command}


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_gb() -> float:
    """Memory of the machine in GiB; 0 where the system does not tell."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return 0.0


def cpu_name() -> str:
    """The processor's name as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def package_version(*names: str) -> str | None:
    """Version of the first of these packages that is installed."""
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def versions() -> dict[str, str | None]:
    """Versions that a measurement depends on."""
    import parley

    return {
        "parley": parley.__version__,
        "onnxruntime": package_version("onnxruntime", "onnxruntime-gpu"),
        "parley-llama": package_version("parley-llama"),
        "numpy": package_version("numpy"),
        "python": platform.python_version(),
    }

"""Compares parley/_core.pyi with the module itself, by mypy's stubtest; `make lint` runs it."""

import re
import subprocess
import sys

# What pybind11 makes otherwise than a class written in Python, and names that are for types alone.
PYBIND11 = re.compile(
    r"metaclass differs|does not have \*args parameter|does not have \*\*kwargs parameter"
    r"|\.(Floats|Floor|Kind|Path|Spent) is not present at runtime"
)


def main() -> int:
    command = [sys.executable, "-m", "mypy.stubtest", "parley._core", "--concise"]
    done = subprocess.run(command, capture_output=True, text=True)
    told = [line for line in done.stdout.splitlines() if line.startswith("parley.")]
    wrong = [line for line in told if not PYBIND11.search(line)]
    print("\n".join([*wrong, *([] if told or done.returncode == 0 else [done.stderr])]), end="")
    return 1 if wrong or (done.returncode and not told) else 0


if __name__ == "__main__":
    sys.exit(main())

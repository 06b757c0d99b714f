"""Exports a checkpoint of the tests' second family, and lets the C++ program talk with its bundle.

CTest runs it with that program; it needs what exporting needs.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = 77
NEEDED = ("torch", "onnx", "gguf", "safetensors", "tokenizers")


def main() -> int:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing or not all(map(os.environ.get, ("PARLEY_ONNXRUNTIME", "PARLEY_LLAMA"))):
        print("skipped: no ONNX Runtime and llama.cpp by pip, or no", *missing)
        return SKIPPED
    sys.path[:0] = [str(ROOT / place) for place in ("export", "tests", "tests/export")]
    from second_family.checkpoint import MODEL_TYPE, write_second
    from small_checkpoint import SMALL

    from parley_export import command, families

    families.FAMILIES[MODEL_TYPE] = "second_family.family"
    with tempfile.TemporaryDirectory() as work:
        checkpoint, bundle = write_second(Path(work, "checkpoint"), SMALL), Path(work, "bundle")
        options = ["--out", str(bundle), "--backbone", "f32", "--duplex"]
        assert command.main([str(checkpoint), *options]) == 0
        return subprocess.run([sys.argv[1], str(bundle)]).returncode


if __name__ == "__main__":
    sys.exit(main())

"""Writes dist/parley-sdk-*.tar.gz: libparley and its C header with all that a conversation needs.

For programs without Python, on any Linux since 2018 of this family of processors: ONNX Runtime,
llama.cpp, nano, a program in C, every licence, and a list of it all in SPDX. It runs wherever it is
unpacked. Run by the environment's Python, in which parley and its extras are installed.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import platform
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
NAME = f"parley-sdk-{VERSION}-linux-{platform.machine()}"
BUILD, TREE = ROOT / "build" / "sdk", ROOT / "build" / "sdk" / NAME
# What is in it: name, version, licence, where its licence lies, and which files are its.
PARTS = [
    ("parley", VERSION, "Apache-2.0", ROOT / "LICENSE", ("include/", "lib/libparley", "examples/")),
    ("nano", VERSION, "Apache-2.0", ROOT / "models/nano/bundle/LICENSE", ("bundles/nano/",)),
    ("SpeexDSP", "1.2.1", "BSD-3-Clause", ROOT / "third_party/speexdsp/LICENSE", ()),
    ("PortAudio", "19.6.0", "MIT", ROOT / "third_party/portaudio/LICENSE", ()),
]

README = """parley for programs in C, and in any language that calls C.

  include/parley/parley.h    the whole interface, with what holds of threads and memory
  lib/libparley.so.1         needs libc and libm alone
  lib/parley/                ONNX Runtime and llama.cpp, which libparley opens from there
  bundles/nano/              a small model to begin with
  examples/                  a program: cmake -S examples -B build && cmake --build build, or
                             cc examples/talk.c $(pkg-config --cflags --libs parley) -lm
  licenses/, parley.spdx.json  of everything in here

A microphone's 16 bit samples at 24 kHz in, a loudspeaker's out:

  build/parley_talk bundles/nano < microphone.raw > loudspeaker.raw
"""


def package(module: str) -> Path:
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        sys.exit(f"[make.sdk] expected the Python package {module}, found none; run make install")
    return Path(found.origin).parent


def build() -> None:
    cmake = [sys.executable, "-m", "cmake"]
    if importlib.util.find_spec("cmake") is None:
        cmake = ["cmake"]
    options = ["-DPARLEY_PORTABLE=ON", "-DPARLEY_PYTHON=OFF", "-DCMAKE_BUILD_TYPE=Release"]
    options += [
        f"-DPython_EXECUTABLE={sys.executable}",
        "-G",
        "Ninja",
        "-DCMAKE_INSTALL_LIBDIR=lib",
    ]
    for command in (
        [*cmake, "-S", ROOT, "-B", BUILD / "cmake", *options],
        [*cmake, "--build", BUILD / "cmake", "--target", "parley_shared"],
        [*cmake, "--install", BUILD / "cmake", "--prefix", TREE, "--component", "c", "--strip"],
    ):
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{done.stdout}{done.stderr}\n[make.sdk] `{command[0]} ...` failed")


def add_libraries() -> None:
    """Copies of what pip installed, under names without versions."""
    onnxruntime, llama = package("onnxruntime"), package("parley_llama")
    folder = TREE / "lib" / "parley"
    folder.mkdir()
    library = next(
        path for path in (onnxruntime / "capi").glob("libonnxruntime.so.*") if not path.is_symlink()
    )
    shutil.copy2(library, folder / "libonnxruntime.so")
    for path in (llama / "lib").glob("*.so*"):
        shutil.copy2(path, folder)
    ours = importlib.metadata.distribution("parley-llama")
    licence = next(file for file in ours.files or [] if "licenses/LICENSE" in str(file)).locate()
    runtime = importlib.metadata.version("onnxruntime")
    PARTS.append(
        ("ONNX Runtime", runtime, "MIT", onnxruntime / "LICENSE", ("lib/parley/libonnxruntime",))
    )
    PARTS.append(("llama.cpp", ours.version, "MIT", Path(str(licence)), ("lib/parley/",)))
    notices = TREE / "licenses" / "ONNX Runtime notices.txt"
    shutil.copy2(onnxruntime / "ThirdPartyNotices.txt", notices)


def add_licences() -> None:
    for name, _, _, licence, _ in PARTS:
        shutil.copy2(licence, TREE / "licenses" / f"{name}.txt")


def spdx() -> dict[str, object]:
    """SPDX 2.3: a package for each part, a file for each file, with its SHA-256."""
    files, held = [], []
    for path in sorted(path for path in TREE.rglob("*") if path.is_file()):
        name = str(path.relative_to(TREE))
        part = next((p[0] for p in PARTS if name.startswith(p[4])), "parley")
        reference = f"SPDXRef-File-{len(files)}"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        files.append(
            {
                "SPDXID": reference,
                "fileName": f"./{name}",
                "checksums": [{"algorithm": "SHA256", "checksumValue": digest}],
            }
        )
        held.append((reference_of(part), "CONTAINS", reference))
    packages = [
        {
            "SPDXID": reference_of(name),
            "name": name,
            "versionInfo": version,
            "licenseDeclared": licence,
            "licenseConcluded": licence,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False,
        }
        for name, version, licence, _, _ in PARTS
    ]
    held += [("SPDXRef-DOCUMENT", "DESCRIBES", reference_of(part[0])) for part in PARTS]
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    whole = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": NAME,
        "documentNamespace": f"urn:parley:sdk:{whole}",
        "creationInfo": {"created": now, "creators": [f"Tool: parley-{VERSION}"]},
        "packages": packages,
        "files": files,
        "relationships": [
            {"spdxElementId": a, "relationshipType": kind, "relatedSpdxElement": b}
            for a, kind, b in held
        ],
    }


def reference_of(name: str) -> str:
    return "SPDXRef-" + name.replace(" ", "-")


def main() -> None:
    shutil.rmtree(TREE, ignore_errors=True)
    print("== the SDK: libparley, compiled for every Linux since 2018", flush=True)
    build()
    (TREE / "licenses").mkdir()
    add_libraries()
    add_licences()
    shutil.copytree(ROOT / "models/nano/bundle", TREE / "bundles/nano")
    shutil.copytree(ROOT / "cpp/example", TREE / "examples")
    (TREE / "examples" / "main.cpp").unlink()
    shutil.rmtree(TREE / "share", ignore_errors=True)  # the licence, which has its own place here
    (TREE / "README.txt").write_text(README)
    (TREE / "parley.spdx.json").write_text(json.dumps(spdx(), indent=1) + "\n")
    archive = ROOT / "dist" / f"{NAME}.tar.gz"
    archive.parent.mkdir(exist_ok=True)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(TREE, NAME)
    print(f"   {archive.relative_to(ROOT)}  {archive.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

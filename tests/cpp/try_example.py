"""Builds the examples in C++ and C against parley as it is installed; nano answers a recorded user.

CTest runs it with the build folder; it knows no target of it. Only the standard library.
"""

import array
import os
import re
import shutil
import subprocess
import sys
import wave
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import c_abi  # noqa: E402

EXAMPLE, NANO = ROOT / "cpp" / "example", ROOT / "models" / "nano" / "bundle"
RECORDING = ROOT / "apps" / "parley_apps" / "data" / "conversation.wav"
SECONDS, RATE = 8, 24_000  # the user's first question, and nano's sample rate
CHUNK = RATE * 16 // 100
SKIPPED = 77

# What a project writes that takes parley's sources in.
CONSUMER = f"""
cmake_minimum_required(VERSION 3.20)
project(consumer LANGUAGES CXX)
add_subdirectory("{ROOT}" parley EXCLUDE_FROM_ALL)
add_subdirectory("{EXAMPLE}" example)
"""


def run(*command: str | Path) -> None:
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True)


def configure(source: Path, build: Path, *settings: str) -> None:
    run("cmake", "-S", source, "-B", build, "-G", "Ninja", *settings)


def installed_examples(parley_build: Path, work: Path, compiler: str) -> Path:
    prefix = work / "prefix"
    run("cmake", "--install", parley_build, "--prefix", prefix)
    # A program in C takes along what a library built with sanitizers needs.
    cache = (parley_build / "CMakeCache.txt").read_text()
    sanitizers = re.search(r"^PARLEY_SANITIZE:\w+=(.+)$", cache, re.MULTILINE)
    flags = f"-DCMAKE_EXE_LINKER_FLAGS={f'-fsanitize={sanitizers[1]}' if sanitizers else ''}"
    configure(EXAMPLE, work / "build", f"-DCMAKE_PREFIX_PATH={prefix}", compiler, flags)
    run("cmake", "--build", work / "build")
    return work / "build"


def compile_in_tree(work: Path, compiler: str) -> None:
    """Only what is the consumer's own: parley's objects are those that other tests link."""
    (work / "consumer").mkdir()
    (work / "consumer" / "CMakeLists.txt").write_text(CONSUMER)
    python = f"-DPython_EXECUTABLE={sys.executable}"
    configure(work / "consumer", work / "in_tree", python, compiler)
    main = "example/CMakeFiles/parley_example.dir/main.cpp.o"
    run("cmake", "--build", work / "in_tree", "--target", main)


def check_exports(library: Path) -> None:
    """The shared library gives what the header has, and nothing of C++ or of others' code."""
    listed = subprocess.run(
        ["nm", "--dynamic", "--defined-only", "--format=just-symbols", library],
        capture_output=True,
        text=True,
        check=True,
    )
    given = {line.partition("@")[0] for line in listed.stdout.split()} - {"PARLEY_1"}
    header = c_abi.functions(c_abi.describe(c_abi.HEADER.read_text()))
    assert given == header, given ^ header


def question() -> bytes:
    """The recording's begin at nano's rate, by linear interpolation, 16 bit."""
    with wave.open(str(RECORDING)) as file:
        assert (file.getsampwidth(), file.getnchannels()) == (2, 1)
        rate = file.getframerate()
        samples = array.array("h", file.readframes(SECONDS * rate + 1))
    places = (i * rate / RATE for i in range(SECONDS * RATE))
    return array.array(
        "h",
        (round(samples[int(p)] * (1 - p % 1) + samples[int(p) + 1] * (p % 1)) for p in places),
    ).tobytes()


def main() -> int:
    parley_build, compiler = Path(sys.argv[1]), f"-DCMAKE_CXX_COMPILER={sys.argv[2]}"
    work = parley_build / "try_example"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    compile_in_tree(work, compiler)
    examples = installed_examples(parley_build, work, compiler)
    if shutil.which("nm"):
        check_exports(next((work / "prefix").rglob("libparley.so")))
    if not NANO.is_dir() or not all(map(os.environ.get, ("PARLEY_ONNXRUNTIME", "PARLEY_LLAMA"))):
        print("built, not run: no models/nano/bundle, or no ONNX Runtime and llama.cpp by pip")
        return SKIPPED
    asked = question()
    for program in ("parley_example", "parley_talk"):
        wrong = subprocess.run([examples / program, work], capture_output=True, text=True)
        assert wrong.returncode == 1 and "[bundle.open] expected" in wrong.stderr, wrong
    talk, in_c = (
        subprocess.run([examples / program, NANO], input=asked, capture_output=True)
        for program in ("parley_example", "parley_talk")
    )
    assert (in_c.returncode, in_c.stdout, in_c.stderr) == (0, talk.stdout, talk.stderr)
    told = talk.stderr.decode(errors="replace")
    print(told)
    assert talk.returncode == 0
    assert f"in: {RATE} Hz, {CHUNK} samples a chunk; out: {RATE} Hz, {CHUNK} samples" in told
    assert len(talk.stdout) == 2 * CHUNK * (SECONDS * RATE // CHUNK)
    replies = [line for line in told.splitlines() if line.startswith(">")]
    assert replies and any(map(str.isalpha, replies[0])), "nano gave no answer in words"
    assert max(map(abs, array.array("h", talk.stdout))) > 1000, "nano gave no sound"
    return 0


if __name__ == "__main__":
    sys.exit(main())

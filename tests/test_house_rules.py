"""The project's own rules, checked by reading the sources: size, rooms, vendors, first lines.

Each rule is a function from a file to what it finds there. ALLOWED holds the exceptions with their
reasons; an entry whose finding is gone fails too, so the list gets shorter by itself.
"""

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import source_reading as reading

ROOT = Path(__file__).resolve().parent.parent
TOPS = ("kernels", "cpp", "runtime", "export", "apps", "models", "tests")
PYTHON, CPP = (".py", ".pyi"), (".h", ".hpp", ".cpp", ".cu")
PAGE = (".js", ".css", ".html")

# (rule, path below the checkout) -> the reason.
ALLOWED: dict[tuple[str, str], str] = {
    ("too_many_positional", "cpp/src/live/devices/devices.cpp"): "PortAudio calls it",
    ("too_many_positional", "cpp/src/live/devices/portaudio.cpp"): "a C library calls it",
    ("too_many_positional", "cpp/src/runners/ort/library.cpp"): "ONNX Runtime calls it",
    ("too_many_positional", "cpp/bindings/backbone_bench.cpp"): "Python names them all",
    ("too_many_positional", "cpp/src/stages/flow/decoder.cpp"): "verification's whole utterance",
    ("too_many_positional", "cpp/src/stages/flow/graphs.cpp"): "arrays of one evaluation",
    ("too_many_positional", "cpp/c/session.cpp"): "C has no spans: two arrays with their sizes",
    ("too_many_positional", "cpp/src/stages/vocoder.cpp"): "arrays of one run",
    ("too_many_positional", "tests/cpp/stubs/stub_portaudio.cpp"): "as PortAudio declares it",
    ("too_many_positional", "tests/cpp/check.h"): "what a macro knows",
    ("long_file", "runtime/parley/bundle.py"): "a bundle's options and its conversations'",
    ("long_function", "runtime/parley/bundle.py"): "a session's options, each by its name",
    ("threads_and_locks", "runtime/parley/tools.py"): "a tool runs while its conversation goes on",
    ("threads_and_locks", "cpp/bindings/calls.cpp"): "waits for calls when the interpreter ends",
    ("noise_in_library", "cpp/bindings/calls.cpp"): "an end that destroys nothing under a call",
    ("threads_and_locks", "cpp/src/runners/llama/library.cpp"): "one library per process and path",
    ("threads_and_locks", "cpp/src/runners/ort/library.cpp"): "one library per process and path",
    ("threads_and_locks", "cpp/src/runners/llama/cache.cpp"): "counts the cores, no more",
    (
        "threads_and_locks",
        "cpp/src/runners/llama/cache.h",
    ): "a conversation and its forks take turns",
    ("threads_and_locks", "cpp/src/runners/llama/importance.h"): "sums of sessions on any thread",
    ("threads_and_locks", "cpp/src/runners/llama/library.h"): "one logger in a process",
    ("threads_and_locks", "cpp/src/runners/ort/conv1d_op.cpp"): "compares its forms once",
    ("threads_and_locks", "cpp/src/runners/ort/forms.h"): "one measurement at a time",
    ("threads_and_locks", "cpp/src/runners/ort/library.h"): "one environment for all graphs",
    ("threads_and_locks", "cpp/src/runners/ort/pool.cpp"): "makes ONNX Runtime's threads, named",
    ("threads_and_locks", "cpp/src/runners/ort/session_options.cpp"): "counts the cores, no more",
    ("threads_and_locks", "cpp/src/base/log.cpp"): "messages come from any thread",
    (
        "threads_and_locks",
        "cpp/src/session/worker.h",
    ): "sound beside thinking: one thread, one lock",
    ("threads_and_locks", "cpp/src/session/session.h"): "close() waits for the step under way",
    (
        "threads_and_locks",
        "cpp/src/stages/flow/voice_setups.h",
    ): "a voice is set up once, whichever session comes first",
    (
        "family_word",
        "apps/parley_apps/evaluation/summary.py",
    ): "beside figures of a published report",
    ("family_word", "apps/parley_apps/benchmark/kernels.py"): "operators beside their own graphs",
    ("threads_and_locks", "cpp/src/live/live.cpp"): "the thread that steps, and its events",
    ("threads_and_locks", "cpp/src/live/managed.cpp"): "one caller at a time, as in a session",
    ("threads_and_locks", "cpp/src/live/turn_driver.h"): "cancel() reaches the session at work",
    (
        "threads_and_locks",
        "cpp/src/live/devices/devices.cpp",
    ): "looks after devices that come and go",
    ("threads_and_locks", "cpp/src/live/devices/portaudio.cpp"): "one library per process and path",
    ("threads_and_locks", "cpp/bindings/live.cpp"): "what is recorded, between steps and Python",
    ("threads_and_locks", "runtime/parley/live.py"): "events for asyncio; starts no thread",
    ("threads_and_locks", ".make/install.py"): "compiles llama.cpp beside the other steps",
    ("threads_and_locks", "export/parley_export/command.py"): "looks which thread takes a signal",
    ("threads_and_locks", "export/parley_export/progress.py"): "samples memory beside the export",
}


def sources() -> list[Path]:
    found = [ROOT / "Makefile", ROOT / "CMakeLists.txt", *sorted((ROOT / ".make").glob("*.*"))]
    for top in TOPS:
        for path in sorted((ROOT / top).rglob("*")):
            if path.suffix in (*PYTHON, *CPP, *PAGE) and "__pycache__" not in path.parts:
                found.append(path)
    return found


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def read_ladder() -> list[list[str]]:
    """The rooms of the README's table, top first; a row may name several paths."""
    table = (ROOT / "README.md").read_text().split("\n## Rooms\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    return [re.findall(r"`([^`]+)`", row) for row in rows]


def room_of(name: str) -> int | None:
    """The row of the ladder that a file belongs to; the longest of the fitting paths wins."""
    fitting = [
        (len(prefix), row)
        for row, prefixes in enumerate(read_ladder())
        for prefix in prefixes
        if name.startswith(prefix)
    ]
    return max(fitting)[1] if fitting else None


def long_file(path: Path) -> Iterator[str]:
    length = len(path.read_text().splitlines())
    if length > 400:
        yield f"{length} lines; 400 is the limit, 600 with a reason"


def functions_of(path: Path) -> list[reading.Function]:
    if path.suffix == ".py":
        return reading.python_functions(path.read_text())
    return reading.cpp_functions(path.read_text()) if path.suffix in CPP else []


def long_function(path: Path) -> Iterator[str]:
    for function in functions_of(path):
        if function.length > 50:
            yield f"{function.name} has {function.length} lines; 50 is the limit, 80 with a reason"


def too_many_positional(path: Path) -> Iterator[str]:
    # The faces of operators are C, which has neither defaults nor names; so are other libraries'.
    if name_of(path).startswith(("kernels/", "tests/kernels/")):
        return
    if path.suffix not in (".py", *CPP):
        return
    read = reading.python_positional if path.suffix == ".py" else reading.cpp_positional
    for name, count in read(path.read_text()).items():
        if count > 5:
            yield f"{name} takes {count} positional parameters; 5 is the limit"


def upward_import(path: Path) -> Iterator[str]:
    own = room_of(name_of(path))
    if own is None:
        return
    for target in imported_files(path):
        room = room_of(target)
        if room is not None and room > own:
            yield f"uses {target}, of a room below its own in the README's table"


def imported_files(path: Path) -> Iterator[str]:
    """Names of the project's files that a file includes, or of the packages it imports."""
    text = path.read_text()
    if path.suffix in CPP:
        places = [path.parent, *(ROOT / p for p in ("cpp/include", "cpp/src", "cpp/bindings", "."))]
        for include in reading.cpp_includes(text):
            hits = [place / include for place in places if (place / include).is_file()]
            if hits:
                yield name_of(hits[0].resolve())
    elif path.suffix in PYTHON:
        homes = {"parley": "runtime", "parley_export": "export", "parley_apps": "apps"}
        for module in reading.python_imports(text):
            if home := homes.get(module.split(".")[0]):
                yield f"{home}/{module.replace('.', '/')}/"


def torch_import(path: Path) -> Iterator[str]:
    if path.suffix in PYTHON and not name_of(path).startswith(
        ("export/", "models/", "tests/export")
    ):
        for module in reading.python_imports(path.read_text()):
            if module.split(".")[0] == "torch":
                yield "imports torch, which is for export/ and models/ alone"


VENDOR = re.compile(r"(llama(-cpp)?|ggml[\w-]*|gguf|onnxruntime\w*|NvInfer\w*|cuda\w*)\.h")


def vendor_header(path: Path) -> Iterator[str]:
    vendors = ("cpp/src/runners/", "tests/cpp/stubs/")
    if path.suffix in CPP and not name_of(path).startswith(vendors):
        for include in reading.cpp_includes(path.read_text()):
            own = any((ROOT / top / include).is_file() for top in ("cpp/src", "kernels"))
            if VENDOR.fullmatch(include.split("/")[-1]) and not own:
                yield f"includes {include}, which is for cpp/src/runners/ alone"


LIBRARY = ("runtime/", "cpp/src/", "cpp/include/", "cpp/bindings/", "kernels/")
CPP_NOISE = re.compile(
    r"\b(?:std::)?(?:printf|fprintf|puts|exit|_exit|quick_exit|abort|srand|setenv)\s*\(|std::c(?:out|err)\b"
)
PYTHON_NOISE = {"print", "exit", "quit", "sys.exit", "os._exit", "os.abort", "np.random.seed"}


def noise_in_library(path: Path) -> Iterator[str]:
    """A library never prints, exits or changes global state."""
    if not name_of(path).startswith(LIBRARY):
        return
    text = path.read_text()
    if path.suffix in CPP:
        for match in CPP_NOISE.finditer(reading.cpp_code(text)):
            yield f"calls {match[0]} in line {text.count(chr(10), 0, match.start()) + 1}"
    elif path.suffix == ".py":
        for call, line in reading.python_calls(text).items():
            if call in PYTHON_NOISE:
                yield f"calls {call} in line {line}"


CPP_THREADS = {"thread", "mutex", "shared_mutex", "condition_variable", "future", "semaphore"}
PYTHON_THREADS = {"threading", "multiprocessing", "concurrent", "asyncio", "_thread"}


def threads_and_locks(path: Path) -> Iterator[str]:
    name = name_of(path)
    if name.startswith(("tests/", "apps/", "models/")):
        return
    if path.suffix in CPP:
        for include in reading.cpp_includes(path.read_text()) & CPP_THREADS:
            yield f"includes <{include}>"
    elif path.suffix == ".py":
        modules = {module.split(".")[0] for module in reading.python_imports(path.read_text())}
        for module in modules & PYTHON_THREADS:
            yield f"imports {module}"


# A small number in a comparison, in CHECK_NEAR, or under a name that says tolerance.
CPP_TOLERANCE = re.compile(
    r"(?:[<>]=?|CHECK_NEAR\([^;]*,|\w*[Tt]olerance\w*\s*=)\s*([\d.]+[eE]-\d+|0\.0\d+)"
)


def literal_tolerance(path: Path) -> Iterator[str]:
    if not name_of(path).startswith("tests/") or path.name == "tolerances.py":
        return
    text = path.read_text()
    found = reading.python_tolerances(text) if path.suffix == ".py" else []
    if path.suffix in CPP:
        found = CPP_TOLERANCE.findall(reading.cpp_code(text))
    for value in found:
        yield f"holds the tolerance {value}; name it in tests/tolerances.py"


def first_line_says_what(path: Path) -> Iterator[str]:
    mark = {".py": '"""', ".pyi": '"""', ".h": "// ", ".hpp": "// ", ".cpp": "// ", ".cu": "// "}
    mark |= {".js": "// ", ".css": "/* ", ".html": "<!-- "}
    line = reading.first_line(path)
    if not line.startswith(mark.get(path.suffix, "# ")) or len(line) < 25:
        yield f"begins with {line!r} instead of one sentence: what it is and what it doesn't know"


# Words of checkpoints and prompts -> the families in whose folders they stand, and nowhere else.
FAMILY_WORDS = {
    re.compile(
        r"covo|c_?AUDIO\b|token2latent|wavegan|audio_adapter|adapter_downsample|\bencoder_config",
        re.IGNORECASE,
    ): ("covo_audio",),
    re.compile(r"step_audio|\btts_(start|end|pad)|flow\.yaml|<\|BOT\|>", re.IGNORECASE): (
        "step_audio_2",
    ),
    re.compile(r"fun_?audio_?chat|\bcrq|invert_tower|new_spk2info|<\|sil\|>", re.IGNORECASE): (
        "fun_audio_chat",
    ),
    re.compile(r"\bhift\.pt|flow\.pt|campplus", re.IGNORECASE): ("step_audio_2", "fun_audio_chat"),
}
# The registers, and who makes checkpoints of a family.
FAMILY_HOMES = ("export/parley_export/families/__init__.py", "cpp/src/bundle/", "tests/", "models/")


def family_word(path: Path) -> Iterator[str]:
    name = name_of(path)
    if name.startswith(FAMILY_HOMES):
        return
    for words, homes in FAMILY_WORDS.items():
        if any(f"/{family}/" in name for family in homes):
            continue
        for match in words.finditer(path.read_text()):
            yield f"says {match[0]!r}, which belongs into the folders of {' and '.join(homes)}"


def remedy_with_do(path: Path) -> Iterator[str]:
    """A message ends in what helps: `; VERB ...`, as a sentence of its own would say it."""
    if name_of(path).startswith("tests/") or path.suffix not in (*CPP, *PYTHON):
        return
    text = path.read_text()
    for match in re.finditer(r"[;'\")] do (?!not\b)[a-z`\"{]|\"do (?!not\b)[a-z`{]", text):
        yield f"says 'do' before what to do in line {text.count(chr(10), 0, match.start()) + 1}"


# In pieces, so that this file doesn't hold them.
FORBIDDEN = [
    "/wo" + "rk/",
    "../sha" + "red",
    "py" + "pi.org",
    "pythonhosted" + ".org",
    "deb.deb" + "ian",
]


def forbidden_word(path: Path) -> Iterator[str]:
    text = path.read_text()
    for word in FORBIDDEN:
        if word in text:
            yield f"mentions {word}"


RULES: list[Callable[[Path], Iterator[str]]] = [
    long_file,
    long_function,
    too_many_positional,
    upward_import,
    torch_import,
    vendor_header,
    noise_in_library,
    threads_and_locks,
    literal_tolerance,
    first_line_says_what,
    remedy_with_do,
    family_word,
    forbidden_word,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(rule: Callable[[Path], Iterator[str]]) -> None:
    found = {name_of(path): list(rule(path)) for path in sources()}
    allowed = {path for name, path in ALLOWED if name == rule.__name__}
    wrong = [
        f"{path}: {what}" for path, list_ in found.items() if path not in allowed for what in list_
    ]
    assert not wrong, "\n".join(wrong)
    stale = sorted(path for path in allowed if not found.get(path))
    assert not stale, f"no longer needed in ALLOWED: {stale}"


def test_exceptions_have_their_own_limits() -> None:
    for path in sources():
        assert len(path.read_text().splitlines()) <= 600, path
        for function in functions_of(path):
            assert function.length <= 80, f"{path}: {function}"


def test_every_source_is_in_a_room() -> None:
    inside = [path for path in sources() if name_of(path).startswith(TOPS)]
    assert len(inside) > 100
    homeless = [name_of(path) for path in inside if room_of(name_of(path)) is None]
    assert not homeless, "the README's table of rooms doesn't hold " + ", ".join(homeless)
    missing = [p for row in read_ladder() for p in row if not list(ROOT.glob(p.rstrip("/") + "*"))]
    assert not missing, "the README's table of rooms names what isn't there: " + ", ".join(missing)


def test_public_headers_stay_small() -> None:
    folder = ROOT / "cpp/include/parley"
    lines = {path.suffix: 0 for path in folder.iterdir()}
    for path in folder.iterdir():
        lines[path.suffix] += len(path.read_text().splitlines())
    assert lines[".hpp"] <= 850 and lines[".h"] <= 350


def test_the_journey_is_short() -> None:
    journey = (ROOT / "README.md").read_text().partition("Follow it in six files:")[2]
    files = re.findall(r"^\d\. `([^`]+)`", journey, flags=re.MULTILINE)
    assert len(files) == 6
    assert sum(len((ROOT / file).read_text().splitlines()) for file in files) < 1100


def test_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    cmake = re.search(r"project\(parley VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text())
    assert cmake and cmake[1] == project["version"]


def test_documents_name_no_place_of_ours() -> None:
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*/**/*.md"), ROOT / "pyproject.toml"]:
        if not {".venv", "build", "demo"} & set(path.relative_to(ROOT).parts):
            assert not list(forbidden_word(path)), path

"""`parley bench report`: runs the measurements and writes BENCHMARKS.md from what they gave.

Each part is a command of its own whose JSON is kept beside the report, so that one part can be run
anew and the report written again without running any.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parley_apps import errors, machine, options
from parley_apps.benchmark import PARTS

EXAMPLES = """\
Writes BENCHMARKS.md: every table with the command that made it, the machine and the versions. What
was measured before is kept as JSON in the results folder; --run measures parts of it anew. Where a
part fails, its result of before stays, the report says both, and the exit code is the part's.

examples:
  parley bench report
  parley bench report --run all
  parley bench report --run nano,hour --threads 1

"""


@dataclass(frozen=True)
class Part:
    """One section: the words after `parley bench`, and what writes its lines."""

    name: str
    title: str
    about: str
    words: tuple[str, ...]
    plot: bool = False
    threads: bool = False

    def command(self, folder: Path, threads: int) -> list[str]:
        """The command line after `parley`, without --json."""
        words = ["bench", *self.words]
        if self.plot:
            words += ["--plot", str(folder / f"{self.name}.png")]
        if self.threads and threads:
            words += ["--threads", str(threads)]
        return words


SECTIONS = (
    Part(
        "nano",
        "nano, step by step",
        "The small model that ships, with a recorded user. A chunk lasts 160 ms.",
        ("step", "nano", "--seconds", "120"),
        threads=True,
    ),
    Part(
        "nano-overlap",
        "nano, step by step, with overlap",
        "The same with a second thread: a chunk's sound is made beside the next chunk's thinking, "
        "and comes one chunk later.",
        ("step", "nano", "--seconds", "120", "--overlap"),
        threads=True,
    ),
    Part(
        "serve",
        "Conversations at once behind parley serve",
        "Clients on loopback, each with a recorded user at the pace of a microphone.",
        ("serve", "nano", "--sessions", "1", "2", "4", "8", "12", "--seconds", "20"),
    ),
    Part(
        "hour",
        "An hour of conversation",
        "The same, for an hour of virtual time: cost and memory of every minute, and a line "
        "through them.",
        ("hour", "nano", "--hours", "1"),
        plot=True,
        threads=True,
    ),
    *(
        Part(
            f"full-{stage}",
            f"The published shapes: {stage}",
            "Random weights of the published shapes, against what this machine's memory and "
            "arithmetic allow, and against upstream's way of doing it on the same engine with the "
            "same kernels.",
            ("shapes", "--stages", stage, "--chunks", "12"),
            threads=True,
        )
        for stage in ("encoder", "backbone", "flow", "vocoder")
    ),
    Part(
        "kernels",
        "Kernels",
        "Single operations beside the graphs that they replace.",
        ("kernels",),
    ),
    Part(
        "vocoder",
        "Vocoder: look-ahead",
        "What a shorter look-ahead costs in accuracy, on nano.",
        ("vocoder", "nano", "--sweep"),
        plot=True,
    ),
    Part(
        "flow",
        "Flow decoder: settings",
        "Distance from the whole utterance at once, finely solved, and cost, on nano, which was "
        "trained without guidance: a sweep shows on how many evaluations it must run only where a "
        "bundle has some. `by_solver` and `by_stream` are what the setting's solver and its "
        "streaming take alone.",
        ("flow", "nano", "--sweep"),
        plot=True,
    ),
    Part(
        "backbone",
        "Backbone",
        "The engine's loop beside llama.cpp's own on the same file.",
        ("backbone", "nano", "--window"),
    ),
    Part(
        "simulate",
        "Arithmetic of devices",
        "No measurement: the least time that bandwidth and arithmetic of a device allow.",
        ("simulate", "all"),
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = EXAMPLES
    parser.epilog = errors.EXIT_CODES_HELP
    parser.add_argument(
        "--run",
        dest="chosen",
        type=_names,
        default=(),
        metavar="LIST",
        help=f"measure these anew: all, or some of {','.join(part.name for part in SECTIONS)} "
        "(default: none, only write)",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("benchmarks"),
        metavar="DIR",
        help="where JSON and pictures are kept (default: benchmarks)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("BENCHMARKS.md"), help="default: BENCHMARKS.md"
    )
    parser.add_argument("--note", help="a sentence about the circumstances, kept with each result")
    parser.add_argument(
        "--threads",
        type=options.natural,
        default=0,
        metavar="N",
        help="threads of the parts that take them (default: 0, as many as there are cores)",
    )


def _names(text: str) -> tuple[str, ...]:
    known = [part.name for part in SECTIONS]
    names = tuple(known if text == "all" else text.split(","))
    if not set(names) <= set(known):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(known)}, got {text}")
    return names


def run(args: argparse.Namespace) -> int:
    args.results.mkdir(parents=True, exist_ok=True)
    code = 0
    for part in SECTIONS:
        if part.name in args.chosen:
            path = args.results / f"{part.name}.json"
            failed, kept = measure(part, args.results, args.threads, args.note)
            if failed and path.is_file():
                kept = {**json.loads(path.read_text("utf-8")), "error": kept["error"]}
            path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            code = code or failed
    args.out.write_text("\n".join(document(args.results)) + "\n", encoding="utf-8")
    print(f"wrote {args.out}")
    return code


def measure(part: Part, folder: Path, threads: int, note: str | None) -> tuple[int, dict[str, Any]]:
    """Runs one part: 0 and its result, or an exit code and its last words.

    Either with command, machine and versions.
    """
    words = part.command(folder, threads)
    print(f"== parley {' '.join(words)}", file=sys.stderr, flush=True)
    begin = time.monotonic()
    command = [sys.executable, "-m", "parley_apps", *words, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    kept: dict[str, Any] = {
        "command": " ".join(["parley", *words]),
        "seconds": round(time.monotonic() - begin, 1),
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine.describe(),
        "versions": machine.versions(),
    }
    if note:
        kept["note"] = note
    if done.returncode == 0:
        return 0, {**kept, "result": json.loads(done.stdout)}
    told = f"exit code {done.returncode}: {last_words(done.stdout)}"
    kept["error"] = f"`{kept['command']}` on {kept['date']}, {told}"
    return max(1, done.returncode), kept  # below 0 where a signal ended it


def last_words(out: str) -> str:
    """The message of a failed command, which it prints as JSON; or that there was none."""
    try:
        return str(json.loads(out)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "no message"


def document(folder: Path) -> Iterator[str]:
    """The lines of BENCHMARKS.md."""
    yield "# Benchmarks"
    yield ""
    yield "`parley bench report` wrote this file from the results in `benchmarks/`; its option"
    yield "`--run` measures them anew. Every table stands under the command that made it."
    yield "Milliseconds are wall clock unless a line says otherwise."
    for part in SECTIONS:
        yield ""
        yield from section(part, folder)


def section(part: Part, folder: Path) -> Iterator[str]:
    """One part, also where it failed or was never run."""
    yield f"## {part.title}"
    yield ""
    yield part.about
    yield ""
    path = folder / f"{part.name}.json"
    if not path.is_file():
        yield f"Not measured yet: `parley bench report --run {part.name}` does it."
        return
    kept = json.loads(path.read_text("utf-8"))
    yield "```sh"
    yield kept["command"]
    yield "```"
    yield ""
    yield circumstances(kept)
    yield ""
    if "error" in kept:
        yield f"It failed: {kept['error']}"
        if "result" not in kept:
            return
        yield ""
        yield "What it gave before:"
        yield ""
    yield "```"
    yield from table(part, kept["result"])
    yield "```"
    if (folder / f"{part.name}.png").is_file():
        yield ""
        yield f"![{part.title}]({folder.name}/{part.name}.png)"


def circumstances(kept: dict[str, Any]) -> str:
    """Machine, versions and date in a sentence or two."""
    on, versions = kept["machine"], kept["versions"]
    packages = ", ".join(f"{name} {v}" for name, v in versions.items() if v)
    told = f"{on['cpu']}, {on['cores']} cores, {on['memory_gb']} GiB; {packages}; {kept['date']}, "
    return told + f"{kept['seconds']:.0f} s." + (f" {kept['note']}" if "note" in kept else "")


def table(part: Part, result: dict[str, Any]) -> Iterable[str]:
    """As the command prints it for people."""
    module = importlib.import_module(PARTS[part.words[0]][0])
    return [str(line).rstrip() for line in module.lines(result)]

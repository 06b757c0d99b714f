"""The command `parley`: picks a subcommand, prints errors, sets the exit code; knows no model."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from parley_apps import errors

# Name -> its module and what it does. Only the chosen one is imported.
COMMANDS = {
    "talk": ("parley_apps.talk", "hold a conversation: live, or with recordings into a WAV file"),
    "serve": ("parley_apps.serve", "serve bundles to stock voice clients and browsers"),
    "cluster": ("parley_apps.cluster", "serve by several processes and machines behind HAProxy"),
    "devices": ("parley_apps.devices", "list microphones and loudspeakers"),
    "show": ("parley_apps.show", "tell what a bundle is and what its licence asks"),
    "verify": ("parley_apps.verify", "compare every stage with golden numbers"),
    "bench": ("parley_apps.benchmark", "measure what a chunk costs on this machine"),
    "eval": ("parley_apps.evaluation", "measure how a bundle behaves in conversations"),
    "doctor": ("parley_apps.doctor", "tell what is installed, what is missing and how to get it"),
    "export": ("parley_apps.export", "make a bundle from a checkpoint"),
    "quantize": ("parley_apps.quantize", "make a smaller bundle from a bundle"),
    "voice": ("parley_apps.voice", "make a voice from a recording, by a checkpoint's models"),
}

DESCRIPTION = """\
parley holds spoken conversations with a speech model on this machine. It works on bundles: folders
with exported models that `parley export` makes from a published checkpoint."""

EXAMPLES = f"""\
examples:
  parley doctor
  parley export CHECKPOINT --out my.bundle
  parley show my.bundle
  parley talk my.bundle --in question.wav --out answer.wav --text answer.jsonl --plot answer.png
  parley COMMAND --help

{errors.EXIT_CODES_HELP}"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line, returns its exit code; argparse exits for --help and bad usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments
    _keep_streams()
    # NumPy's OpenBLAS takes memory per core and ends the process where there is none; nothing here
    # multiplies matrices by it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        arguments = complete(arguments)
        args = build_parser(arguments).parse_args(arguments)
        code = int(args.run(args))
        _flush(sys.stdout)
        return code
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        return errors.IO
    except (Exception, KeyboardInterrupt) as error:
        return errors.report(error, as_json)
    finally:
        _settle_streams()


def _flush(stream: TextIO) -> None:
    try:
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from error


def _keep_streams() -> None:
    """Standard streams that take any text; closed ones fail when they are written to.

    Else a file of ours would be opened as the closed one, and get what libraries print.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)
            if number:
                setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _settle_streams() -> None:
    """What could not be written is given up, so that Python does not try again at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def build_parser(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser; the options of the command that `arguments` name are filled in."""
    parser = argparse.ArgumentParser(
        prog="parley",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"parley {version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
    place = next((i for i, a in enumerate(arguments) if not a.startswith("-")), len(arguments))
    chosen, *rest = arguments[place:] or [""]
    for name, (module_name, summary) in COMMANDS.items():
        sub = commands.add_parser(
            name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name == chosen:
            _fill(sub, importlib.import_module(module_name), rest)
    return parser


def _fill(parser: argparse.ArgumentParser, module: Any, rest: Sequence[str]) -> None:
    """A command's options, or those of the part that the next word names in its PARTS."""
    if hasattr(module, "add_arguments"):
        module.add_arguments(parser)
        parser.set_defaults(run=module.run)
        return
    parser.description, parser.epilog = module.__doc__, errors.EXIT_CODES_HELP
    words = parser.add_subparsers(metavar="WHAT", required=True, title="what")
    for word, (name, summary) in module.PARTS.items():
        sub = words.add_parser(
            word, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if rest[:1] == [word]:
            _fill(sub, importlib.import_module(name), [])


def complete(arguments: Sequence[str]) -> list[str]:
    """With the part that a command means where none of its own is named: `bench nano`."""
    place = next((i for i, a in enumerate(arguments) if not a.startswith("-")), len(arguments))
    chosen, *rest = arguments[place:] or [""]
    if chosen not in COMMANDS:
        return list(arguments)
    module = importlib.import_module(COMMANDS[chosen][0])
    part = getattr(module, "DEFAULT", None)
    if part is None or rest[:1] in (["-h"], ["--help"]) or (rest and rest[0] in module.PARTS):
        return list(arguments)
    return [*arguments[: place + 1], part, *rest]


def version() -> str:
    """The installed version; that of the engine's module where nothing is installed."""
    try:
        return importlib.metadata.version("parley")
    except importlib.metadata.PackageNotFoundError:
        import parley

        return parley.__version__


if __name__ == "__main__":
    sys.exit(main())

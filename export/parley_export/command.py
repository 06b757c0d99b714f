"""The command `parley export`: arguments, messages and exit codes; the work is exporter.py's.

Also `python -m parley_export`. Importing this needs neither torch nor onnx.
"""

from __future__ import annotations

import argparse
import errno
import importlib.util
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parley_export import families, hub
from parley_export.errors import InputError, LibraryError
from parley_export.exit_codes import OK, exit_code
from parley_export.folder import printable
from parley_export.progress import MemoryWatch
from parley_export.quantize import PRECISIONS
from parley_export.state_dict import require_torch

NEEDED = ("numpy", "onnx", "gguf", "safetensors")

DESCRIPTION = f"""\
Turn a checkpoint into a bundle that parley runs.

CHECKPOINT is a folder, or a Hugging Face repository id such as org/name, whose licence is shown
before anything is fetched. Its config.json names the family by its model_type. The known families:

{families.described()}
A checkpoint may hold parley.json, which says how it wants to be run: window, look-ahead, voices,
short_segments for half-duplex turns (off: as published) and so on.
`python -m pydoc parley_export.settings` lists its keys.
"""
EPILOG = """\
exit codes: 0 done, 2 usage, 3 bad argument, 4 bad checkpoint, 5 missing library, 6 disk or I/O,
130 interrupted. An export that did not finish leaves nothing behind.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments and help texts to a parser."""
    parser.description = DESCRIPTION
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="folder, or Hugging Face repository id")
    add("--out", metavar="BUNDLE", type=Path, required=True, help="folder to create")
    _add_places(add)
    add(
        "--backbone",
        choices=PRECISIONS,
        default="q4_k_m",
        help="type of the backbone's weights (default: q4_k_m; f32 is exact)",
    )
    add(
        "--head",
        choices=PRECISIONS,
        default="q8_0",
        help="the same of a speech head that is a decoder of its own, where the family has one "
        "(default: q8_0)",
    )
    add(
        "--graphs",
        choices=("f32", "f16"),
        default="f32",
        help="arithmetic inside the other models (default: f32)",
    )
    add(
        "--vocoder",
        choices=("f32", "f16", "bf16"),
        help="the same for the vocoder alone (default: as --graphs); bf16: its convolutions "
        "multiply in bfloat16, which is faster on processors with AVX512_BF16",
    )
    add(
        "--duplex",
        action="store_true",
        help="also write the chunk-streaming encoder and the full-duplex layout; the tokenizer "
        "must hold <|THINK|>, <|SHIFT|> and <|BREAK|>",
    )
    add(
        "--no-fused",
        action="store_true",
        help="write graphs of ONNX's own operators alone, which any ONNX runtime opens, several "
        "times slower (default: the engine's operator parley.SnakeBeta in the vocoder)",
    )
    add("--system", metavar="TEXT|@FILE", help="persona of the system prompt, or a file with it")
    add("--force", action="store_true", help="replace an existing bundle")
    add("--yes", action="store_true", help="agree to the licence of a repository beforehand")
    add("--json", action="store_true", help="print the report as JSON on standard output")


def _add_places(add: Callable[..., Any]) -> None:
    add(
        "--voice",
        metavar="PATH",
        type=Path,
        help="a voice in the form of the checkpoint's family (default: the checkpoint's own)",
    )
    add(
        "--decoder-config",
        metavar="FILE",
        type=Path,
        help="config.json of the decoder, of a family that has one (default: beside the decoder)",
    )
    add(
        "--token2wav",
        metavar="DIR",
        type=Path,
        help="folder of the decoder (default: in the checkpoint, or beside it)",
    )


def run(args: argparse.Namespace) -> int:
    """Export as `args` say; messages go to standard error. Returns the exit code."""
    try:
        with _stop_signals(), MemoryWatch() as memory:
            return _run(args, memory)
    except (Exception, KeyboardInterrupt) as e:
        code = exit_code(e)
        if code is None:
            raise
        print(f"parley export: {_message(e)}", file=sys.stderr)
        return code


def _run(args: argparse.Namespace, memory: MemoryWatch) -> int:
    system = _system(args.system)
    require_torch()
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise LibraryError(
            f"[export.start] expected the packages {', '.join(NEEDED)}, got no "
            f"{', '.join(missing)}; pip install 'parley[export]'"
        )
    # From here on torch and onnx are needed.
    from parley_export import bundle, exporter
    from parley_export.family import Places

    bundle.check_target(Path(args.out).absolute(), args.force)  # before anything is fetched
    folder, location = Path(args.checkpoint), ""
    if hub.is_repository(args.checkpoint):
        fetched = hub.fetch(args.checkpoint, agree=args.yes)
        folder, location = fetched.folder, fetched.location
    family = families.of(folder)
    places = Places(args.decoder_config, args.token2wav, args.voice)
    options = exporter.Options(
        layout=family.locate(folder, places, location),
        out=args.out,
        backbone=args.backbone,
        head=args.head,
        graphs=args.graphs,
        vocoder=args.vocoder,
        duplex=args.duplex,
        system=system,
        force=args.force,
        fused=not args.no_fused,
    )
    report = exporter.export_bundle(family, options, memory)
    if args.json:
        print(json.dumps(report.as_dict(), indent=1))
    print(exporter.describe(report), file=sys.stderr)
    return OK


def _system(text: str | None) -> str | None:
    """The text, or that of @FILE. Raises InputError where it is no UTF-8."""
    if text is None:
        return None
    try:
        if text.startswith("@"):
            return Path(text[1:]).read_text("utf-8")
        text.encode()  # bytes of another encoding came as lone surrogates
    except (OSError, UnicodeError) as e:
        what, told = "a text in UTF-8 for --system", printable(text)
        if text.startswith("@"):
            what, told = "a text file in UTF-8 after --system @", printable(text[1:])
        reason = getattr(e, "strerror", None) or getattr(e, "reason", e)
        raise InputError(
            f"[export.start] expected {what}, got {told} ({reason}); give it in UTF-8"
        ) from e
    return text


def _message(e: BaseException) -> str:
    if isinstance(e, KeyboardInterrupt):
        return "[export.run] interrupted; nothing was left behind"
    if isinstance(e, MemoryError):
        return "[export.run] expected enough memory, got none that is free; close other programs"
    return _io_message(e) if isinstance(e, OSError) else str(e)


def _io_message(e: OSError) -> str:
    text = str(e.strerror or e)
    if text.startswith("["):
        return text
    what = f" {e.filename}" if e.filename else ""
    advice = "free space on the disk" if e.errno == errno.ENOSPC else "check the path and its disk"
    return f"[export.write] expected to read and write{what or ' files'}, got {text}; {advice}"


@contextmanager
def _stop_signals() -> Iterator[None]:
    """Let the first SIGTERM or SIGHUP end the work as Ctrl-C does, and the cleaning up finish."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {name: signal.getsignal(name) for name in names}

    def stop(number: int, frame: Any) -> None:
        for name in names:
            signal.signal(name, signal.SIG_IGN)
        raise KeyboardInterrupt

    for name in names:
        signal.signal(name, stop)
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `python -m parley_export`."""
    parser = argparse.ArgumentParser(prog="parley export")
    add_arguments(parser)
    return run(parser.parse_args(arguments))

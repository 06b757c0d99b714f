"""Options that several commands share; knows how to hand them to `parley.open`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import parley
    from parley.bundle import CacheType

SESSION = ("mode", "seed", "system", "temperature", "top_k", "top_p", "max_new_tokens", "timers")


def add_bundle(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """The positional BUNDLE, which may be left out where there is a default."""
    what = "folder that `parley export` wrote, or a name (see PARLEY_BUNDLES)"
    if default is None:
        parser.add_argument("bundle", metavar="BUNDLE", help=what)
        return
    told = f"{what}; default: {default}"
    parser.add_argument("bundle", metavar="BUNDLE", nargs="?", default=default, help=told)


def add_machine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("machine")
    group.add_argument(
        "--device",
        choices=["cpu", "cuda", "tensorrt"],
        default="cpu",
        help="where the models run (default: cpu, which always works)",
    )
    group.add_argument(
        "--threads",
        type=natural,
        default=0,
        metavar="N",
        help="threads to use (default: 0, as many as the machine has cores)",
    )


def add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kv",
        choices=["f16", "q8_0"],
        default="f16",
        help="type of the backbone's keys and values (default: f16); q8_0 takes half the memory "
        "and needs heads of a multiple of 32",
    )


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--json", action="store_true", help=f"print {what} as JSON on stdout")


def open_bundle(args: argparse.Namespace, kv: CacheType | None = None) -> parley.Bundle:
    """Opens args.bundle with the shared options; `kv` where the command has no --kv."""
    import parley

    cache: CacheType = kv if kv is not None else getattr(args, "kv", "f16")
    voice = getattr(args, "voice", None)
    return parley.open(args.bundle, device=args.device, threads=args.threads, voice=voice, kv=cache)


def session_options(args: argparse.Namespace) -> dict[str, Any]:
    """What decides over `talk`'s session, as `Bundle.session` takes it; its voice is the bundle's.

    Raises InputError where a file with the system prompt is not UTF-8.
    """
    session = {name: getattr(args, name) for name in SESSION}
    if session["system"] is not None:
        session["system"] = text_or_file(session["system"])
    return session


def add_timers(group: Any) -> None:
    """--timer, of managed turns."""
    group.add_argument(
        "--timer",
        dest="timers",
        action=_Timer,
        metavar="NAME=MS",
        help="in mode managed, one of the timers below; several times for several",
    )


class _Timer(argparse.Action):
    """Gathers NAME=MS in a dict."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        from parley import TURN_TIMERS

        name, _, value = values.partition("=")
        if name not in TURN_TIMERS or not value.isascii() or not value.isdigit():
            parser.error(
                f"argument {option_string}: expected NAME=MS with one of {', '.join(TURN_TIMERS)}, "
                f"got {values}"
            )
        namespace.timers = {**(namespace.timers or {}), name: int(value)}


def timers_help() -> str:
    """The table of timers with what they are without --timer."""
    from parley import TURN_TIMERS

    table = ", ".join(f"{name} {value}" for name, value in TURN_TIMERS.items())
    return f"timers of managed turns, in ms (two are counts): {table}"


def text_or_file(value: str) -> str:
    """A text as it is, or @FILE: that of a file. Raises InputError where it is not UTF-8."""
    if not value.startswith("@"):
        return value
    try:
        return Path(value[1:]).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        from parley import InputError

        raise InputError(
            f"[options.read] expected a UTF-8 text in {value[1:]}, got {error.reason} at byte "
            f"{error.start}; save it as UTF-8"
        ) from error


def natural(value: str) -> int:
    """An argparse type: 0, 1, 2, ..."""
    return _whole(value, least=0)


def count(value: str) -> int:
    """An argparse type: 1, 2, 3, ..."""
    return _whole(value, least=1)


def _whole(value: str, least: int) -> int:
    try:
        number = int(value)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"expected a whole number of {least} or more, got {value}")
    return number


def positive(value: str) -> float:
    """An argparse type: a number above 0."""
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {value}")
    return number

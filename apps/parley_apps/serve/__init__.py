"""`parley serve`: bundles behind the protocols that stock voice clients speak, and a web page."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from parley_apps import options

if TYPE_CHECKING:
    import ssl

    import parley
    from parley_apps.serve.guard import Guard

SPEECH = Path(__file__).parent.parent / "data" / "question.wav"

EXAMPLES = """\
Clients of OpenAI's Realtime and Live protocols reach it by their base URL, with any API key where
there is no --token-file:
  http://127.0.0.1:8765/v1             openai for Python and Node, livekit, agents
  ws://127.0.0.1:8765/v1/realtime      pipecat, @openai/agents-realtime
http://127.0.0.1:8765/ is a page to talk in. docs/serve.md tells more.

examples:
  parley serve nano
  parley serve nano my.bundle --sessions 4
  parley serve nano --host 0.0.0.0 --token-file token.txt --tls-self-signed"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from parley_apps import errors

    parser.description, parser.epilog = EXAMPLES, errors.EXIT_CODES_HELP
    what = "folders that `parley export` wrote, or names; clients choose by `model`"
    parser.add_argument("bundles", metavar="BUNDLE", nargs="+", help=what)
    _add_network(parser)
    _add_conversations(parser)
    options.add_cache(parser)
    parser.set_defaults(usage_error=parser.error)


def _add_network(parser: argparse.ArgumentParser) -> None:
    net = parser.add_argument_group("network (default: only this machine)")
    net.add_argument("--host", default="127.0.0.1", help="address to listen on")
    net.add_argument("--port", type=options.natural, default=8765, help="0: a free one")
    net.add_argument("--tls-cert", type=Path, metavar="F", help="certificate, PEM")
    net.add_argument("--tls-key", type=Path, metavar="F", help="its key, PEM")
    net.add_argument(
        "--tls-self-signed", action="store_true", help="a certificate made for this run"
    )
    net.add_argument("--token-file", type=Path, metavar="F", help="what clients send as API key")
    net.add_argument(
        "--allow-origin", action="append", default=[], metavar="O", help="a page that may connect"
    )
    net.add_argument(
        "--insecure",
        action="store_true",
        help="another address than loopback without token or TLS, as behind a proxy",
    )


def _add_conversations(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("conversations")
    group.add_argument(
        "--sessions",
        type=options.natural,
        default=0,
        metavar="N",
        help="at most so many at once (default: as many as the machine was measured to carry)",
    )
    group.add_argument(
        "--record", type=Path, metavar="FOLDER", help="keep sound, text and costs of each one"
    )
    group.add_argument(
        "--keep",
        type=Path,
        metavar="FOLDER",
        help="where a conversation whose connection was lost waits 15 min for session.resume; "
        "servers may share it",
    )
    group.add_argument(
        "--threads",
        type=options.count,
        default=1,
        metavar="N",
        help="threads of one step; steps of several conversations run beside each other anyway",
    )
    group.add_argument(
        "--device", choices=["cpu", "cuda", "tensorrt"], default="cpu", help="where models run"
    )


def run(args: argparse.Namespace) -> int:
    from parley import LibraryError

    try:
        import aiohttp  # noqa: F401
        import prometheus_client  # noqa: F401
    except ImportError as error:
        raise LibraryError(
            f"[serve.start] expected the package {error.name}, got none; "
            "install it: pip install 'parley[serve]'"
        ) from error
    with contextlib.ExitStack() as stack:
        bundles = _open(args, stack)
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_serve(args, bundles))
    return 0


def _open(args: argparse.Namespace, stack: contextlib.ExitStack) -> dict[str, parley.Bundle]:
    import parley

    bundles: dict[str, parley.Bundle] = {}
    for path in args.bundles:
        bundle = stack.enter_context(
            parley.open(path, device=args.device, threads=args.threads, kv=args.kv)
        )
        if bundle.name in bundles:
            raise parley.InputError(
                f"[serve.open] expected bundles of different names, got {bundle.name} twice; "
                "serve one of them"
            )
        bundles[bundle.name] = bundle
        if bundle.notice:
            print(f"notice of {bundle.name}'s licence: {bundle.notice}", file=sys.stderr)
    return bundles


def _tls(args: argparse.Namespace) -> ssl.SSLContext | None:
    from parley_apps.serve import guard

    if (args.tls_cert is None) != (args.tls_key is None):
        args.usage_error("expected --tls-cert and --tls-key together")
    if args.tls_cert is not None:
        return guard.tls_context(args.tls_cert, args.tls_key)
    return guard.self_signed(args.host) if args.tls_self_signed else None


def _guard(args: argparse.Namespace, port: int, tls: bool) -> Guard:
    from parley_apps.serve.guard import guard_for, read_token

    token = read_token(args.token_file) if args.token_file else ""
    return guard_for(
        args.host,
        port,
        tls=tls,
        token=token,
        allowed=args.allow_origin,
        exposed=args.insecure,
    )


async def _serve(args: argparse.Namespace, bundles: dict[str, parley.Bundle]) -> None:
    import parley
    from parley_apps.serve import logs
    from parley_apps.serve.keeper import Keeper
    from parley_apps.serve.manager import SessionManager
    from parley_apps.serve.metrics import Metrics
    from parley_apps.serve.server import Server

    logs.to_stderr()
    tls = _tls(args)
    guard = _guard(args, args.port, tls is not None)
    metrics = Metrics()
    manager = SessionManager(
        bundles, sessions=args.sessions, observe=metrics.observe, record=args.record
    )
    keeper = Keeper(args.keep) if args.keep else None
    server = Server(manager, guard, metrics, keeper=keeper)
    port = await server.listen(args.host, args.port, tls)
    server.guarded_by(_guard(args, port, tls is not None))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    await asyncio.to_thread(manager.warm_up, *parley.read_audio(SPEECH))
    scheme = "https" if tls else "http"
    room = min(manager.room(served) for served in manager.served.values())
    print(f"{scheme}://{args.host}:{port}/v1  {', '.join(bundles)}; room for {room}", flush=True)
    await stop.wait()
    print("ending", file=sys.stderr)
    await server.end()

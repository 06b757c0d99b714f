"""`parley cluster`: servers behind HAProxy, on this machine's cores or GPUs and on others."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from parley_apps import options

if TYPE_CHECKING:
    from parley_apps.cluster.replicas import Replica

EXAMPLES = """\
examples:
  parley cluster nano --replicas 2 --keep conversations
  parley cluster my.bundle --gpus 0,1,2,3 --host 0.0.0.0 --tls-pem front.pem --token-file token.txt
  parley cluster --node gpu1:8765 --node gpu2:8765
docs/cluster.md tells how many conversations a machine carries, and what happens when one goes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from parley_apps import errors

    parser.description, parser.epilog = EXAMPLES, errors.EXIT_CODES_HELP
    what = "what the servers of this machine serve, see `parley serve --help`"
    parser.add_argument("bundles", metavar="BUNDLE", nargs="*", help=what)
    place = parser.add_argument_group("servers")
    place.add_argument(
        "--replicas", type=options.count, metavar="N", help="on this machine (default: one a core)"
    )
    place.add_argument("--gpus", metavar="0,1", help="one server for each of these instead")
    place.add_argument(
        "--node", action="append", default=[], metavar="HOST:PORT", help="one on another machine"
    )
    place.add_argument(
        "--sessions",
        type=options.natural,
        default=0,
        metavar="N",
        help="at most so many a server (default: as many as it was measured to carry)",
    )
    place.add_argument("--keep", type=Path, metavar="FOLDER", help="as of `parley serve`, for all")
    front = parser.add_argument_group("front")
    front.add_argument("--host", default="127.0.0.1", help="address to listen on")
    front.add_argument("--port", type=options.count, default=8765)
    front.add_argument("--tls-pem", type=Path, metavar="F", help="certificate and key in one file")
    front.add_argument("--token-file", type=Path, metavar="F", help="what clients send as API key")
    front.add_argument(
        "--allow-origin", action="append", default=[], metavar="O", help="a page that may connect"
    )
    front.add_argument("--insecure", action="store_true", help="as of `parley serve`")
    front.add_argument("--admin", type=Path, metavar="SOCKET", help="HAProxy's runtime API")
    front.add_argument(
        "--drain",
        type=options.natural,
        default=0,
        metavar="S",
        help="seconds that conversations may go on after SIGTERM (default: none, they are told)",
    )
    parser.set_defaults(usage_error=parser.error)


def run(args: argparse.Namespace) -> int:
    from parley_apps.cluster import haproxy
    from parley_apps.serve.guard import guard_for, read_token

    if not args.bundles and not args.node:
        args.usage_error("expected a BUNDLE to serve here, or a --node")
    program = haproxy.program()
    guard = guard_for(
        args.host,
        args.port,
        tls=args.tls_pem is not None,
        token=read_token(args.token_file) if args.token_file else "",
        allowed=args.allow_origin,
        exposed=args.insecure,
    )
    replicas = _replicas(args, guard.origins) if args.bundles else []
    servers = {replica.name: replica.address for replica in replicas}
    servers |= {f"node{i}": address for i, address in enumerate(args.node, start=1)}
    with tempfile.TemporaryDirectory() as folder:
        socket = args.admin or Path(folder, "admin.sock")
        front = haproxy.Front(
            args.host, args.port, guard.hosts[0], args.tls_pem, socket, args.drain
        )
        file = Path(folder, "haproxy.cfg")
        file.write_text(haproxy.config(front, servers))
        return _watch([program, "-db", "-q", "-f", str(file)], replicas, args)


def _replicas(args: argparse.Namespace, origins: tuple[str, ...]) -> list[Replica]:
    from parley_apps.cluster.replicas import Replica, share

    command = [*args.bundles, "--sessions", str(args.sessions)]
    for origin in origins:
        command += ["--allow-origin", origin]
    for option, value in (("--keep", args.keep), ("--token-file", args.token_file)):
        command += [option, str(value)] if value else []
    cores = sorted(os.sched_getaffinity(0))
    gpus = args.gpus.split(",") if args.gpus else [""] * (args.replicas or len(cores))
    command += ["--device", "cuda"] if args.gpus else []
    return [
        Replica(f"replica{i}", command, cores=own, gpu=gpu)
        for i, (gpu, own) in enumerate(zip(gpus, share(cores, len(gpus)), strict=True), start=1)
    ]


def _watch(command: list[str], replicas: list[Replica], args: argparse.Namespace) -> int:
    """Runs HAProxy and the replicas until a signal comes or HAProxy ends."""
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: asked.append(number))
    for replica in replicas:
        replica.start()
    front = subprocess.Popen(command, start_new_session=True)
    scheme = "https" if args.tls_pem else "http"
    n = len(replicas) + len(args.node)
    print(f"{scheme}://{args.host}:{args.port}/v1  {n} servers", flush=True)
    while not asked and front.poll() is None:
        time.sleep(0.1)
        for replica in replicas:
            if replica.look_after():
                print(f"{replica.name} has ended; it is started anew", file=sys.stderr, flush=True)
    if front.poll() is None:
        front.send_signal(signal.SIGUSR1)  # nobody new; those who talk may go on
        with contextlib.suppress(subprocess.TimeoutExpired):
            front.wait(args.drain)
    for replica in replicas:
        replica.end()
    for replica in replicas:
        replica.wait()
    if not asked:
        raise OSError("HAProxy has ended; what it said stands above")
    front.kill()
    front.wait()
    return 0

"""What HAProxy is told: who may take a new conversation, and what happens when one server is gone.

A conversation is a WebSocket and stays with its server by itself. HAProxy asks each server twice a
second whether a conversation would start: 404 stands for "those that it has, and no new ones". What
has filled up since the last answer says 503 to the handshake, which then goes to another server.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from parley import InputError, LibraryError

CHECK_MS = 500
HANDSHAKE_S = 5
SILENT_S = 75  # servers ping their clients every 20 s
BUSY_S = 5  # what Retry-After says where no server has room


@dataclass(frozen=True, slots=True)
class Front:
    """Where clients come in. host_header: a Host that the servers let in; pem: certificate and key
    in one file, or None; socket: HAProxy's runtime API; drain_s: how long conversations may go on
    after the end was asked for."""

    host: str
    port: int
    host_header: str
    pem: Path | None
    socket: Path
    drain_s: int


def program() -> str:
    """HAProxy's path. Raises LibraryError where it is missing."""
    found = shutil.which("haproxy")
    if found is None:
        raise LibraryError(
            "[cluster.start] expected the program haproxy, got none; "
            "install it: apt-get install haproxy"
        )
    return found


def config(front: Front, servers: dict[str, str]) -> str:
    """The configuration file. servers: name -> host:port."""
    for path in (front.socket, front.pem):
        if path is not None and any(c in str(path) for c in " \t\n'\"\\#"):
            raise InputError(
                f"[cluster.config] expected a path without spaces and quotes, got {path}; move it"
            )
    tls = f" ssl crt {front.pem} alpn http/1.1" if front.pem else ""
    busy = {"type": "server_error", "code": "server_busy", "message": "no server has room"}
    body = json.dumps({"error": busy}).replace('"', '\\"')
    lines = [
        "global",
        f"  stats socket {front.socket} mode 600 level admin",
        f"  hard-stop-after {max(1, front.drain_s)}s",
        "defaults",
        "  mode http",
        "  timeout connect 2s",
        f"  timeout http-request {HANDSHAKE_S}s",
        f"  timeout client {SILENT_S}s",
        f"  timeout server {SILENT_S}s",
        f"  timeout tunnel {SILENT_S}s",
        f"  retries {len(servers) + 1}",
        "  option redispatch 1",
        "  retry-on conn-failure empty-response 503",
        f'  http-error status 503 content-type application/json string "{body}" '
        f"hdr Retry-After {BUSY_S}",
        "frontend clients",
        f"  bind {front.host}:{front.port}{tls}",
        "  default_backend servers",
        "backend servers",
        "  balance leastconn",
        "  option httpchk",
        "  http-check send meth GET uri /health?full=404 ver HTTP/1.1 "
        f"hdr Host {front.host_header}",
        "  http-check disable-on-404",
        f"  default-server check inter {CHECK_MS}ms fall 2 rise 1 on-marked-down shutdown-sessions",
        *(f"  server {name} {address}" for name, address in servers.items()),
    ]
    return "\n".join(lines) + "\n"

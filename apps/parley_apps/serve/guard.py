"""Who may talk to the server: addresses, Host, Origin, tokens and TLS; knows no protocol.

Browsers send Origin with every WebSocket and with requests across origins, and no page can leave it
out: a request without one comes from a program of the user's, which a loopback server serves.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from parley import InputError, LibraryError

KEY_PROTOCOL = "openai-insecure-api-key."
DEFAULT_PORTS = {"http": 80, "https": 443}
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
SHORTEST_TOKEN = 32  # characters: 128 bits where they are hexadecimal
CERTIFICATE_DAYS = 30


@dataclass(frozen=True, slots=True)
class Guard:
    """hosts: `name:port` that a request may be for; origins: pages that may ask; token: or "".

    address: scheme and port at which any numeric address may be asked for too. A page of another
    site can give this machine a name of its own, but no number: so numbers need no list.

    >>> guard = Guard(hosts=("localhost:8765",), origins=("http://localhost:8765",))
    >>> guard.refusal({"Host": "evil.example"})
    (421, 'misdirected', 'this server is not evil.example')
    """

    hosts: tuple[str, ...]
    origins: tuple[str, ...]
    token: str = ""
    address: tuple[str, int] | None = None

    def refusal(
        self, headers: Mapping[str, str], *, open_to_all: bool = False
    ) -> tuple[int, str, str] | None:
        """(HTTP status, code, why) for a request that is not served, else None.

        open_to_all: no token is needed for it.
        """
        host = headers.get("Host", "").lower()
        numeric = self.address is not None and _is_number(host, self.address)
        if host not in self.hosts and not numeric:
            return 421, "misdirected", f"this server is not {host[:100]}"
        origin = headers.get("Origin")
        own = f"{self.address[0]}://{host}" if numeric and self.address else ""
        if origin is not None and origin.lower() not in (*self.origins, own):
            return 403, "origin_not_allowed", "the page's origin is not one of --allow-origin"
        if self.token and not open_to_all and not self._knows(headers):
            return 401, "invalid_api_key", "a token of --token-file is needed"
        return None

    def _knows(self, headers: Mapping[str, str]) -> bool:
        given = headers.get("Authorization", "").removeprefix("Bearer ").strip()
        for protocol in headers.get("Sec-WebSocket-Protocol", "").split(","):
            if protocol.strip().startswith(KEY_PROTOCOL):
                given = protocol.strip().removeprefix(KEY_PROTOCOL)
        return hmac.compare_digest(given.encode(errors="replace"), self.token.encode())


def _is_number(host: str, address: tuple[str, int]) -> bool:
    """Whether `host` is a numeric address, at that port of that scheme."""
    scheme, port = address
    try:
        parts = urlsplit(f"{scheme}://{host}")
        ipaddress.ip_address(parts.hostname or "")
        return (parts.port or DEFAULT_PORTS[scheme]) == port and "@" not in host
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def guard_for(
    host: str, port: int, *, tls: bool, token: str, allowed: Sequence[str], exposed: bool
) -> Guard:
    """The guard of a server on that address. allowed: origins of other pages.

    Raises InputError for an address that others reach without token and TLS, unless `exposed`.
    """
    if not is_loopback(host) and not exposed and not (token and tls):
        raise InputError(
            f"[serve.listen] expected --token-file and TLS for {host}, which other machines reach, "
            "got a server without; give --token-file and --tls-cert with --tls-key or "
            "--tls-self-signed, or say --insecure"
        )
    for origin in allowed:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path:
            raise InputError(
                f"[serve.listen] expected an origin such as https://my.page, got {origin}; "
                "give scheme and host, no path"
            )
    everywhere = host in ("0.0.0.0", "::")
    names = [*LOOPBACK_NAMES, f"[{host}]" if ":" in host else host]
    names += [socket.gethostname(), f"{socket.gethostname()}.local"] if everywhere else []
    hosts = {f"{name}:{port}".lower() for name in names}
    hosts |= {urlsplit(origin).netloc.lower() for origin in allowed}
    scheme = "https" if tls else "http"
    if port == DEFAULT_PORTS[scheme]:
        hosts |= {name.lower() for name in names}
    origins = {f"{scheme}://{name}" for name in hosts} | {origin.lower() for origin in allowed}
    address = (scheme, port) if everywhere else None
    return Guard(tuple(sorted(hosts)), tuple(sorted(origins)), token, address)


def read_token(path: Path) -> str:
    """The token that a file holds. Raises InputError for a short one."""
    token = path.read_text(encoding="utf-8").strip()
    if len(token) < SHORTEST_TOKEN or any(c.isspace() for c in token):
        raise InputError(
            f"[serve.token] expected one token of at least {SHORTEST_TOKEN} characters in {path}, "
            f"got {len(token)}; write one, as by `openssl rand -hex 32 > {path}`"
        )
    return token


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or later with that certificate. Raises InputError where it cannot be read."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise InputError(
            f"[serve.tls] expected a certificate and its key in {certificate} and {key}, got "
            f"{error}; give PEM files that belong together"
        ) from error
    return context


def self_signed(host: str) -> ssl.SSLContext:
    """TLS with a new certificate for this machine, made by the program `openssl`.

    Raises LibraryError where that is missing.
    """
    names = ["DNS:localhost", "IP:127.0.0.1", "IP:::1"]
    try:
        names.append(f"IP:{ipaddress.ip_address(host)}")
    except ValueError:
        names.append(f"DNS:{host}")
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = Path(folder, "cert.pem"), Path(folder, "key.pem")
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-subj", "/CN=parley"]
        command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", str(CERTIFICATE_DAYS)]
        command += ["-addext", "subjectAltName=" + ",".join(dict.fromkeys(names))]
        command += ["-keyout", str(key), "-out", str(certificate)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            raise LibraryError(
                f"[serve.tls] expected the program openssl to make a certificate, got {error}; "
                "install openssl, or give --tls-cert and --tls-key"
            ) from error
        return tls_context(certificate, key)

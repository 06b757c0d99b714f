"""`make clients`: stock clients in environments of their own against `parley serve nano`.

Installs each into build/clients (1 GB in all), lets it hold its conversations, and writes what came
of them to docs/clients.md. Names of clients take only those: `run.py openai_python agents_node`.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORK = ROOT / "build" / "clients"
MATRIX = ROOT / "docs" / "clients.md"
NODE = ["openai@7.59.0", "@openai/agents-realtime@0.20.0", "ws@8.23.0"]
PATIENCE_S = 240


class Client(NamedTuple):
    """A script here; packages: of the environment that runs it, none for this one."""

    script: str
    name: str
    packages: tuple[str, ...] = ()
    tls: bool = False


CLIENTS = [
    Client("openai_python.py", "openai for Python"),
    Client("openai_node.mjs", "openai for Node, Realtime (wss)", tuple(NODE), tls=True),
    Client("openai_node_live.mjs", "openai for Node, Live", tuple(NODE)),
    Client("agents_node.mjs", "@openai/agents-realtime", tuple(NODE)),
    Client("pipecat_realtime.py", "pipecat", ("pipecat-ai[openai]==1.14.0",)),
    Client(
        "livekit_realtime.py",
        "livekit",
        ("livekit-agents==1.8.9", "livekit-plugins-openai==1.8.9"),
    ),
]
HEAD = """\
# Stock clients with parley serve

Made by `make clients`, which installs each client and lets it talk with nano at the pace of a
microphone: a question, an interruption (which nano itself hears, and gives way to),
`response.cancel` while nothing is said, a connection after one that broke off. The words are
nano's, as the client showed them.

"""


def run(command: list[str | Path], **given: object) -> None:
    subprocess.run([str(part) for part in command], check=True, **given)  # type: ignore[call-overload]


def environment(client: Client) -> list[str]:
    """The command that runs the client's script; installs what it needs."""
    if not client.packages:
        return [sys.executable, str(HERE / client.script)]
    if client.script.endswith(".mjs"):
        folder = WORK / "node"
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "node_modules" / "ws").is_dir():
            (folder / "package.json").write_text('{"private": true, "type": "module"}\n')
            run(["npm", "install", "--no-audit", "--no-fund", *client.packages], cwd=folder)
        for script in HERE.glob("*.mjs"):
            shutil.copy(script, folder)
        return ["node", str(folder / client.script)]
    folder = WORK / client.script.split("_")[0]
    python = folder / "bin" / "python"
    stamp = folder / ".installed"
    if not stamp.is_file():
        venv.create(folder, with_pip=True)
        run([python, "-m", "pip", "install", "-q", *client.packages])
        stamp.touch()
    return [str(python), "-W", "ignore", str(HERE / client.script)]


def version(client: Client) -> str:
    """What is installed."""
    if client.script.endswith(".mjs"):
        package = "@openai/agents-realtime" if "agents" in client.script else "openai"
        text = (WORK / "node/node_modules" / package / "package.json").read_text()
        return f"{json.loads(text)['version']}, Node {output(['node', '--version'])[1:]}"
    python = WORK / client.script.split("_")[0] / "bin/python" if client.packages else None
    package = client.packages[-1].split("=")[0].split("[")[0] if client.packages else "openai"
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return output([str(python or sys.executable), "-c", code])


def output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def server(*options: str) -> Iterator[str]:
    """`parley serve nano` until the end; its base URL."""
    command = [sys.executable, "-m", "parley_apps", "serve", ROOT / "models/nano/bundle"]
    with (WORK / f"server{'-'.join(options)}.log").open("w") as log:
        process = subprocess.Popen(
            [str(part) for part in (*command, "--port", "0", "--sessions", "4", *options)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"the server did not start; see {log.name}")
            yield line.split()[0]
        finally:
            process.terminate()
            process.wait(20)


def results(client: Client, base: str) -> list[tuple[str, bool, str]]:
    """(what, whether it went well, what was seen) of each part."""
    command = [*environment(client), base, str(WORK / "sounds")]
    with (WORK / f"{client.script}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        timer = threading.Timer(PATIENCE_S, process.kill)
        timer.start()
        assert process.stdout is not None
        found = []
        for line in process.stdout:
            if line.startswith("{"):
                part = json.loads(line)
                found.append((part["what"], part["ok"], part["detail"]))
                print(
                    "  ok  " if part["ok"] else "FAILED", client.name, *found[-1][::2], flush=True
                )
        timer.cancel()
        if process.wait() != 0 or not found:
            found.append(("the whole", False, f"exit code {process.returncode}; see {log.name}"))
    return found


def sounds() -> None:
    """The recordings as 24 kHz, 16 bit: a question, and two of which one cuts into the answer."""
    sys.path.insert(0, str(ROOT / "tests"))
    from served import pcm

    (WORK / "sounds").mkdir(parents=True, exist_ok=True)
    (WORK / "sounds" / "question.raw").write_bytes(pcm())
    part = pcm("conversation.wav")[11 * 48000 : 19 * 48000]
    (WORK / "sounds" / "interrupted.raw").write_bytes(part)


def main(names: list[str]) -> int:
    chosen = [client for client in CLIENTS if not names or Path(client.script).stem in names]
    sounds()
    rows, well = [], True
    with server() as plain, server("--tls-self-signed") as tls:
        for client in chosen:
            if client.script.endswith(".mjs") and not shutil.which("npm"):
                rows.append(f"| {client.name} | - | all | not tried: no Node here | |")
                continue
            parts = results(client, tls if client.tls else plain)
            for what, ok, detail in parts:
                well = well and ok
                shown = "works" if ok else "**fails**"
                cells = (client.name, version(client), what, shown, detail.replace("|", "/"))
                rows.append("| " + " | ".join(cells) + " |")
    if not names:
        date = datetime.datetime.now(datetime.UTC).date()
        head = HEAD + f"{date}, {platform.system()}, Python {platform.python_version()}.\n\n"
        table = "| client | version | what | result | seen |\n|---|---|---|---|---|\n"
        MATRIX.write_text(head + table + "\n".join(rows) + "\n")
        print(f"written: {os.path.relpath(MATRIX, ROOT)}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`parley serve` as a process: TLS and tokens, recordings, SIGTERM, and what it refuses to do."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import parley
from parley_apps import errors
from served import NANO, pcm

openai = pytest.importorskip("openai", reason="no openai; pip install 'parley[test]'")
pytestmark = [
    pytest.mark.nano,
    pytest.mark.skipif(not NANO.is_dir(), reason="no models/nano/bundle; make nano makes one"),
]
TOKEN = "0123456789abcdef" * 4
SERVE = [sys.executable, "-m", "parley_apps", "serve", str(NANO), "--port", "0"]


async def talk(base: str, process: subprocess.Popen[str]) -> tuple[list[Any], int]:
    """A turn over TLS; then the server is told to end. What came, and the code of the close."""
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    client = openai.AsyncOpenAI(base_url=base, api_key=TOKEN)
    options = {"ssl": trust}
    found = []
    async with client.realtime.connect(
        model="nano", websocket_connection_options=options
    ) as connection:
        await connection.input_audio_buffer.append(audio=base64.b64encode(pcm()).decode())
        while not found or found[-1].type != "response.output_audio_transcript.delta":
            found.append(await connection.recv())
        process.send_signal(signal.SIGTERM)
        try:
            while True:
                found.append(await connection.recv())
        except Exception as error:
            return found, error.rcvd.code  # type: ignore[attr-defined]


def test_a_turn_over_tls_is_recorded_and_told_of_the_end(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    options = ["--tls-self-signed", "--token-file", str(token), "--record", str(tmp_path / "kept")]
    with subprocess.Popen(
        [*SERVE, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        base = process.stdout.readline().split()[0]
        assert base.startswith("https://127.0.0.1:")
        events, code = asyncio.run(asyncio.wait_for(talk(base, process), 60))
        _, log = process.communicate(timeout=30)
    assert process.returncode == errors.OK
    assert code == 1001 and events[-1].error.code == "server_shutting_down"
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [line["event"] for line in lines] == ["connected", "closed"]
    assert "reminder" not in log
    (folder,) = (tmp_path / "kept").iterdir()
    heard, rate = parley.read_audio(folder / "heard.wav")
    said, _ = parley.read_audio(folder / "said.wav")
    assert heard.size == said.size and heard.size / rate > 4 and abs(said).max() > 0.01
    told = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert any(line.get("text") == " reminder" for line in told)


@pytest.mark.parametrize(
    "options, code, why",
    [
        (["--host", "0.0.0.0"], errors.BAD_INPUT, "--token-file and TLS for 0.0.0.0"),
        (["--tls-cert", "c.pem"], errors.USAGE, "--tls-cert and --tls-key together"),
        (["--allow-origin", "my.page"], errors.BAD_INPUT, "an origin such as https://my.page"),
        (["--token-file", "short"], errors.BAD_INPUT, "one token of at least 32 characters"),
        (["--tls-cert", "short", "--tls-key", "short"], errors.BAD_INPUT, "a certificate and its"),
    ],
)
def test_what_would_not_be_safe_is_refused(
    options: list[str], code: int, why: str, tmp_path: Path
) -> None:
    (tmp_path / "short").write_text("abc\n")
    done = subprocess.run(
        [*SERVE, *options], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code and why in done.stderr, done.stderr

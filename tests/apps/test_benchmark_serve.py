"""`parley bench serve`: clients in real time over a server of its own."""

from __future__ import annotations

import json

import pytest

from parley_apps.benchmark import serve
from parley_apps.main import main
from served import NANO

pytest.importorskip("aiohttp", reason="no aiohttp; pip install 'parley[serve]'")


@pytest.mark.nano
@pytest.mark.skipif(not NANO.is_dir(), reason="no models/nano/bundle; make nano makes one")
def test_two_clients_are_measured_and_a_third_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["bench", "serve", str(NANO), "--sessions", "2", "--seconds", "1.5", "--json"]
    assert main(words) == 0
    result = json.loads(capsys.readouterr().out)
    (run,) = result["runs"]
    assert run["sessions"] == 2 and run["chunks"] >= 2
    assert 0 < run["step"]["p50_ms"] <= run["step"]["p99_ms"]
    assert result["refused"] == {"status": 503, "retry_after": "5"}
    table = list(serve.lines(result))
    assert "HTTP 503, Retry-After 5 s" in table[-1] and table[-2].split()[0] == "2"

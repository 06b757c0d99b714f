"""`parley bench kernels` times both forms at every stage and adds them up."""

from __future__ import annotations

import json

import pytest

from parley_apps.main import main

FLAGS = ["bench", "kernels", "--frames", "1", "--repeats", "1"]


def test_result(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="pip install 'parley[export]'")
    assert main([*FLAGS, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    for operation, extra in (("snakebeta", 1), ("conv1d", 0)):
        for name, calls in (("nano", 24), ("published", 108)):
            stages, whole = (result[operation][name][key] for key in ("stages", "all"))
            assert [row["samples"] for row in stages] == [5, 15, 30, 60, 120, 240]
            assert whole["calls"] == calls + extra
            assert whole["times"] == whole["plain_us"] / whole["fused_us"] > 0
            forms = {row["form"] for row in stages}
            assert forms <= {"parley", "onnxruntime", "both"}
            assert whole["form"] in (forms if len(forms) == 1 else {"both"})


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="pip install 'parley[export]'")
    assert main([*FLAGS, "--threads", "2"]) == 0
    out = capsys.readouterr().out
    assert "published" in out and out.count(" all ") == 4

"""Percentiles, real-time factor and the costs of many steps."""

from __future__ import annotations

import doctest

import pytest

from parley import metrics


def test_examples_in_the_docstrings() -> None:
    assert doctest.testmod(metrics).failed == 0


def test_percentiles_interpolate() -> None:
    values = metrics.percentiles(float(v) for v in range(101))
    assert values == {"p50_ms": 50.0, "p95_ms": 95.0, "p99_ms": 99.0}
    assert metrics.percentiles([]) == {"p50_ms": 0.0, "p95_ms": 0.0, "p99_ms": 0.0}


def test_a_stage_counts_only_where_it_ran() -> None:
    costs = metrics.Costs(chunk_s=0.16)
    costs.add({"encoder": 4.0, "flow": 0.0, "total": 4.0})
    costs.add({"encoder": 4.0, "flow": 60.0, "total": 64.0}, bottleneck="flow")
    costs.add({"encoder": 4.0, "total": 4.0}, bottleneck="encoder")
    report = costs.report()
    assert report["rtf"] == pytest.approx(0.15)
    assert set(report) == {"rtf", "step", "stages", "bottleneck"}
    assert report["bottleneck"] == {"flow": pytest.approx(1 / 3), "encoder": pytest.approx(1 / 3)}
    assert report["stages"]["flow"]["p50_ms"] == 60.0  # type: ignore[index]
    assert report["stages"]["encoder"]["p99_ms"] == 4.0  # type: ignore[index]


def test_without_a_total_the_stages_are_added() -> None:
    assert metrics.step_total({"encoder": 1.0, "flow": 2.0}) == 3.0


def test_memory_is_told() -> None:
    assert metrics.peak_memory_mb() > 1.0

"""The picture of a report on quantization: size against each loss; knows matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from parley_apps.evaluation.divergence import KINDS

SMALLEST = 1e-5  # of a loss that is drawn on a logarithmic axis


def to_png(result: Mapping[str, Any]) -> bytes:
    """The rows as points, what no other row beats joined by a line, its knee in a ring."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = result["rows"][1:]
    panels = [f"KL divergence, {kind}" for kind in KINDS] + ["log-mel distance, dB"]
    figure, axes = pyplot.subplots(1, len(panels), figsize=(5 * len(panels), 5))
    for n, (axis, title) in enumerate(zip(axes, panels, strict=True)):
        points = [(row["bytes"] / 1e6, loss, row["mix"]) for row in rows if (loss := _loss(row, n))]
        axis.set_title(title)
        axis.set_xlabel("bundle, MB")
        axis.set_yscale("log")
        axis.grid(alpha=0.3)
        for x, y, name in points:
            axis.plot(x, y, "o", color="tab:blue")
            axis.annotate(name.replace("+", "\n"), (x, y), fontsize=6, xytext=(3, 3),
                          textcoords="offset points")  # fmt: skip
        front = unbeaten([(x, y) for x, y, _ in points])
        axis.plot(*zip(*front, strict=True), color="tab:orange") if front else None
        if (bend := knee(front)) is not None:
            axis.plot(*bend, "o", markersize=14, fillstyle="none", color="tab:red")
    figure.suptitle(f"{result['about']['bundle']}: size against losses; ring: knee")
    figure.tight_layout()
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110)
    pyplot.close(figure)
    return out.getvalue()


def unbeaten(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those than which none is both smaller and better, by size."""
    found: list[tuple[float, float]] = []
    for x, y in sorted(points):
        if not found or y < found[-1][1]:
            found.append((x, y))
    return found


def knee(front: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """The point farthest below the line from first to last, on a logarithmic axis of losses.

    Satopaa et al., 2011 ("kneedle"), for few points. None for fewer than three.
    """
    from math import log10

    if len(front) < 3:
        return None
    (x0, y0), (x1, y1) = ((x, log10(y)) for x, y in (front[0], front[-1]))
    if x0 == x1 or y0 == y1:
        return None
    depth = {
        point: 1 - (point[0] - x0) / (x1 - x0) - (log10(point[1]) - y1) / (y0 - y1)
        for point in front
    }
    best = max(front, key=depth.__getitem__)
    return best if depth[best] > 0 else None


def _loss(row: Mapping[str, Any], panel: int) -> float | None:
    if panel < len(KINDS):
        draws = row["draws"][KINDS[panel]]
        return None if draws is None else max(SMALLEST, draws["kl"]["mean"])
    return None if row["log_mel_db"] is None else max(SMALLEST, row["log_mel_db"]["mean"])

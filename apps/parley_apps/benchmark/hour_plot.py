"""Draws cost and memory of every minute of a long conversation; knows no engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from parley_apps.plot import FONT, GRID, INK, LATE, MODEL, STAGES, USER, headline, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BUDGET_MS = 160.0


def to_png(result: dict[str, Any]) -> bytes:
    """The picture as a .png file. Raises ImportError without matplotlib."""
    return render((9.5, 5.2), lambda figure: _draw(figure, result))


def _draw(figure: Figure, result: dict[str, Any]) -> None:
    cost, memory = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": [2, 1], "hspace": 0.12}
    )
    figure.subplots_adjust(left=0.085, right=0.98, top=0.9, bottom=0.1)
    _cost(cost, result)
    _memory(memory, result)
    hours = f"{result['hours']:g} h of conversation in mode {result['mode']}"
    headline(figure, f"{result['bundle']}, {hours}")


def _cost(axis: Axes, result: dict[str, Any]) -> None:
    rows = result["minutes"]
    x = np.arange(len(rows)) + 0.5
    for name, color, words in (
        ("p99_ms", MODEL, "99 % of a minute's chunks"),
        ("speaking_median_ms", STAGES["vocoder"], "median of speaking chunks"),
        ("cpu_speaking_median_ms", USER, "the same in processor time"),
    ):
        axis.plot(x, [row[name] for row in rows], color=color, linewidth=1.4, label=words)
    axis.axhline(BUDGET_MS, color=LATE, linewidth=1.2, linestyle=(0, (4, 3)), label="budget")
    axis.set_ylim(0.0, 1.1 * max(BUDGET_MS, *(row["p99_ms"] for row in rows)))
    axis.set_ylabel("ms per chunk")
    axis.legend(loc="upper right", ncols=4, frameon=False, fontsize=FONT)
    _plain(axis)


def _memory(axis: Axes, result: dict[str, Any]) -> None:
    rows = result["minutes"]
    values = [row["memory_mb"] for row in rows]
    axis.plot(np.arange(len(rows)) + 0.5, values, color=STAGES["backbone"], linewidth=1.4)
    axis.set_ylim(0.0, 1.25 * max(values))
    axis.set_ylabel("resident MiB")
    axis.set_xlabel("minutes of conversation")
    axis.set_xlim(0.0, len(rows))
    line = result["lines"]["memory_mb"]
    told = f"{line['median']:.0f} MiB, {line['per_hour']:+.1f} MiB per hour"
    axis.text(0.01, 0.08, told, transform=axis.transAxes, color=INK, fontsize=FONT)
    _plain(axis)


def _plain(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)

"""An evaluation as one picture; knows the summary's shape and matplotlib, no engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from parley_apps import plot
from parley_apps.evaluation.summary import PUBLISHED
from parley_apps.evaluation.table import NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GOOD, EXACT = "#2a7f9e", "#e9b44c"
DELAYS = (  # key of a row, name, colour
    ("shift_ms", "end of speech to SHIFT", "#2e8b57"),
    ("sound_ms", "end of speech to first sound", plot.MODEL),
    ("stop_ms", "interruption to silence", "#6b5b95"),
)


def to_png(result: Mapping[str, Any], title: str) -> bytes:
    """Success per kind beside the published model, delays, long conversations by minute.

    Raises ImportError without matplotlib.
    """
    return plot.render((12.0, 6.4), lambda figure: _draw(figure, result, title))


def _draw(figure: Figure, result: Mapping[str, Any], title: str) -> None:
    long = result["summary"]["long"]
    grid = figure.add_gridspec(
        2, 2, left=0.175, right=0.985, top=0.86, bottom=0.09, wspace=0.12, hspace=0.42,
        width_ratios=[1.15, 1],
    )  # fmt: skip
    _success(figure.add_subplot(grid[:, 0]), result["summary"]["groups"])
    _delays(figure.add_subplot(grid[0, 1] if long else grid[:, 1]), result["scenarios"])
    if long:
        _minutes(figure.add_subplot(grid[1, 1]), long["by_minute"])
    figure.suptitle(
        title, x=0.02, y=0.97, ha="left", fontsize=12, fontweight="bold", parse_math=False
    )


def _success(axis: Axes, groups: list[dict[str, Any]]) -> None:
    """Bars per kind with intervals; a split of a kind is a thinner bar below it."""
    groups = [group for group in groups if group["n"]]
    names = []
    for y, group in enumerate(groups):
        names.append(_label(group))
        whole = group["split"] is None
        _bar(axis, y - 0.2, group["success"], GOOD, 0.38 if whole else 0.3)
        if group["exact"]["n"]:
            _bar(axis, y + 0.2, group["exact"], EXACT, 0.38 if whole else 0.3)
        if group["published"] is not None:
            axis.plot([group["published"]] * 2, [y - 0.44, y + 0.04], color=plot.LATE, lw=2)
    lowest = min((100 * g[key]["low"] for g in groups for key in ("success", "exact")
                  if g[key]["n"]), default=0.0)  # fmt: skip
    axis.set_xlim(max(0.0, 10 * np.floor(lowest / 10 - 0.2)), 101.5)
    axis.set_yticks(range(len(names)), names)
    for label, group in zip(axis.get_yticklabels(), groups, strict=True):
        whole = group["split"] is None and "_" not in group["kind"]
        label.set(color=plot.INK if whole else plot.FAINT, fontweight="bold" if whole else "normal")
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlabel("percent, with 95 % intervals")
    _bare(axis)
    handles = [plot._patch(GOOD, "success"), plot._patch(EXACT, "exact reply")]
    if any(group["published"] is not None for group in groups):
        numbers = " / ".join(f"{value:g}" for value in PUBLISHED.values())
        handles.append(plot._patch(plot.LATE, f"published full-duplex model ({numbers})"))
    axis.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, frameon=False,
        fontsize=plot.FONT, handlelength=1.0, columnspacing=1.2,
    )  # fmt: skip


def _label(group: Mapping[str, Any]) -> str:
    name = NAMES[group["kind"]].strip() if group["split"] is None else group["split"]
    return f"{name.replace('_', ' ')} (n {group['n']})"


def _bar(axis: Axes, y: float, share: Mapping[str, Any], color: str, height: float) -> None:
    rate, low, high = (100 * share[key] for key in ("rate", "low", "high"))
    axis.barh(y, rate, height, color=color, lw=0)
    axis.plot([low, high], [y, y], color=plot.INK, lw=1.2)


def _delays(axis: Axes, scenarios: list[dict[str, Any]]) -> None:
    rows = [row for scenario in scenarios for row in scenario["rows"]]
    drawn = False
    for key, name, color in DELAYS:
        values = np.array([row[key] for row in rows if row[key] is not None])
        if not values.size:
            continue
        drawn = True
        p95 = float(np.percentile(values, 95))
        edges = np.arange(0.0, max(1200.0, values.max()) + 80.0, 40.0)
        label = f"{name}: p50 {np.median(values):.0f}, p95 {p95:.0f} ms (n {values.size})"
        weights = np.full(values.size, 100.0 / values.size)
        axis.hist(values, edges.tolist(), weights=weights, color=color, alpha=0.65, label=label)
        axis.axvline(p95, color=color, lw=1.2, ls=(0, (4, 3)))
    axis.set_xlabel("ms (dashed: 95th percentile)")
    axis.set_ylabel("percent of cases")
    _bare(axis)
    if drawn:
        axis.legend(
            loc="lower left", bbox_to_anchor=(-0.02, 1.0), frameon=False, fontsize=plot.FONT,
            handlelength=1.0, borderaxespad=0.1, labelspacing=0.2,
        )  # fmt: skip


def _minutes(axis: Axes, by_minute: list[dict[str, Any]]) -> None:
    for key, name, color in (("success", "success", GOOD), ("exact", "exact reply", EXACT)):
        some = [entry for entry in by_minute if entry[key]["n"]]
        minutes = [entry["minute"] for entry in some]
        rates = [100 * entry[key]["rate"] for entry in some]
        low = [100 * entry[key]["low"] for entry in some]
        high = [100 * entry[key]["high"] for entry in some]
        axis.fill_between(minutes, low, high, color=color, alpha=0.18, lw=0)
        axis.plot(minutes, rates, color=color, marker="o", ms=4, label=name)
    for entry in by_minute:
        n = entry["success"]["n"]
        axis.annotate(
            str(n), (entry["minute"], 0.02), xycoords=("data", "axes fraction"), ha="center",
            fontsize=plot.FONT - 1, color=plot.FAINT,
        )  # fmt: skip
    axis.set_xlabel("minute of the long conversations (numbers: turns)")
    axis.set_ylabel("percent")
    axis.set_ylim(top=102.0)
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _bare(axis)
    axis.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, frameon=False, fontsize=plot.FONT,
        borderaxespad=0.1,
    )  # fmt: skip


def _bare(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color=plot.GRID, lw=0.8)
    axis.set_axisbelow(True)

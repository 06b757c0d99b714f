"""Draws the flow decoder's settings by cost and distance; knows no engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parley_apps.plot import FAINT, FONT, GRID, LATE, MODEL, USER, headline, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = {"window": USER, "cached": MODEL}


def to_png(result: dict[str, Any]) -> bytes:
    """The picture as a .png file. Raises ImportError without matplotlib."""
    return render((9.5, 5.6), lambda figure: _draw(figure, result))


def _draw(figure: Figure, result: dict[str, Any]) -> None:
    axis = figure.subplots()
    figure.subplots_adjust(left=0.085, right=0.98, top=0.9, bottom=0.1)
    _settings(axis, result)
    replies = len(result["replies"])
    headline(figure, f"{result['bundle']}: settings of the flow decoder, {replies} replies")


def _settings(axis: Axes, result: dict[str, Any]) -> None:
    for mode, color in COLORS.items():
        rows = [row for row in result["settings"] if row["mode"] == mode]
        axis.scatter(
            [row["cpu_ms"] for row in rows],
            [row["mel_db"] for row in rows],
            color=color,
            s=26,
            label=mode,
        )
    own = result["settings"][0]
    axis.scatter(
        [own["cpu_ms"]],
        [own["mel_db"]],
        s=120,
        facecolors="none",
        edgecolors=LATE,
        label="the bundle's",
    )
    most_ms = max(row["cpu_ms"] for row in result["settings"])
    for row in worth_naming(result["settings"]):
        far = row["cpu_ms"] > 0.6 * most_ms
        axis.annotate(
            row["name"],
            (row["cpu_ms"], row["mel_db"]),
            xytext=(-7 if far else 7, -7),
            ha="right" if far else "left",
            textcoords="offset points",
            fontsize=FONT - 2,
            color=FAINT,
            va="center",
        )
    axis.set_xlabel("processor ms per chunk of 160 ms")
    axis.set_ylabel("dB of log-mel from the whole utterance, finely solved")
    axis.set_xlim(left=0.0)
    axis.margins(x=0.12, y=0.12)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.legend(loc="upper right", frameon=False, fontsize=FONT)


def worth_naming(settings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The bundle's own setting, the first, and those that none is both cheaper and nearer than."""
    front: list[dict[str, Any]] = []
    for row in sorted(settings, key=lambda row: (row["cpu_ms"], row["mel_db"])):
        if not front or row["mel_db"] < front[-1]["mel_db"]:
            front.append(row)
    return front if settings[0] in front else [settings[0], *front]

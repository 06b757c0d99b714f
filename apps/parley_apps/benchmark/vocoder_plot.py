"""Draws what each look-ahead of the vocoder costs and changes; knows no engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parley_apps.plot import FAINT, FONT, GRID, INK, MODEL, STAGES, USER, headline, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = (
    ("SNR against the whole run, dB", (("snr_db", USER, ""),)),
    ("log-spectral distance, dB", (("log_spectral_db", STAGES["flow"], ""),)),
    (
        "click at chunk borders",
        (("click", MODEL, "streamed"), ("whole_click", FAINT, "whole run, same places")),
    ),
    ("ms per chunk", (("p50_ms", STAGES["backbone"], ""),)),
)


def to_png(result: dict[str, Any]) -> bytes:
    """The picture as a .png file. Raises ImportError without matplotlib."""
    return render((9.5, 5.6), lambda figure: _draw(figure, result))


def _draw(figure: Figure, result: dict[str, Any]) -> None:
    rows = result["sweep"]
    x = [row["lookahead"] for row in rows]
    figure.subplots_adjust(left=0.085, right=0.98, top=0.88, bottom=0.1, hspace=0.25)
    for axis, (label, curves) in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        for name, color, words in curves:
            values = [row[name] for row in rows]
            axis.plot(x, values, color=color, marker="o", markersize=4, label=words)
        axis.axvline(result["lookahead"], color=FAINT, linestyle=(0, (4, 3)), linewidth=1.0)
        axis.set_title(label, loc="left", color=INK, fontsize=FONT + 1)
        axis.set_ylim(bottom=0.0)
        axis.set_xticks(x)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color=GRID, linewidth=0.8)
        axis.set_axisbelow(True)
        if len(curves) > 1:
            axis.legend(frameon=False, fontsize=FONT)
    what = "look-ahead of the vocoder in latent frames; dashed: its own"
    headline(figure, f"{result['bundle']}: {what}")

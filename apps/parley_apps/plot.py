"""The timeline of a conversation as a picture; knows events and costs, no engine.

Needs matplotlib, imported when a picture is drawn.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from parley.metrics import step_total
from parley_apps.plot_text import Label, layout_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from parley_apps.conversation import Conversation, Floats

INK, FAINT, GRID = "#24292f", "#6e7781", "#e6e8eb"
USER, MODEL, LATE = "#2a7f9e", "#d9622b", "#c4302b"
FLOOR = {"listening": "#cfe3ea", "preparing": "#f3dfa2", "speaking": "#f0b491"}
STAGES = {
    "front_end": "#b9c4cc",
    "encoder": "#2a7f9e",
    "backbone": "#6b5b95",
    "flow": "#d9622b",
    "vocoder": "#e9b44c",
    "engine": "#24292f",
}
CONTROL = {  # kind -> marker, colour, name in the legend
    "think": (".", "#8fa3ad", "THINK"),
    "shift": ("^", "#2e8b57", "SHIFT"),
    "break": ("X", LATE, "BREAK"),
    "turn_ended": ("|", USER, "turn ended"),
    "window": (".", "#6b5b95", "window"),
    "underrun": ("v", LATE, "underrun"),
    "muted": ("v", INK, "muted"),
}
TEXT_ROWS = 4
FONT = 8.0  # points
FONTS = ["DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "SimHei"]


def check_installed() -> None:
    """Raises ImportError that says how to get matplotlib."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "[plot.draw] expected the package matplotlib for a picture, got none; "
            "run `pip install 'parley[plot]'`, or leave out --plot"
        ) from error


def render(inches: tuple[float, float], draw: Callable[[Figure], None], **style: Any) -> bytes:
    """A figure of `inches` (width, height) that `draw` fills, as a .png file.

    style: matplotlib's settings, dots as underscores, on top of those that all pictures share.
    Raises ImportError without matplotlib.
    """
    check_installed()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shared: Any = {
        "font.size": FONT + 1,
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        **{name.replace("_", "."): value for name, value in style.items()},
    }
    buffer = io.BytesIO()
    with mpl.rc_context(shared), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=inches, dpi=110)
        draw(figure)
        figure.savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()


def headline(figure: Figure, text: str) -> None:
    """The title of a picture of measurements, at its left."""
    figure.suptitle(
        text, x=0.085, ha="left", color=INK, fontsize=12, fontweight="bold", parse_math=False
    )


def to_png(conversation: Conversation, title: str = "") -> bytes:
    """The picture as a .png file: waveforms, floor, tokens and the cost of each chunk.

    Raises ImportError without matplotlib.
    """
    check_installed()
    from matplotlib import font_manager

    known = set(font_manager.get_font_names())
    fonts = [name for name in FONTS if name in known] or ["sans-serif"]
    seconds = max(conversation.duration_s, conversation.chunk_s)
    width = float(np.clip(9.0 + 0.2 * seconds, 11.0, 22.0))  # inches
    return render(
        (width, 6.9),
        lambda figure: _draw(figure, conversation, seconds, title),
        font_family=fonts,
    )


def _draw(figure: Figure, conversation: Conversation, seconds: float, title: str) -> None:
    rows = figure.subplots(
        5, 1, sharex=True, gridspec_kw={"height_ratios": [2, 2, 0.6, 2.7, 2.6], "hspace": 0.12}
    )
    inches = figure.get_figwidth()
    figure.subplots_adjust(left=0.85 / inches, right=1 - 1.3 / inches, top=0.92, bottom=0.085)
    for axis in rows:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="x", color=GRID, linewidth=0.8)
        axis.set_axisbelow(True)
    _wave(rows[0], conversation.user(), conversation.rate, USER, "user")
    _wave(rows[1], conversation.model(), conversation.out_rate, MODEL, "model")
    _floor(rows[2], conversation)
    _tokens(rows[3], conversation, seconds, inches - 2.15)
    _cost(rows[4], conversation)
    rows[4].set_xlim(0.0, seconds)
    rows[4].set_xlabel("seconds on the session's timeline")
    name = f"{title}, " if title else ""
    figure.suptitle(
        f"{name}mode {conversation.mode}, {seconds:.1f} s",
        x=0.85 / inches,
        y=0.975,
        ha="left",
        parse_math=False,
        color=INK,
        fontsize=12,
        fontweight="bold",
    )


def _wave(axis: Axes, samples: Floats, rate: int, color: str, name: str) -> None:
    """Lowest and highest sample per column, so that no peak is lost."""
    step = max(1, samples.size // 4000)
    whole = samples[: samples.size // step * step].reshape(-1, step)
    times = np.arange(whole.shape[0]) * step / rate
    low, high = whole.min(axis=1, initial=0.0), whole.max(axis=1, initial=0.0)
    axis.fill_between(times, low, high, color=color, linewidth=0.4, edgecolor=color)
    loudest = float(np.abs(samples).max(initial=0.0))
    limit = 1.05 * max(loudest, 0.1)
    axis.set_ylim(-limit, limit)
    axis.set_yticks([])
    _name(axis, name, color)


def _floor(axis: Axes, conversation: Conversation) -> None:
    spans = conversation.floor()
    for start_s, end_s, state in spans:
        place = [(start_s, end_s - start_s)]
        axis.broken_barh(place, (0.0, 1.0), color=FLOOR.get(state, GRID), lw=0)
    axis.set_ylim(0.0, 1.0)
    axis.set_yticks([])
    _name(axis, "floor", INK)
    states = {state for _, _, state in spans}
    used = [state for state in FLOOR if state in states]
    _legend(axis, [_patch(FLOOR[state], state) for state in used])


def _tokens(axis: Axes, conversation: Conversation, seconds: float, inches: float) -> None:
    """Text on top, control tokens in the middle, one tick per audio code at the bottom."""
    events = conversation.events
    pieces = [(event.time_s, event.text) for event in events if event.text.strip()]
    per_letter = 0.62 * FONT / 72.0 * seconds / inches  # seconds that a letter is wide
    for label in layout_labels(pieces, per_letter, TEXT_ROWS, seconds):
        _text(axis, label)
    handles = []
    for kind, (marker, color, name) in CONTROL.items():
        at = [event.time_s for event in events if event.kind == kind]
        if at:
            small = kind in ("think", "window")
            handles += axis.plot(
                at,
                [0.75 if kind == "window" else 1.0] * len(at),
                linestyle="none",
                marker=marker,
                color=color,
                markersize=4 if small else 8,
                markeredgewidth=2 if marker == "|" else 0.5,
                label=name,
                clip_on=False,
            )
    ticks = _code_times(conversation)
    if ticks:
        axis.vlines(ticks, 0.0, 0.55, color=MODEL, linewidth=0.7, alpha=0.8)
        handles.append(_patch(MODEL, "audio code"))
    axis.set_ylim(0.0, 1.5 + TEXT_ROWS)
    axis.set_yticks([])
    _name(axis, "tokens", INK)
    _legend(axis, handles)


def _text(axis: Axes, label: Label) -> None:
    y = 1.5 + (TEXT_ROWS - 1 - label.row) + 0.45
    axis.plot([label.start_s] * 2, [y - 0.35, y + 0.3], color=MODEL, linewidth=0.8, alpha=0.6)
    axis.text(
        label.start_s,
        y,
        f" {label.text}",
        fontsize=FONT,
        color=INK,
        va="center",
        clip_on=True,
        parse_math=False,
    )


def _code_times(conversation: Conversation) -> list[float]:
    """When each audio code sounds: those of one step are spread over its chunk."""
    times: list[float] = []
    for step in conversation.steps:
        codes = sum(len(event.codes) for event in step.events)
        start = step.index * conversation.chunk_s
        times += [start + (k + 0.5) * conversation.chunk_s / codes for k in range(codes)]
    return times


def _cost(axis: Axes, conversation: Conversation) -> None:
    chunk_s = conversation.chunk_s
    budget_ms = 1000.0 * chunk_s
    n = len(conversation.steps)
    left = np.arange(n) * chunk_s
    below = np.zeros(n)
    handles = []
    for stage, color in STAGES.items():
        ms = np.array([step.timing_ms.get(stage, 0.0) for step in conversation.steps])
        if not ms.any():
            continue
        axis.bar(left, ms, 0.92 * chunk_s, bottom=below, color=color, align="edge", linewidth=0)
        handles.append(_patch(color, stage.replace("_", " ")))
        below += ms
    line = axis.axhline(
        budget_ms,
        color=LATE,
        linewidth=1.2,
        linestyle=(0, (4, 3)),
        label=f"budget {budget_ms:.0f} ms",
    )
    axis.set_ylabel("ms per chunk")
    _cost_limits(axis, [step_total(step.timing_ms) for step in conversation.steps], budget_ms)
    _legend(axis, [line, *handles[::-1]])  # the stages in the order of the stack


def _cost_limits(axis: Axes, totals: list[float], budget_ms: float) -> None:
    """Shows all usual chunks; the few that tower above them are cut and told in numbers."""
    usual = float(np.percentile(totals, 95)) if totals else 0.0
    top = max(1.35 * budget_ms, 1.35 * usual)
    highest = max(totals, default=0.0)
    if top < highest < 2.0 * top:
        top = 1.1 * highest
    axis.set_ylim(0.0, top)
    apart = max(1, len(totals) // 16)  # chunks between two numbers that don't touch
    told: list[int] = []
    for n in sorted(range(len(totals)), key=lambda n: -totals[n]):
        if totals[n] > top and all(abs(n - other) >= apart for other in told):
            told.append(n)
    for n in told[:8]:
        at_end = n > 0.9 * len(totals)
        axis.annotate(
            f"{totals[n]:.0f} ms \N{UPWARDS ARROW}",
            (n * budget_ms / 1000.0, top),
            xytext=(-4 if at_end else 6, -9),
            textcoords="offset points",
            ha="right" if at_end else "left",
            fontsize=FONT,
            color=LATE,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6},
        )


def _name(axis: Axes, name: str, color: str) -> None:
    axis.set_ylabel(name, rotation=0, ha="right", va="center", color=color, fontweight="bold")


def _patch(color: str, name: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(facecolor=color, label=name)


def _legend(axis: Axes, handles: list[Any]) -> None:
    if handles:
        axis.legend(
            handles=handles,
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            frameon=False,
            fontsize=FONT,
            handlelength=1.0,
        )

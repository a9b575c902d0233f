"""Figures as SVG that read in light and in dark: colours are CSS variables, text is text."""

import io
import itertools
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsvp.report.records import StageHistory
from rsvp.report.rows import ResultRow
from rsvp.report.tables import Quantity, Tables

matplotlib.use("svg")

# Placeholders that matplotlib draws with, and the CSS that takes their place: (variable, light,
# dark). The page and the stand-alone files set the variables.
COLOURS = {
    "#010101": ("ink", "#20242b", "#e6e8ec"),
    "#020202": ("quiet", "#6b7280", "#9aa3b0"),
    "#030303": ("line", "#d9dce1", "#363b44"),
    "#040404": ("accent", "#1d5fbf", "#7ab2ff"),
    "#050505": ("second", "#b4531a", "#f2a265"),
    "#060606": ("third", "#18794e", "#63c991"),
    "#070707": ("fourth", "#7c3fa8", "#c79bea"),
}
INK, QUIET, LINE, *SERIES = COLOURS
BEST_BASELINE = SERIES[1]
PREDICTORS = (SERIES[0], *SERIES[2:])
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")  # tell thin grey lines apart
DOTTED = (0, (1.5, 1.5))
STYLE = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9, "text.color": INK,
    "axes.edgecolor": LINE, "axes.labelcolor": QUIET, "axes.titlecolor": INK,
    "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "axes.grid": True, "axes.grid.axis": "y", "grid.color": LINE, "grid.linewidth": 0.6,
    "xtick.color": QUIET, "ytick.color": QUIET, "xtick.major.size": 0, "ytick.major.size": 0,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
    "lines.linewidth": 1.4,
}  # fmt: skip
PANEL = (5.6, 3.1)  # inches
CHARACTERS = 15  # of a caption, per inch
LEAST_DISTANCE = 1e-6  # a logarithmic axis has no 0


def plot(
    name: str, panels: Sequence[Callable[[Axes], None]], caption: str = "", columns: int = 2,
    size: tuple[float, float] = PANEL,
) -> str:  # fmt: skip
    """SVG: panels of `size` inches, each drawn by a function, row by row; a caption below."""
    columns = max(min(columns, len(panels)), 1)
    rows = max(-(-len(panels) // columns), 1)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
        for place, draw in enumerate(panels, start=1):
            draw(figure.add_subplot(rows, columns, place))
        if caption:
            lines = textwrap.fill(caption, int(figure.get_figwidth() * CHARACTERS))
            figure.supxlabel(lines, x=0.01, ha="left", fontsize=8, color=QUIET)
        return svg(figure, name)


def horizon_plot(tables: Tables, keys: Sequence[Quantity], caption: str = "") -> str:
    """SVG: one panel per quantity over the future frames, one line per row, bands for predictors.

    caption: what stands below, where nothing beside the figure says it.
    """
    name = "horizon-" + "-".join(key.measure.key for key in keys)
    return plot(name, [partial(draw_horizon, tables, key) for key in keys], caption)


def draw_horizon(tables: Tables, key: Quantity, axes: Axes) -> None:
    """Draw one quantity over the horizon."""
    lines = []
    for row in tables.rows:
        if estimates := tables.horizon.get((row, key)):
            frames = range(1, len(estimates) + 1)
            values, low, high = (np.array([getattr(item, name) for item in estimates])
                                 for name in ("value", "low", "high"))  # fmt: skip
            band = (low, high) if row.kind == "predictor" else None
            lines.append(Line(row, row.label, frames, values, band))
    future, measure, network = tables.index["future_frames"], key.measure, tables.network(key)
    axes.set_xlim(0.6, future + 0.2)
    ticks = range(1, future + 1) if future <= 16 else range(0, future + 1, max(future // 8, 1))
    axes.set_xticks([tick for tick in ticks if tick])
    axes.set_xlabel("future frame")
    name = f"{measure.label} of {network}" if network else measure.label
    name += f" ({measure.unit})" if measure.unit else ""
    axes.set_title(f"{name}, {f'{measure.better} is better' if measure.better else '1 is right'}")
    hardest = tables.best(key, "baseline")
    draw_lines(axes, lines, hardest, future + 0.05, future + 0.06 * future)


def curves_plot(tables: Tables, caption: str = "") -> str:
    """SVG: each distance between sets against the number of clips, both on logarithmic axes.

    Bands are ± one standard deviation over subsets; all clips have a bar, their 95 % interval.
    caption: what stands below, where nothing beside the figure says it.
    """
    keys = dict.fromkeys(key for _, key in tables.curves)
    return plot("curves", [partial(draw_curves, tables, key) for key in keys], caption)


def draw_curves(tables: Tables, key: Quantity, axes: Axes) -> None:
    """Draw one distance against the number of clips.

    Rows of the same values, which stand still, share a line.
    """
    equal: dict[tuple, list[ResultRow]] = {}
    for row in tables.rows:
        if curve := tables.curves.get((row, key)):
            equal.setdefault(tuple((p.clips, p.value) for p in curve), []).append(row)
    lines = []
    for points, rows in equal.items():
        name = rows[0].label + (f" and {len(rows) - 1} like it" if rows[1:] else "")
        whole = tables.curves[rows[0], key][-1]
        sizes, values = np.array(points).T
        values = np.maximum(values, LEAST_DISTANCE)
        deviations = np.array([point.seed_std for point in tables.curves[rows[0], key]])
        band = np.maximum(values - deviations, values / 10), values + deviations
        bar = (max(whole.low, values[-1] / 10), whole.high) if whole.has_interval else None
        lines.append(Line(rows[0], name, sizes, values, band, bar))
    ticks = sorted({int(size) for line in lines for size in line.x})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(ticks, [str(size) for size in ticks])
    axes.set_xlim(ticks[0] * 0.95, ticks[-1] * 1.02)
    axes.set_xlabel("clips")
    axes.set_title(f"{key.measure.label}, {key.protocol}, lower is better")
    draw_lines(axes, lines, tables.best(key, "baseline"), ticks[-1] * 1.01, ticks[-1] * 1.1)


@dataclass(frozen=True)
class Line:
    """A row's curve, with a band around it, and an interval at its end."""

    row: ResultRow
    label: str
    x: Sequence[float]
    values: np.ndarray
    band: tuple[np.ndarray, np.ndarray] | None
    bar: tuple[float, float] | None = None


def draw_lines(
    axes: Axes, lines: Sequence[Line], hardest: ResultRow | None, end: float, x: float
) -> None:
    """Draw curves that end at `end`, with their labels at `x`.

    Only predictors and the best baseline stand out.
    """
    series, markers, labels = itertools.cycle(PREDICTORS), itertools.cycle(MARKERS), []
    for line in lines:
        colour = BEST_BASELINE if line.row is hardest else QUIET
        colour = next(series) if line.row.kind == "predictor" else colour
        marker = next(markers) if line.row.kind == "baseline" and colour == QUIET else ""
        axes.plot(
            line.x, line.values, color=colour, linewidth=0.9 if colour == QUIET else 1.8,
            linestyle=DOTTED if line.row.kind == "floor" else "-", marker=marker or None,
            markersize=3.5,
        )  # fmt: skip
        if line.band:
            axes.fill_between(line.x, *line.band, color=colour, alpha=0.16, linewidth=0)
        if line.bar:
            axes.plot([line.x[-1]] * 2, line.bar, color=colour, linewidth=2.5, alpha=0.45)
        last = line.values[~np.isnan(line.values)][-1]
        labels.append((last, line.label, colour, marker))
    label_ends(axes, labels, end, x)


def label_ends(axes: Axes, labels: list[tuple[float, str, str, str]], end: float, x: float) -> None:
    """Write labels at `x`, moved apart where they would touch; `end` is where the lines end.

    labels: the value of each line's end, its text, colour and marker.
    """
    scale = axes.yaxis.get_transform()  # what is linear on paper
    low, high = scale.transform(np.array(axes.get_ylim()))
    spacing = (high - low) * 0.067
    labels = sorted(labels)
    places = list(scale.transform(np.array([value for value, *_ in labels])))
    for _ in range(200):  # push neighbours apart, a little at a time
        for i in range(len(places) - 1):
            overlap = max(spacing - (places[i + 1] - places[i]), 0.0)
            places[i] -= overlap / 2
            places[i + 1] += overlap / 2
    moved = scale.inverted().transform(np.array(places))
    for place, (value, text, colour, marker) in zip(moved, labels, strict=True):
        tip = x - 0.2 * (x - end)
        axes.plot([end, tip], [value, place], color=LINE, linewidth=0.8, clip_on=False)
        if marker:
            axes.plot([x], [place], marker, color=colour, markersize=3.5, clip_on=False)
        axes.annotate(
            text, (x, place), xytext=(6 if marker else 0, 0), color=colour,
            textcoords="offset points", va="center", fontsize=8.5, annotation_clip=False,
        )  # fmt: skip


def learning_plot(histories: Sequence[StageHistory]) -> str:
    """SVG: the curves of all given training stages, a small panel for each; seeds overlaid."""
    stages: dict[str, list[StageHistory]] = {}
    for history in histories:
        stages.setdefault(history.stage, []).append(history)
    panels = {
        (stage, curve): partial(draw_learning, mine, curve, stage if len(stages) > 1 else "")
        for stage, mine in stages.items() for history in mine for curve in history.curves
    }  # fmt: skip
    name = "learning-" + "-".join(dict.fromkeys(stage for stage, _ in panels))
    return plot(name, list(panels.values()), columns=4, size=(3.0, 2.1))


def draw_learning(histories: list[StageHistory], curve: str, stage: str, axes: Axes) -> None:
    """One curve of one stage: dense ones smoothed over their trace, sparse ones with points."""
    for history, colour in zip(histories, itertools.cycle(SERIES)):
        if curve not in history.table:
            continue
        points = history.table[["step", curve]].dropna()
        if len(points) > 40:
            axes.plot(points["step"], points[curve], color=colour, alpha=0.25, linewidth=0.6)
            smooth = points[curve].rolling(max(len(points) // 25, 2), min_periods=1, center=True)
            axes.plot(points["step"], smooth.mean(), color=colour, linewidth=1.5)
            low, high = points[curve].quantile([0.0, 0.99])
            margin = 0.06 * (high - low) or 0.1
            axes.set_ylim(low - margin, high + margin)
        else:
            axes.plot(points["step"], points[curve], color=colour, marker="o", markersize=2.5)
    axes.set_title(f"{stage}\n{curve.replace('_', ' ')}".lstrip(), fontsize=9)
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(labelsize=8)


def pictures_plot(pictures: Sequence[tuple[str, np.ndarray]]) -> str:
    """SVG: titled pictures, uint8 RGB, as they are."""
    panels = [partial(draw_picture, *picture) for picture in pictures]
    return plot("pictures", panels, size=(5.6, 3.4))


def draw_picture(title: str, picture: np.ndarray, axes: Axes) -> None:
    """Draw a picture as it is."""
    axes.imshow(picture, interpolation="none")
    axes.set_title(title, fontsize=8.5, fontweight="normal")
    axes.set_axis_off()


def svg(figure: Figure, name: str) -> str:
    """The figure as stand-alone SVG text, the same for the same data."""
    with matplotlib.rc_context({"svg.hashsalt": name}):
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", stream.getvalue(), flags=re.DOTALL)
    for placeholder, (variable, light, _) in COLOURS.items():
        text = text.replace(placeholder, f"var(--{variable}, {light})")
    light = "".join(f"--{name}:{value};" for name, value, _ in COLOURS.values())
    dark = "".join(f"--{name}:{value};" for name, _, value in COLOURS.values())
    style = f"svg{{{light}}}@media (prefers-color-scheme:dark){{svg{{{dark}}}}}"
    return re.sub(r"(<svg\b[^>]*>)", rf"\1<style>{style}</style>", text, count=1)


def inline_svg(text: str, title: str, prefix: str) -> str:
    """Stand-alone SVG text as an element of a page: ids made unique, variables left to the page.

    HTML needs no namespaces, so none is left and the page names no address at all.
    """
    text = text[text.index("<svg") :]
    text = re.sub(r"<style>svg\{.*?</style>", "", text, count=1)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href=", "href=")
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = text.replace("url(#", f"url(#{prefix}-").replace('href="#', f'href="#{prefix}-')
    head, rest = text.split(">", 1)
    points = float(re.search(r'\bwidth="([\d.]+)pt"', head)[1])
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    head += f' style="max-width: {points / 72:.2f}in" role="img" aria-label="{escape(title)}"'
    return f"{head}>{rest}"

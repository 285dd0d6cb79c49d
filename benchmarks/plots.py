"""The plots of a report: rate against peak memory, a picture for each data set, a point for each loader.

Both axes are logarithmic, since peers lie orders of magnitude apart. The best place is the upper left: fast in little.
"""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.text import Annotation, Text  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: E402
from matplotlib.transforms import Bbox  # noqa: E402
from report import UNDER_TEST, Figures, data_set_of  # noqa: E402
from runs import Records  # noqa: E402

INK, LINE, FAINT, ACCENT = "#24292f", "#8c959f", "#d0d7de", "#cf222e"
SIZE_INCHES = (7.6, 4.6)
FONT_POINTS = 9.5
LEADER = {"arrowstyle": "-", "color": LINE, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 3}
# Where a label may stand, tried in this order: its offset from the point in points, and how it is aligned.
PLACES = [
    (distance * math.cos(angle), distance * math.sin(angle))
    for distance in (8, 14, 22, 32, 44)
    for angle in (math.radians(degrees) for degrees in (0, 180, 40, -40, 140, -140, 90, -90))
]


def points_of(records: Records) -> dict[str, tuple[float, float]]:
    """(peak MB above bare, MB/s) of each loader that has both."""
    return {
        name: (max(record.above_bare() / 1e6, 1.0), record.rate() / 1e6)
        for name, record in records.items()
        if record.works() and record.peaks
    }


def write_label(axes: Axes, name: str, point: tuple[float, float], offset: tuple[float, float]) -> Annotation:
    """Write a loader's name at an offset from its point, joined to it by a line unless it is next to it."""
    x, y = offset
    own = name == UNDER_TEST
    return axes.annotate(
        name,
        point,
        xytext=offset,
        textcoords="offset points",
        ha="center" if abs(x) < 1 else "left" if x > 0 else "right",
        va="center",
        fontsize=FONT_POINTS,
        fontweight="bold" if own else "normal",
        color=ACCENT if own else INK,
        arrowprops=None if offset in PLACES[:2] else LEADER,
    )


def text_box(label: Annotation) -> Bbox:
    """Where a label's text stands, without the line to its point."""
    renderer = label.figure.canvas.get_renderer()
    label.update_positions(renderer)
    return Text.get_window_extent(label, renderer).padded(1)


def place_labels(axes: Axes, points: dict[str, tuple[float, float]]) -> None:
    """Write each loader's name beside its point, covering neither another name nor a point, within the axes."""
    spots = [axes.transData.transform(point) for point in points.values()]
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in spots]
    frame = axes.get_window_extent()
    # The crowded ones first: a lonely point finds a place in any case.
    order = sorted(
        points,
        key=lambda name: sorted(math.dist(axes.transData.transform(points[name]), spot) for spot in spots)[
            1:2
        ],
    )
    for name in order:
        for offset in PLACES:
            label = write_label(axes, name, points[name], offset)
            box = text_box(label)
            inside = frame.x0 < box.x0 and box.x1 < frame.x1 and frame.y0 < box.y0 and box.y1 < frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                break
            label.remove()
        else:  # no place is free: the nearest
            box = text_box(write_label(axes, name, points[name], PLACES[0]))
        taken.append(box)


def number_text(value: float, _: int | None = None) -> str:
    """A tick's number, written out."""
    return f"{value:,.0f}"


def draw(records: Records, title: str, subtitle: str, memory_limit: str, path: Path) -> None:
    """One picture; path ends in .svg or .png."""
    points = points_of(records)
    figure, axes = pyplot.subplots(figsize=SIZE_INCHES, layout="constrained")
    axes.set_xscale("log")
    axes.set_yscale("log")
    memories, rates = zip(*points.values(), strict=True)
    axes.set_xlim(min(memories) / 1.7, max(memories) * 1.9)
    axes.set_ylim(min(rates) / 1.5, max(rates) * 1.6)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(number_text))
        axis.set_minor_formatter(NullFormatter())
        axis.set_tick_params(which="both", length=0, labelsize=FONT_POINTS, labelcolor=INK)
    axes.grid(True, which="major", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for name, (memory, rate) in points.items():
        own = name == UNDER_TEST
        axes.plot(
            memory,
            rate,
            marker="o",
            markersize=10 if own else 7,
            color=ACCENT if own else "#57606a",
            zorder=3,
        )
    axes.set_xlabel(f"peak memory above the bare process, MB (forebay's limit: {memory_limit})", color=INK)
    axes.set_ylabel("decoded MB/s", color=INK)
    axes.set_title(f"{title}: fast and lean is upper left", loc="left", pad=22, fontweight="bold", color=INK)
    axes.annotate(
        subtitle,
        (0, 1),
        xytext=(0, 8),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=FONT_POINTS,
        color=INK,
    )
    figure.canvas.draw()
    place_labels(axes, points)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=130)
    pyplot.close(figure)


def write(figures: Figures, output: Path, suffix: str = ".svg") -> dict[str, str]:
    """The pictures of a report beside `output`; returns their names by workload."""
    # Outlines of letters: the picture is the same whatever fonts its reader has, and so is the file each time.
    matplotlib.rcParams.update({"svg.fonttype": "path", "svg.hashsalt": "forebay"})
    names = {}
    for workload, records in figures.workloads.items():
        data_set = data_set_of(workload)
        if data_set is None or not points_of(records):
            continue
        path = output.with_name(f"{output.stem}-{workload}{suffix}")
        draw(
            records,
            f"{workload.removesuffix('-quarter')} row groups",
            data_set.describe(),
            figures.memory_limit,
            path,
        )
        names[workload] = path.name
    return names

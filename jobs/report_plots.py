"""The figures of a report: matplotlib's SVG, its colours left to the page's style sheet."""

import math
import re
from collections.abc import Iterable, Sequence
from datetime import UTC
from io import StringIO
from typing import Any, Final, Literal, NamedTuple

import matplotlib
import matplotlib.dates
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    MaxNLocator,
    NullLocator,
    PercentFormatter,
)

from jobs.durations import format_duration
from jobs.html_text import Html
from jobs.monitor_records import Span
from jobs.report_facts import BINS, Calibration, Durations, edge

DAY_MS: Final = 86_400_000

# Colours that stand for the page's, see `_CSS` in jobs/report_style.py: so a figure follows it into
# the dark. No two are alike, and none is one that matplotlib would write by itself.
INK, MUTED, GRID, PAPER = "#0a0a01", "#0a0a02", "#0a0a03", "#0a0a04"
BAD, GOOD, CONTROL, WARN = "#0a0c01", "#0a0c02", "#0a0c03", "#0a0c04"
SERIES: Final = tuple(f"#0a0b{number:02x}" for number in range(8))
_VARIABLES: Final = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "paper",
    BAD: "bad",
    GOOD: "good",
    CONTROL: "control",
    WARN: "warn",
    **{color: f"s{number}" for number, color in enumerate(SERIES)},
}
# So that series can be told apart without colours.
DASHES: Final = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)))

_SETTINGS: Final[dict[str, Any]] = {
    # Text stays text: small, selectable, in the page's own font.
    "svg.fonttype": "none",
    # Names come from data: a $ in one is no formula.
    "text.parse_math": False,
    "font.size": 12,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "hatch.color": MUTED,
    "hatch.linewidth": 0.5,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}
# A point of matplotlib's is a CSS pixel here. A phone shows this width at about its own size.
NARROW: Final = 400
WIDE: Final = 860


class Range(NamedTuple):
    """The times that a figure spans, in ms."""

    begin: int
    end: int


class Mark(NamedTuple):
    """Something that happened at a time."""

    time: int
    kind: Literal["bad", "good", "control"]


class Line(NamedTuple):
    """A model in a role in a figure.

    Attributes
    ----------
    color : int
        The place of the model among those of the report.
    dash : int
        The place of the role, see `dashes`.
    window, every : list of (int, float)
        Time in ms and value.
    spans : list of (int, float, bool)
        Middle of a span of event time, value, whether it is closed.
    """

    color: int
    dash: int
    window: list[tuple[int, float]]
    every: list[tuple[int, float]]
    spans: list[tuple[int, float, bool]]


class Row(NamedTuple):
    """A row of the timeline: a name, spans of time, and single moments."""

    name: str
    kind: Literal["bad", "good", "control"]
    spans: list[tuple[int, int]]
    moments: list[int]


def color(number: int) -> str:
    """Of a series, as a figure has it."""
    return SERIES[number % len(SERIES)]


def dashes(number: int) -> Any:
    """Likewise: how its line is drawn."""
    return DASHES[number % len(DASHES)]


class Plots:
    """Draws; each figure has names of its own for what it defines, as all stand in one document."""

    def __init__(self) -> None:
        self._drawn = 0

    def metric(self, lines: Sequence[Line], whole: Range, marks: Iterable[Mark]) -> Html:
        """A metric over time."""
        with _style():
            figure, axes = _figure(NARROW, 210)
            _marks(axes, marks, whole)
            for line in lines:
                shown: dict[str, Any] = {"color": color(line.color)}
                if line.every:
                    axes.plot(*_xy(line.every), linewidth=0.8, alpha=0.55, **shown)
                if line.spans:
                    for closed, face in ((True, color(line.color)), (False, PAPER)):
                        chosen = [(t, value) for t, value, over in line.spans if over == closed]
                        axes.plot(
                            *_xy(chosen), linestyle="", marker="o", markersize=3.2, alpha=0.75,
                            markerfacecolor=face, markeredgewidth=0.8, **shown,
                        )  # fmt: skip
                if line.window:
                    single: dict[str, Any] = (
                        {"marker": "o", "markersize": 4} if len(line.window) == 1 else {}
                    )
                    axes.plot(*_xy(line.window), linestyle=dashes(line.dash), **shown, **single)
            _time_axis(axes, whole)
            axes.yaxis.set_major_locator(MaxNLocator(5))
            return self._svg(figure)

    def learned(self, lines: Sequence[Line], whole: Range, marks: Iterable[Mark]) -> Html:
        """Examples in the version at each time."""
        with _style():
            figure, axes = _figure(NARROW, 180)
            _marks(axes, marks, whole)
            for line in lines:
                axes.plot(*_xy(line.every), color=color(line.color), linestyle=dashes(line.dash))
            _time_axis(axes, whole)
            _counts(axes.yaxis)
            return self._svg(figure)

    def timeline(self, rows: Sequence[Row], whole: Range, width: int) -> Html:
        """What happened when, a row for each thing that it happened to."""
        with _style():
            narrow = width == NARROW
            figure, axes = _figure(width, 48 + len(rows) * (36 if narrow else 26))
            for place, row in enumerate(rows):
                shade = {"bad": BAD, "good": GOOD, "control": CONTROL}[row.kind]
                bars = [(_day(a), max(_day(b) - _day(a), 1e-9)) for a, b in row.spans]
                axes.broken_barh(bars, (place - 0.17, 0.34), facecolors=shade, alpha=0.45)
                begins = [a for a, _ in row.spans]
                for times, marker in ((begins, "|"), (row.moments, "D")):
                    axes.plot(
                        [_day(time) for time in times], [place] * len(times), linestyle="",
                        marker=marker, markersize=9 if marker == "|" else 5, markeredgewidth=1.6,
                        color=shade, markerfacecolor=shade,
                    )  # fmt: skip
                if narrow:
                    axes.annotate(
                        _cut(row.name, 50), (0, place - 0.3), xycoords=("axes fraction", "data"),
                        va="bottom", fontsize=11,
                    )  # fmt: skip
            names = [] if narrow else [_cut(row.name, 52) for row in rows]
            axes.set_yticks([] if narrow else range(len(rows)), names or None)
            axes.tick_params(axis="y", labelcolor=INK, length=0)
            axes.grid(axis="y", visible=False)
            axes.set_ylim(len(rows) - 0.5, -0.8)
            _time_axis(axes, whole)
            return self._svg(figure)

    def cohorts(self, spans: Sequence[Span], metric: str | None, whole: Range, number: int) -> Html:
        """Per span of event time what has become of its predictions, and what is known of a metric."""
        with _style():
            figure = Figure((NARROW / 72, (290 if metric else 200) / 72), layout="constrained")
            if metric:
                above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
            else:
                above, below = figure.subplots(), None
            begins = [_day(span.begin) for span in spans]
            widths = [_day(span.end) - _day(span.begin) for span in spans]
            bottom = [0.0] * len(spans)
            for counts, shade, hatch in (
                ([span.labelled for span in spans], color(number), None),
                ([span.assumed for span in spans], WARN, None),
                ([span.unlabelled for span in spans], PAPER, "////"),
            ):
                if not any(counts):
                    continue
                above.bar(
                    begins, counts, widths, bottom=bottom, align="edge", color=shade, alpha=0.8,
                    edgecolor=MUTED if hatch else PAPER, linewidth=0.4, hatch=hatch,
                )  # fmt: skip
                bottom = [low + count for low, count in zip(bottom, counts, strict=True)]
            above.set_ylim(0, max(*bottom, 1) * 1.08)
            _counts(above.yaxis)
            above.set_ylabel("transactions")
            if below is not None and metric is not None:
                for closed in (True, False):
                    known = [
                        ((span.begin + span.end) // 2, span.values[metric])
                        for span in spans
                        if metric in span.values and span.closed == closed
                    ]
                    below.plot(
                        *_xy(known), linestyle="", marker="o", markersize=3.6,
                        color=color(number), markerfacecolor=color(number) if closed else PAPER,
                    )  # fmt: skip
                below.set_ylabel(metric)
                below.yaxis.set_major_locator(MaxNLocator(4))
            _time_axis(below or above, whole)
            return self._svg(figure)

    def delays(self, lines: Sequence[tuple[int, Sequence[tuple[int, float, float]]]],
               whole: Range) -> Html:  # fmt: skip
        """Of each series the median and the 99th percentile of label delays, as known at each time."""
        with _style():
            figure, axes = _figure(NARROW, 190)
            for number, points in lines:
                shown: dict[str, Any] = {"color": color(number)}
                middle = [(time, max(p50, 1.0)) for time, p50, _ in points]
                high = [(time, max(p99, 1.0)) for time, _, p99 in points]
                axes.plot(*_xy(middle), **shown)
                axes.plot(*_xy(high), linestyle=(0, (2, 2)), **shown)
            axes.set_yscale("log")
            _durations(axes.yaxis)
            _time_axis(axes, whole)
            return self._svg(figure)

    def durations(self, found: Durations, number: int = 0) -> Html:
        """How many durations of each length."""
        with _style():
            figure, axes = _figure(NARROW, 190)
            bars = found.coarse(5)
            places = sorted(bars)
            left = [edge(place) for place in places]
            widths = [edge(place + 5) - edge(place) for place in places]
            counts = [bars[place] for place in places]
            axes.bar(left, counts, widths, align="edge", color=color(number), alpha=0.8,
                     edgecolor=PAPER, linewidth=0.5)  # fmt: skip
            axes.set_xscale("log")
            axes.set_xlim(left[0] / 1.5, edge(places[-1] + 5) * 1.5)
            _durations(axes.xaxis)
            _counts(axes.yaxis)
            return self._svg(figure)

    def latency(self, points: Sequence[tuple[int, float, float]], whole: Range) -> Html:
        """Median and 99th percentile by event time."""
        return self.delays([(0, points)], whole)

    def versus(self, points: Sequence[tuple[int, float, float | None, float | None]],
               whole: Range, number: int) -> Html:  # fmt: skip
        """A model's loss less the champion's, with the interval."""
        with _style():
            figure, axes = _figure(NARROW, 200)
            axes.axhline(0, color=INK, linewidth=0.9)
            sure = [
                (time, low, high)
                for time, _, low, high in points
                if low is not None and high is not None
            ]
            if sure:
                times = [_day(time) for time, _, _ in sure]
                lows, highs = [low for _, low, _ in sure], [high for _, _, high in sure]
                if len(sure) == 1:
                    axes.vlines(times, lows, highs, color=color(number), alpha=0.5, linewidth=4)
                else:
                    axes.fill_between(times, lows, highs, color=color(number), alpha=0.22,
                                      linewidth=0)  # fmt: skip
            single: dict[str, Any] = {"marker": "o", "markersize": 4} if len(points) == 1 else {}
            axes.plot(*_xy([(p[0], p[1]) for p in points]), color=color(number), **single)
            _time_axis(axes, whole)
            axes.set_ylabel("← better   worse →")
            axes.yaxis.set_major_locator(MaxNLocator(5))
            return self._svg(figure)

    def calibration(self, found: Calibration, number: int) -> Html:
        """Predicted probability against observed frequency, and how many there were."""
        with _style():
            figure = Figure((NARROW / 72, 300 / 72), layout="constrained")
            above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
            above.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
            filled = [place for place in range(BINS) if found.counts[place]]
            said = [found.total[place] / found.counts[place] for place in filled]
            seen = [found.hits[place] / found.counts[place] for place in filled]
            ends = [wilson(found.hits[place], found.counts[place]) for place in filled]
            above.vlines(said, [low for low, _ in ends], [high for _, high in ends],
                         color=color(number), alpha=0.6)  # fmt: skip
            above.plot(said, seen, color=color(number), marker="o", markersize=5, linewidth=1)
            above.set_ylim(-0.03, 1.03)
            above.set_ylabel("came true")
            below.bar([place / BINS for place in range(BINS)], found.counts, 1 / BINS,
                      align="edge", color=color(number), alpha=0.6, edgecolor=PAPER)  # fmt: skip
            below.set_xlim(-0.02, 1.02)
            below.set_xlabel("predicted probability")
            below.set_ylabel("count")
            _counts(below.yaxis, 3)
            for axis in (above.yaxis, below.xaxis):
                axis.set_major_formatter(PercentFormatter(1, decimals=0))
            return self._svg(figure)

    def shares(self, series: Sequence[tuple[int, Sequence[tuple[int, float]]]],
               whole: Range) -> Html:  # fmt: skip
        """Shares of transactions over time."""
        with _style():
            figure, axes = _figure(NARROW, 190)
            for number, points in series:
                axes.plot(*_xy(points), color=color(number), linestyle=dashes(number), marker="o",
                          markersize=2.5)  # fmt: skip
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
            axes.set_ylim(bottom=0)
            _time_axis(axes, whole)
            return self._svg(figure)

    def bars(self, counts: Sequence[tuple[str, int]]) -> Html:
        """A bar for each name."""
        with _style():
            figure, axes = _figure(NARROW, 34 + 24 * len(counts))
            places = range(len(counts))
            drawn = axes.barh(places, [count for _, count in counts], 0.6, color=BAD, alpha=0.75)
            axes.bar_label(drawn, [f"{count:,}" for _, count in counts], padding=3, color=INK)
            axes.set_yticks(places, [_cut(name, 30) for name, _ in counts])
            axes.tick_params(axis="y", labelcolor=INK, length=0)
            axes.grid(axis="y", visible=False)
            axes.invert_yaxis()
            axes.margins(x=0.14)
            _counts(axes.xaxis, 3)
            return self._svg(figure)

    def _svg(self, figure: Figure) -> Html:
        self._drawn += 1
        written = StringIO()
        # Ids are digests of what they name and of this: others in another figure.
        with matplotlib.rc_context({"svg.hashsalt": f"riverrun-{self._drawn}"}):
            figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
        text = written.getvalue()
        text = text[text.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>", "", text, count=1, flags=re.DOTALL)
        # Figures and axes are numbered alike in each; nothing refers to these numbers.
        text = re.sub(r'<g id="[^"]*"', "<g", text)
        text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
        text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
        text = text.replace("<svg", '<svg aria-hidden="true"', 1)
        text = re.sub("|".join(_VARIABLES), lambda found: f"var(--{_VARIABLES[found[0]]})", text)
        return Html(text.strip())


def wilson(hits: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Where a share lies with 95% confidence, after Wilson (1927).

    >>> tuple(round(end, 3) for end in wilson(8, 10))
    (0.49, 0.943)
    """
    share, square = hits / count, z * z
    middle = (share + square / (2 * count)) / (1 + square / count)
    spread = math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    half = z * spread / (1 + square / count)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _style() -> Any:
    return matplotlib.style.context(["default", _SETTINGS])


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure((width / 72, height / 72), layout="constrained")
    return figure, figure.subplots()


def _day(time: float) -> float:
    """As matplotlib counts time: days since 1970."""
    return time / DAY_MS


def _xy(points: Iterable[tuple[int, float]]) -> tuple[list[float], list[float]]:
    kept = list(points)
    return [_day(time) for time, _ in kept], [value for _, value in kept]


def _marks(axes: Axes, marks: Iterable[Mark], whole: Range) -> None:
    for mark in marks:
        if whole.begin <= mark.time <= whole.end:
            shade = {"bad": BAD, "good": GOOD, "control": CONTROL}[mark.kind]
            line = (0, (4, 2)) if mark.kind == "control" else "-"
            axes.axvline(_day(mark.time), color=shade, linewidth=0.9, alpha=0.6, linestyle=line)


def _time_axis(axes: Axes, whole: Range) -> None:
    pad = max((whole.end - whole.begin) * 0.02, 1000)
    axes.set_xlim(_day(whole.begin - pad), _day(whole.end + pad))
    axes.xaxis_date(UTC)
    locator = matplotlib.dates.AutoDateLocator(UTC, minticks=3, maxticks=6)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(
        matplotlib.dates.ConciseDateFormatter(
            locator,
            UTC,
            # Years, months, days, hours, minutes, seconds; then where such a unit begins anew.
            formats=["%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M", "%H:%M:%S"],
            zero_formats=["", "%Y", "%d %b", "%d %b", "%H:%M", "%H:%M"],
            show_offset=False,
        )
    )


def _counts(axis: Any, most: int = 5) -> None:
    axis.set_major_locator(MaxNLocator(most, integer=True))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def _short(value: float) -> str:
    """A count in few characters.

    >>> _short(950), _short(12_000), _short(2_500_000)
    ('950', '12k', '2.5M')
    """
    for unit, size in (("M", 1_000_000), ("k", 1000)):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


# Where a logarithmic axis of durations has its ticks, in ms.
_TICKS: Final = tuple(
    unit * number
    for unit, numbers in (
        (1, (1, 3, 10, 30, 100, 300)),
        (1000, (1, 3, 10, 30)),
        (60_000, (1, 3, 10, 30)),
        (3_600_000, (1, 3, 12)),
        (DAY_MS, (1, 3, 10, 30, 100, 365, 1000, 3650, 10_000)),
    )
    for number in numbers
)


def _durations(axis: Any, most: int = 6) -> None:
    low, high = axis.get_view_interval()
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    ticks = ticks[:: -(-len(ticks) // most)] if ticks else [round(low) or 1]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: format_duration(round(value))))
    axis.set_minor_locator(NullLocator())


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"

"""How well the models do, in a report: metrics over time, and challengers beside the champion."""

from collections.abc import Iterable, Sequence
from typing import Final

from events.messages import Versus
from jobs.html_text import Html, joined, tag
from jobs.monitor_records import Point, Track
from jobs.readable import moment, value
from jobs.report_elements import (
    DASHES,
    MOST_FIGURES,
    MOST_MARKS,
    MOST_ROWS,
    figure,
    key,
    missing,
    nothing,
    shade,
    table,
    verdict,
)
from jobs.report_plots import Line, Mark
from jobs.report_view import View, dash, metric_names

_VERDICTS: Final = {
    "better": "It is better: the whole interval lies below 0.",
    "worse": "It is worse: the whole interval lies above 0.",
    "open": "Open: the difference is not told from chance.",
}

# Metrics


def metrics(view: View) -> Html:
    """A figure for each metric of each monitor, and the same in numbers."""
    if not view.config.metrics:
        return missing("metrics")
    if not view.tracks:
        return nothing("metrics")
    marks = _marks(view)
    parts: list[Html | None] = []
    for monitor in dict.fromkeys(track.key.monitor for track in view.tracks):
        tracks = [track for track in view.tracks if track.key.monitor == monitor]
        names = dict.fromkeys(name for track in tracks for name in metric_names(track))
        drawn = [_metric(view, name, tracks, marks) for name in list(names)[:MOST_FIGURES]]
        if len(view.tracks) > len(tracks):
            parts.append(tag("h3", f"Monitor {monitor}"))
        parts.append(tag("div", *drawn, class_="figures"))
        parts.append(_confusions(tracks))
    return joined(_legend(view, marks), *parts, _windows(view))


def _marks(view: View) -> list[Mark]:
    marks = [
        Mark(alert.event_time, "good" if alert.kind == "recovered" else "bad")
        for alert in view.board.alerts
        if alert.model is not None and alert.event_time is not None
    ]
    marks += [Mark(time, "control") for time, _ in view.in_time()]
    return marks[-MOST_MARKS:]


def _legend(view: View, marks: Sequence[Mark]) -> Html:
    shown = dict.fromkeys(track.key[1:] for track in view.tracks)
    items = [
        key(f"{model} ({role})", shade(view.colors[model]), DASHES[dash(role)])
        for model, role in shown
    ]
    kinds = {mark.kind for mark in marks}
    for kind, said in (("bad", "drift"), ("good", "recovered")):
        if kind in kinds:
            items.append(key(said, f"var(--{kind})", upright=True))
    if "control" in kinds:
        items.append(key("control message", "var(--control)", "4 2", upright=True))
    note = (
        "The line is about the last evaluations known at each time, the thin one about all of "
        "them. Dots are spans of event time, by when their transactions were; a hollow one is "
        "still open: labels may come."
    )
    return joined(
        tag("ul", *(tag("li", item) for item in items), class_="legend"),
        tag("p", note, class_="note"),
    )


def _metric(view: View, name: str, tracks: Sequence[Track], marks: Sequence[Mark]) -> Html:
    lines, said = [], []
    for track in tracks:
        window = _series(track.window, name)
        every = _series(track.every, name)
        spans = [
            ((span.begin + span.end) // 2, span.values[name], span.closed)
            for span in sorted(track.spans.values())
            if name in span.values
        ]
        if not (window or every or spans):
            continue
        lines.append(Line(view.color(track), dash(track.key.role), window, every, spans))
        if window:
            said.append(_in_words(track, window))
    title = "Rate above the threshold" if name == "rate" else name
    drawing = view.plots.metric(lines, view.whole, marks)
    return figure(title, drawing, " ".join(said) or "By event time only.")


def _series(points: Iterable[Point], name: str) -> list[tuple[int, float]]:
    return sorted((point.time, point.values[name]) for point in points if name in point.values)


def _in_words(track: Track, window: Sequence[tuple[int, float]]) -> str:
    lowest, highest = min(known for _, known in window), max(known for _, known in window)
    name = f"{track.key.model} ({track.key.role}): {value(window[-1][1])} at the end"
    return f"{name}, {value(lowest)} to {value(highest)} over time."


def _confusions(tracks: Sequence[Track]) -> Html | None:
    drawn = []
    for track in tracks:
        if track.last is None:
            continue
        for name, matrix in track.last.metrics.items():
            if (
                isinstance(matrix, dict)
                and matrix
                and all(isinstance(row, dict) for row in matrix.values())
            ):
                title = f"{name}: {track.key.model} ({track.key.role}), all evaluations"
                drawn.append(tag("div", tag("h3", title), _matrix(matrix)))
    return tag("div", *drawn, class_="figures") if drawn else None


def _matrix(matrix: dict[str, dict[str, int]]) -> Html:
    said = sorted({label for row in matrix.values() for label in row} | set(matrix))[:12]
    columns = [("the truth", False), *((f"said {label}", True) for label in said)]
    rows = [
        [truth, *(f"{matrix[truth].get(label, 0):,}" for label in said)]
        for truth in sorted(matrix)[:12]
    ]
    return table(columns, rows)


def _windows(view: View) -> Html:
    """The last windows in numbers, for those who cannot see the figures, or want more digits."""
    tables = []
    for track in view.tracks:
        points = list(track.window)[-MOST_ROWS:][::-1]
        if not points:
            continue
        names = list(dict.fromkeys(name for point in points for name in point.values))[:8]
        columns = [("clock", False), ("evaluations", True), *((name, True) for name in names),
                   ("version", False)]  # fmt: skip
        rows = [
            [
                moment(point.time),
                f"{point.n:,}",
                *(value(point.values.get(name)) for name in names),
                tag("code", point.version or "–"),
            ]
            for point in points
        ]
        tables.append(tag("h3", f"{track.key.model} ({track.key.role}), {track.key.monitor}"))
        tables.append(table(columns, rows))
    return tag("details", tag("summary", "The windows in numbers, with versions"), *tables)


# Champion and challengers


def challengers(view: View) -> Html:
    """A figure for each model that answered what the champion did: the difference, and how sure."""
    if not view.config.metrics:
        return missing("metrics")
    drawn = []
    for track in view.tracks:
        points = [
            (point.time, point.versus.difference, point.versus.low, point.versus.high)
            for point in track.every
            if point.versus is not None
        ]
        last = track.last.versus if track.last is not None else None
        if points and isinstance(last, Versus):
            title = joined(f"{track.key.model} ", verdict(last), f" {last.model}")
            drawing = view.plots.versus(points, view.whole, view.color(track))
            drawn.append(figure(title, drawing, _versus_words(view, track, last)))
    if not drawn:
        text = "No model stands beside a champion on transactions that both have answered."
        return tag("p", text, class_="missing")
    note = (
        "Mean loss of a model less that of the champion on the same transactions: wrong or not "
        "(classification), absolute error (regression). The band is an interval that may be looked "
        "at at any time; only where all of it lies on one side of 0 is the difference real."
    )
    return joined(tag("p", note, class_="note"), tag("div", *drawn, class_="figures"))


def _versus_words(view: View, track: Track, last: Versus) -> str:
    confidence = next(
        (each.confidence for each in view.config.monitors if each.name == track.key.monitor), 0.95
    )
    text = (
        f"Of {last.n:,} transactions that both have answered, {track.key.model} did better on "
        f"{last.wins:,} and {last.model} on {last.losses:,}; mean difference "
        f"{last.difference:+.4g}"
    )
    if last.low is not None and last.high is not None:
        text += f", {confidence:.0%} interval {last.low:+.4g} to {last.high:+.4g}"
    return f"{text}. {_VERDICTS[last.verdict]}"

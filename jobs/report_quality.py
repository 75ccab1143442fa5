"""The stream itself, in a report: what was odd about features, and how long predictions took."""

from typing import Any, Final

from jobs.durations import format_duration
from jobs.html_text import Html, joined, tag
from jobs.monitor_records import Thinned
from jobs.readable import moment, share
from jobs.report_elements import DASHES, duration, figure, key, missing, nothing, shade
from jobs.report_facts import Latency
from jobs.report_plots import Range
from jobs.report_view import View

MOST_FEATURES: Final = 8
_ODD: Final = {
    "missing": "missing",
    "new": "never seen before",
    "out_of_range": "out of its range",
    "other_type": "of another type",
}

# Data quality


def quality(view: View) -> Html:
    """A figure for each monitor that looks at features: the oddest of them."""
    if not view.config.metrics:
        return missing("metrics")
    if not view.board.quality:
        if not any(monitor.data_quality for monitor in view.config.monitors):
            text = "Missing: no [[monitor]] looks at the quality of data. To have it shown, add"
            example = '[[monitor]]\nname = "quality"\ndata_quality = {}'
            return joined(tag("p", text, class_="missing"), tag("pre", example))
        return nothing("metrics")
    return joined(*(_odd(view, name, series) for name, series in view.board.quality.items()))


def _odd(view: View, monitor: str, series: Thinned[Any]) -> Html:
    highest: dict[tuple[str, str], float] = {}
    records = list(series)
    for record in records:
        for kind in _ODD:
            for feature, count in getattr(record, kind).items():
                now = count / max(record.n, 1)
                highest[kind, feature] = max(highest.get((kind, feature), 0.0), now)
    chosen = sorted(highest, key=lambda odd: -highest[odd])[:MOST_FEATURES]
    if not chosen:
        return tag("p", f"{monitor}: nothing was odd in {series.count:,} records.")
    lines = [
        (
            number,
            [
                (record.clock, getattr(record, kind).get(feature, 0) / max(record.n, 1))
                for record in records
            ],
        )
        for number, (kind, feature) in enumerate(chosen)
    ]
    items = [
        tag("li", key(f"{feature} {_ODD[kind]}, up to {share(highest[kind, feature])}",
                      shade(number), DASHES[number % 4]))
        for number, (kind, feature) in enumerate(chosen)
    ]  # fmt: skip
    worst_kind, worst = chosen[0]
    caption = (
        f"Share of the transactions of each record. Worst: {worst} {_ODD[worst_kind]} in "
        f"{share(highest[chosen[0]])}."
    )
    if len(highest) > len(chosen):
        caption += f" {len(highest) - len(chosen)} more are not drawn."
    drawing = view.plots.shares(lines, view.whole)
    drawn = figure(f"Odd features, by monitor {monitor}", drawing, caption)
    return joined(tag("ul", *items, class_="legend"), tag("div", drawn, class_="figures"))


# Latency


def latency(view: View) -> Html:
    """From event time to prediction: how long, and how that went over time."""
    found = view.material.latency
    if found is None:
        return missing("predictions")
    if not found.count:
        return nothing("predictions")
    if not found.live:
        made = f"{moment(found.first_at)} to {moment(found.last_at)} UTC"
        text = (
            f"Not shown: only {found.soon:,} of {found.count:,} predictions were made within an "
            "hour of their transactions, so most are of a replay or a backfill, and the time "
            f"between says nothing about the job. They were made {made}, "
            f"{duration(found.whole.quantile(0.5))} after their transactions in the median."
        )
        return tag("p", text, class_="missing")
    return tag("div", _distribution(view, found), _over_time(view, found), class_="figures")


def _distribution(view: View, found: Latency) -> Html:
    caption = (
        f"From event time to prediction, {found.count:,} predictions: half within "
        f"{duration(found.whole.quantile(0.5))}, 99% within "
        f"{duration(found.whole.quantile(0.99))}, the slowest {duration(found.whole.longest)}. It "
        "holds whatever came before the job, too: producers, brokers, clocks that differ."
    )
    if found.early:
        caption += f" {found.early:,} were made before their transactions, by these clocks."
    return figure("Distribution", view.plots.durations(found.whole), caption)


def _over_time(view: View, found: Latency) -> Html:
    points = [
        (begin + found.width_ms // 2, each.quantile(0.5) or 1.0, each.quantile(0.99) or 1.0)
        for begin, each in sorted(found.spans.items())
    ]
    # Of its own: what monitors have told may be about other times, or there is no monitor.
    whole = Range(points[0][0], points[-1][0])
    caption = (
        "Median (line) and 99th percentile (dotted) by event time, in spans of "
        f"{format_duration(found.width_ms)}."
    )
    return figure("Over time", view.plots.latency(points, whole), caption)

"""What labels tell, in a report: how late and how many they are, and whether probabilities hold."""

from collections.abc import Sequence

from jobs.durations import format_duration
from jobs.html_text import Html, joined, tag
from jobs.monitor_records import Span, Track
from jobs.readable import moment, share, value
from jobs.report_elements import MOST_FIGURES, MOST_ROWS, duration, figure, missing, nothing, table
from jobs.report_view import View, metric_names

# Labels


def labels(view: View) -> Html:
    """How long true labels took, and what predictions of each span of event time came to."""
    if not view.config.metrics:
        return joined(missing("metrics"), _delay_histogram(view))
    drawn = [_delays(view), _delay_histogram(view)]
    with_spans = [track for track in view.tracks if track.spans]
    drawn += [_cohorts(view, track) for track in with_spans[:MOST_FIGURES]]
    if not any(drawn):
        return nothing("metrics")
    note = (
        "A prediction is judged when its label comes. What is known of the last hours is about "
        "those transactions whose labels came fast, and may be unlike the rest."
    )
    return joined(
        tag("p", note, class_="note"),
        tag("div", *drawn, class_="figures"),
        _cohort_table(with_spans[0]) if with_spans else None,
    )


def _delays(view: View) -> Html | None:
    lines = []
    for track in view.tracks:
        points = [
            (point.time, point.delays.p50, point.delays.p99)
            for point in track.every
            if point.delays and point.delays.p50 is not None and point.delays.p99 is not None
        ]
        if points:
            lines.append((view.color(track), points))
    if not lines:
        return None
    track = view.tracks[0]
    caption = (
        "Median (line) and 99th percentile (dotted) of how long true labels took, as far as "
        f"known at each time. {track.key.model} at the end: {_delay_words(track)}"
    )
    return figure("Label delay over time", view.plots.delays(lines, view.whole), caption)


def _delay_words(track: Track) -> str:
    delays = None if track.last is None else track.last.delay_ms
    p50, p99 = getattr(delays, "p50", None), getattr(delays, "p99", None)
    if p50 is None or p99 is None:
        return "no label yet."
    return f"half within {duration(p50)}, 99% within {duration(p99)}."


def _delay_histogram(view: View) -> Html | None:
    """Of the first model that has true labels."""
    found = view.material.evaluations
    models = found.models if found else {}
    first = next((name for name, each in models.items() if each.delays.count), None)
    if first is None:
        return None
    delays = models[first].delays
    caption = (
        f"{delays.count:,} true labels of {first}'s transactions: half within "
        f"{duration(delays.quantile(0.5))}, 99% within {duration(delays.quantile(0.99))}, the "
        f"slowest {duration(delays.longest)}."
    )
    return figure("How long labels took", view.plots.durations(delays), caption)


def _cohorts(view: View, track: Track) -> Html:
    spans = sorted(track.spans.values())
    shown = _together(spans)
    metric = _judged_by(track)
    drawing = view.plots.cohorts(shown, metric, view.whole, view.color(track))
    predicted = sum(span.predicted for span in spans)
    labelled, assumed = sum(s.labelled for s in spans), sum(s.assumed for s in spans)
    still = sum(not span.closed for span in spans)
    width = format_duration(spans[0].end - spans[0].begin)
    of = f"{predicted:,} predictions in {len(spans):,} spans of {width}"
    known = share(labelled / predicted if predicted else None)
    caption = f"{of}: {known} with a true label (filled)"
    if assumed:
        caption += f", {share(assumed / predicted)} with an assumed one only (amber)"
    unlabelled = sum(span.unlabelled for span in spans)
    if unlabelled:
        caption += f", {share(unlabelled / predicted)} with none (hatched)"
    caption += f". {still:,} spans are still open: their labels may come yet"
    caption += f" (hollow dots: {metric} so far)." if metric else "."
    if len(shown) < len(spans):
        caption += f" Drawn as {len(shown):,} bars; their dots are left out."
    if track.spans_dropped:
        caption += f" {track.spans_dropped:,} older spans are not shown."
    return figure(f"What is known: {track.key.model} ({track.key.role})", drawing, caption)


def _together(spans: Sequence[Span], most: int = 120) -> list[Span]:
    """Neighbours as one until no more are left than can be told apart; their metrics are lost."""
    shown = list(spans)
    while len(shown) > most:
        pairs = [shown[place : place + 2] for place in range(0, len(shown), 2)]
        shown = [
            Span(
                pair[0].begin,
                pair[-1].end,
                all(span.closed for span in pair),
                sum(span.predicted for span in pair),
                sum(span.labelled for span in pair),
                sum(span.assumed for span in pair),
                sum(span.n for span in pair),
                {},
            )
            for pair in pairs
        ]
    return shown


def _judged_by(track: Track) -> str | None:
    return next((name for name in metric_names(track) if name != "rate"), None)


def _cohort_table(track: Track) -> Html:
    metric = _judged_by(track)
    columns = [("from", False), ("predicted", True), ("labelled", True), ("assumed", True),
               ("unlabelled", True), (f"{metric} so far" if metric else "metric", True),
               ("state", False)]  # fmt: skip
    newest = sorted(track.spans.values())[-MOST_ROWS:][::-1]
    rows = [
        [
            moment(span.begin),
            f"{span.predicted:,}",
            f"{span.labelled:,}",
            f"{span.assumed:,}",
            f"{span.unlabelled:,}",
            value(span.values.get(metric) if metric else None),
            "closed" if span.closed else "open",
        ]
        for span in newest
    ]
    text = f"The newest {len(newest):,} spans of {track.key.model} in numbers"
    return tag("details", tag("summary", text), table(columns, rows))


# Calibration


def calibration(view: View) -> Html:
    """Of each model, how often what it gave a probability came true."""
    evaluations = view.material.evaluations
    if evaluations is None:
        return missing("evaluations")
    if not evaluations.models:
        return nothing("evaluations")
    drawn: list[Html] = []
    for name, each in list(evaluations.models.items())[:MOST_FIGURES]:
        found = each.calibration
        if not found.count:
            continue
        number = view.colors.get(name, len(drawn))
        true = found.of == "true"
        what = "the label was true" if true else "the predicted label was right"
        caption = (
            f"How often {what}, by the probability that {name} gave it: {found.count:,} "
            "predictions with a true label. On the dashed line, what is said to happen in 30% of "
            f"cases does. Mean distance from it: {found.error():.3f}. Bars are 95% intervals."
        )
        drawn.append(figure(name, view.plots.calibration(found, number), caption))
    if not drawn:
        text = "No evaluation has probabilities: none is of a classification."
        return tag("p", text, class_="missing")
    more = None
    if evaluations.corrected_more:
        more = tag("p", "More labels were corrected than are followed here; the others count "
                   "twice.", class_="note")  # fmt: skip
    return joined(tag("div", *drawn, class_="figures"), more)

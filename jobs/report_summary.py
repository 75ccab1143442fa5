"""The beginning of a report: where each model stands, and what happened when."""

from collections.abc import Sequence
from typing import Any, Final

from events.messages import Alert, Versus
from jobs.html_text import Html, joined, tag
from jobs.monitor_records import Track, former
from jobs.readable import moment, share, value
from jobs.report_elements import MOST_ROWS, duration, missing, nothing, shade, table, verdict
from jobs.report_facts import Message
from jobs.report_plots import NARROW, WIDE, Row
from jobs.report_view import View

MOST_STREAMS: Final = 24

# Summary


def summary(view: View) -> Html:
    """A row for each model in a role, and which alerts are open."""
    if not view.config.metrics:
        return joined(missing("metrics"), _counted(view))
    if not view.tracks:
        return joined(nothing("metrics"), _counted(view))
    names = list(
        dict.fromkeys(
            name for track in view.tracks for name in (_newest(track) or {}) if name != "rate"
        )
    )[:4]
    columns = [("model", False), ("role", False), ("evaluated", True)]
    columns += [(name, True) for name in names]
    columns += [("no true label", True), ("label delay p50 / p99", True),
                ("beside the champion", False), ("version", False)]  # fmt: skip
    several = len({track.key.monitor for track in view.tracks}) > 1
    rows = []
    for track in view.tracks:
        last, values = track.last, _newest(track) or {}
        model = f"{track.key.model} ({track.key.monitor})" if several else track.key.model
        window = track.window.last
        rows.append(
            [
                tag("span", _swatch(view.color(track)), " ", model, class_="whole"),
                _role(view, track),
                f"{last.n:,}" if last else f"{window.n:,}" if window else "–",
                *(value(values.get(name)) for name in names),
                share(last.unlabelled if last and last.unlabelled else None),
                _delay(last),
                _against(last.versus if last and isinstance(last.versus, Versus) else None),
                tag("code", (last.version if last else None) or "–"),
            ]
        )
    most = max((track.window.last.n for track in view.tracks if track.window.last), default=0)
    note = (
        f"Metrics are of the last {most:,} evaluations at the most. No true label: predictions "
        "without one, those with an assumed label included."
    )
    return joined(table(columns, rows), tag("p", note, class_="note"), _open_alerts(view))


def _counted(view: View) -> Html | None:
    """Without a monitor, at least what the evaluations count."""
    found = view.material.evaluations
    if found is None or not found.models:
        return None
    columns = [("model", False), ("true labels", True), ("assumed only", True),
               ("label delay p50", True)]  # fmt: skip
    rows = [
        [
            name,
            f"{each.delays.count:,}",
            f"{each.sources['assumed']:,}",
            duration(each.delays.quantile(0.5)),
        ]
        for name, each in found.models.items()
    ]
    return joined(tag("h3", "By the evaluations"), table(columns, rows))


def _open_alerts(view: View) -> Html | None:
    still = [stream for stream in view.streams if stream.open is not None]
    if not view.config.stored("alerts"):
        return None
    if not still:
        text = "No drift or data quality alert is open."
        return tag("p", tag("span", "all quiet", class_="badge good"), f" {text}")
    said = [f"{stream.name} since {moment(stream.open)}" for stream in still[:5]]
    more = f" and {len(still) - 5} more" if len(still) > 5 else ""
    badge = tag("span", f"{len(still)} open", class_="badge bad")
    return tag("p", badge, f" {'; '.join(said)}{more}.")


def _newest(track: Track) -> dict[str, float] | None:
    point = track.window.last or track.every.last
    return None if point is None else point.values


def _swatch(color: int) -> Html:
    return tag("span", class_="swatch", style=f"background: {shade(color)}")


def _role(view: View, track: Track) -> Html:
    until = former(track, view.board)
    past = None if until is None else tag("span", f" until {moment(until)[:10]}", class_="whole")
    return joined(track.key.role, past)


def _delay(last: Any) -> str:
    delays = None if last is None else last.delay_ms
    p50, p99 = getattr(delays, "p50", None), getattr(delays, "p99", None)
    return "–" if p50 is None or p99 is None else f"{duration(p50)} / {duration(p99)}"


def _against(versus: Versus | None) -> Html | str:
    return "–" if versus is None else joined(verdict(versus), f" {versus.model}")


# What happened


def happened(view: View) -> Html:
    """Alerts and control messages on one line of time, and the newest alerts in words."""
    if not view.config.stored("alerts"):
        return missing("alerts")
    messages = view.in_time()
    if not view.board.alerts_told and not messages:
        return nothing("alerts")
    rows = _message_rows(messages)
    rows += [
        Row(stream.name, "bad", stream.spans(view.whole.end), stream.moments)
        for stream in view.streams[:MOST_STREAMS]
    ]
    drawn: list[Html] = []
    if rows and view.whole.end > 0:
        both = [
            tag("div", view.plots.timeline(rows, view.whole, WIDE), class_="wide"),
            tag("div", view.plots.timeline(rows, view.whole, NARROW), class_="narrow"),
        ]
        caption = (
            f"{view.board.alerts_told:,} alerts and recoveries by event time. A bar reaches from "
            "the alert to its recovery, or to the end where there was none; a diamond is a single "
            "moment."
        )
        if len(view.streams) > MOST_STREAMS:
            caption += f" {len(view.streams) - MOST_STREAMS} more kinds are not drawn."
        drawn.append(tag("figure", *both, tag("figcaption", caption)))
    return joined(*drawn, _alerts(view))


def _message_rows(messages: Sequence[tuple[int, Message]]) -> list[Row]:
    """A row for each operation on each model, or one for all where those are many."""
    found: dict[str, list[int]] = {}
    for time, message in messages:
        found.setdefault(f"control: {message.op} {message.model}", []).append(time)
    if len(found) > MOST_ROWS // 4:
        found = {"control messages": [time for time, _ in messages]}
    return [Row(name, "control", [], times) for name, times in found.items()]


def _alerts(view: View) -> Html | None:
    newest = sorted(view.board.alerts, key=_time_of)[-MOST_ROWS:][::-1]
    if not newest:
        return None
    columns = [("event time", False), ("what", False), ("about", False), ("detail", False),
               ("transaction", False), ("found by", False)]  # fmt: skip
    rows = [
        [
            moment(_time_of(alert)),
            _kind(alert),
            _about(alert),
            alert.detail,
            tag("code", alert.id or "–"),
            alert.detector if isinstance(alert.detector, str) else "–",
        ]
        for alert in newest
    ]
    shown = f"The newest {len(newest):,} of {view.board.alerts_told:,} alerts"
    return tag("details", tag("summary", shown), table(columns, rows))


def _time_of(alert: Alert) -> int:
    return alert.at if alert.event_time is None else alert.event_time


def _kind(alert: Alert) -> Html:
    kind = "good" if alert.kind == "recovered" else "bad"
    return tag("span", alert.kind.replace("_", " "), class_=f"badge {kind}")


def _about(alert: Alert) -> str:
    if alert.model is not None:
        role = f" ({alert.role})" if isinstance(alert.role, str) else ""
        return f"{alert.model}{role}"
    return f"feature {alert.feature}" if isinstance(alert.feature, str) else "–"

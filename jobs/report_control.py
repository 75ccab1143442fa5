"""The end of a report: versions, control messages, dead letters, and what the report has read."""

from collections.abc import Iterable, Sequence

from jobs.html_text import Html, joined, tag
from jobs.monitor_records import Point
from jobs.readable import moment
from jobs.report_elements import MOST_MARKS, MOST_ROWS, figure, missing, nothing, table
from jobs.report_facts import Message
from jobs.report_plots import Line, Mark
from jobs.report_view import View, dash
from state.versions import parse_version

# Versions and control messages


def control(view: View) -> Html:
    """How the models changed: by learning, and by what was sent."""
    return joined(_versions(view), _messages(view))


def _versions(view: View) -> Html | None:
    lines, said = [], []
    for track in view.tracks:
        learned = _learned(track.every)
        if not learned or track.last is None:
            continue
        lines.append(Line(view.color(track), dash(track.key.role), [], learned, []))
        first, last = next(iter(track.every)).version, track.last.version
        way = f"stayed at {first}" if first == last else f"from {first} to {last}"
        said.append(f"{track.key.model} ({track.key.role}) {way}.")
    if not lines:
        return None
    marks = [Mark(time, "control") for time, _ in view.in_time()][-MOST_MARKS:]
    drawing = view.plots.learned(lines, view.whole, marks)
    caption = (
        "Examples learned by the version of the last transaction or label heard of at each time. "
        f"{' '.join(said)}"
    )
    return tag("div", figure("Examples learned, by version", drawing, caption), class_="figures")


def _learned(points: Iterable[Point]) -> list[tuple[int, float]]:
    """Examples in the version at each time; nothing with lanes, where each has its own."""
    found = []
    for point in points:
        try:
            version = parse_version(point.version or "")
        except ValueError:
            continue
        if version.lane is None:
            found.append((point.time, float(version.n)))
    return found


def _messages(view: View) -> Html:
    messages = view.material.messages
    if messages is None:
        if view.config.control is None:
            text = "The configuration has no [control]: models change by learning only."
            return tag("p", text, class_="missing")
        return missing("control_acks", "control_log")
    if not messages:
        return nothing("control_acks")
    columns = [("takes effect", False), ("operation", False), ("model", False),
               ("issuer", False), ("answer", False), ("version", False),
               ("answered", False)]  # fmt: skip
    rows = [
        [
            moment(message.effective),
            message.op,
            message.model,
            f"{message.issuer} {message.seq}",
            _answer(message),
            tag("code", message.version or "–"),
            moment(message.at),
        ]
        for message in messages[-MOST_ROWS:][::-1]
    ]
    count = f"Control messages, the newest {len(rows):,} of {len(messages):,}"
    return joined(tag("h3", count), _unmarked(view, messages), table(columns, rows))


def _answer(message: Message) -> Html:
    if message.accepted is None:
        return tag("span", "none yet", class_="badge open")
    if message.accepted:
        return tag("span", "accepted", class_="badge good")
    return joined(tag("span", "refused", class_="badge bad"), f" {message.reason}")


def _unmarked(view: View, messages: Sequence[Message]) -> Html | None:
    """Why figures have no mark where messages took effect."""
    took = [m for m in messages if m.effective is not None and m.accepted is not False]
    outside = len(took) - len(view.in_time())
    if outside > 0:
        text = (
            f"{outside:,} took effect by the clock of the job, outside the event times of this "
            "report, and are marked in no figure: in a replay in the order of arrival these are "
            "two times."
        )
    elif not view.config.control_log:
        text = (
            "Without [control_log] it is not known when messages took effect, so none is marked in "
            "the figures."
        )
    else:
        return None
    return tag("p", text, class_="note")


# Dead letters


def letters(view: View) -> Html:
    """Records that were refused, by reason, and the first of each."""
    found = view.material.dead_letters
    if found is None:
        return missing("dead_letters")
    if not found:
        return tag("p", "None: every record was understood.", class_="missing")
    shown = found[:MOST_ROWS]
    total = sum(each.records for each in found)
    drawing = view.plots.bars([(each.reason, each.records) for each in shown[:16]])
    caption = f"{total:,} records were refused; the most frequent reason is {shown[0].reason}."
    columns = [("reason", False), ("at", False), ("records", True), ("the first at", False),
               ("because", False)]  # fmt: skip
    rows = [
        [
            each.reason,
            each.stage,
            f"{each.records:,}",
            tag("code", each.position or "–"),
            each.detail,
        ]
        for each in shown
    ]
    return joined(
        tag("div", figure("By reason", drawing, caption), class_="figures"),
        tag("h3", "The first of each"),
        table(columns, rows),
    )


# What was read


def read(view: View) -> Html:
    """Each output with its records, and lines that are none."""
    tallies = view.material.tallies
    if not tallies:
        return tag("p", "None of the outputs that a report reads is configured.", class_="missing")
    columns = [("output", False), ("records", True), ("lines left out", True),
               ("the first of them", False)]  # fmt: skip
    rows = [
        [tag("code", f"[{output}]"), f"{tally.records:,}", f"{tally.refused:,}",
         (tally.first_refused or "–")[:300]]
        for output, tally in tallies.items()
    ]  # fmt: skip
    text = (
        "Left out are lines that are no record of the output: cut short while they were written, "
        "or written by something else."
    )
    return joined(tag("p", text, class_="note"), table(columns, rows))

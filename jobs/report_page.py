"""The page of a report: its sections one below the other, each written by a module of its own."""

from collections.abc import Callable
from typing import Final

from jobs.durations import readable_duration
from jobs.html_text import Html, tag
from jobs.readable import moment
from jobs.report_control import control, letters, read
from jobs.report_labels import calibration, labels
from jobs.report_metrics import challengers, metrics
from jobs.report_quality import latency, quality
from jobs.report_style import POLICY, style_sheet
from jobs.report_summary import happened, summary
from jobs.report_view import Material, View

# The id that links lead to, the title, and what writes the rest.
_SECTIONS: Final[tuple[tuple[str, str, Callable[[View], Html]], ...]] = (
    ("summary", "Summary", summary),
    ("happened", "What happened", happened),
    ("metrics", "Metrics over time", metrics),
    ("challengers", "Champion and challengers", challengers),
    ("labels", "Labels: how late, how many", labels),
    ("calibration", "Calibration", calibration),
    ("quality", "Data quality", quality),
    ("latency", "Latency", latency),
    ("control", "Versions and control messages", control),
    ("letters", "Dead letters", letters),
    ("read", "What was read", read),
)


def page(material: Material) -> str:
    """A whole HTML document."""
    view = View(material)
    name = view.config.job.name
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{name}: report"),
        style_sheet(),
    )
    links = [tag("a", title, href=f"#{place}") for place, title, _ in _SECTIONS]
    sections = [
        tag("section", tag("h2", title, id=f"{place}-title"), write(view), id=place,
            aria_labelledby=f"{place}-title")
        for place, title, write in _SECTIONS
    ]  # fmt: skip
    made = f"Made {moment(material.made_at)} UTC by riverrun report. All times are in UTC."
    body = tag(
        "body",
        tag("header", tag("h1", name), _lead(view), tag("nav", *links)),
        tag("main", *sections),
        tag("footer", tag("p", made)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _lead(view: View) -> Html:
    words = []
    if view.whole.end:
        begin, end = view.whole
        long = readable_duration(end - begin)
        words.append(f"Event time {moment(begin)} to {moment(end)} UTC ({long}).")
    refused = sum(tally.refused for tally in view.material.tallies.values())
    if refused:
        words.append(f"{refused:,} lines that are no record were left out; see What was read.")
    return tag("p", " ".join(words) or "Nothing was told by a monitor yet.", class_="lead")

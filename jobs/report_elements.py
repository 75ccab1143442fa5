"""What sections of a report are made of: tables, figures, badges, and what they say of nothing."""

from collections.abc import Iterable, Sequence
from typing import Final

from events.messages import Versus
from jobs.durations import readable_duration
from jobs.html_text import Html, joined, tag

# Of rows in a table, of figures in a section, of marks in a figure.
MOST_ROWS: Final = 40
MOST_FIGURES: Final = 24
MOST_MARKS: Final = 40
# Those of jobs/report_plots.py, as SVG writes them.
DASHES: Final = (None, "5 1.5", "1.5 1.5", "6 1.5 1.5 1.5")


def table(columns: Sequence[tuple[str, bool]], rows: Iterable[Sequence[str]]) -> Html:
    """A table whose first column names its rows; on a phone each row is a card.

    Parameters
    ----------
    columns
        Name, and whether what stands there are numbers.
    """
    head = [
        tag("th", name, scope="col", class_="number" if number else None)
        for name, number in columns
    ]
    body = []
    for row in rows:
        cells = [tag("th", row[0], scope="row")]
        for (name, number), cell in zip(columns[1:], row[1:], strict=True):
            inner = tag("span", cell)
            cells.append(
                tag("td", inner, class_="number" if number else None, data_label=name or None)
            )
        body.append(tag("tr", *cells))
    made = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body))
    return tag("div", made, class_="table")


def figure(title: str, drawing: Html, caption: str) -> Html:
    """A drawing under its title, with what it shows in words."""
    return tag("figure", tag("h3", title), tag("div", drawing), tag("figcaption", caption))


def missing(*outputs: str) -> Html:
    """What a configuration lacks, and how it is added."""
    names = " and ".join(f"[{output}]" for output in outputs)
    example = "\n\n".join(
        f'[{output}]\nconnector = "file"\npath = "out/{output}"' for output in outputs
    )
    if "metrics" in outputs:
        example = f'[[monitor]]\nname = "quality"\n\n{example}'
    return joined(
        tag(
            "p",
            f"Missing: the configuration has no {names}. To have this shown, add",
            class_="missing",
        ),
        tag("pre", example),
    )


def nothing(output: str) -> Html:
    """An output that is configured and empty."""
    return tag("p", f"Nothing yet: [{output}] holds no records.", class_="missing")


def verdict(versus: Versus) -> Html:
    """How a model does beside the champion, as a badge."""
    kind = {"better": "good", "worse": "bad", "open": "open"}[versus.verdict]
    said = {"better": "better than", "worse": "worse than", "open": "not told from"}
    return tag("span", said[versus.verdict], class_=f"badge {kind}")


def key(text: str, color: str, dashes: str | None = None, *, upright: bool = False) -> Html:
    """An entry of a legend: a short line as it is drawn, and what it stands for."""
    line = tag(
        "path",
        d="M15 0V12" if upright else "M0 6H30",
        style=f"stroke: {color}; stroke-width: 2; fill: none",
        stroke_dasharray=dashes,
    )
    return joined(tag("svg", line, viewBox="0 0 30 12", aria_hidden="true"), text)


def shade(number: int) -> str:
    """The colour of a series outside of figures: a variable of the style sheet.

    >>> shade(1), shade(9)
    ('var(--s1)', 'var(--s1)')
    """
    return f"var(--s{number % 8})"


def duration(ms: float | None) -> str:
    """A duration for people, where there may be none.

    >>> duration(740), duration(None)
    ('740 ms', '–')
    """
    return "–" if ms is None else readable_duration(ms)

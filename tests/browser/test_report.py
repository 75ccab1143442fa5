"""A report in a real browser: drawn whole, quiet, and readable on a phone and in the dark."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.report import report
from tests.browser import chromium
from tests.browser.chromium import Page
from tests.jobs import monitored

PHONE, DESK = 390, 1280


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser-report")
    config, _ = monitored.ran(folder)
    report(config, folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    try:
        program = chromium.require()
    except chromium.NoBrowser as error:
        pytest.skip(str(error))
    with chromium.browsing(program, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("dark", [False, True])
def test_it_asks_for_nothing_says_nothing_and_scrolls_down_only(
    page: Page, file: Path, width: int, dark: bool
) -> None:
    page.open(file, width=width, height=900, dark=dark)
    assert page.requests() == [file.as_uri()]
    assert page.complaints() == []
    # Opened, too: what is folded away is as wide as what is not.
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    # No table scrolls by itself, either.
    wide = """[...document.querySelectorAll('.table')]
        .filter(each => each.scrollWidth > each.clientWidth).length"""
    if width == PHONE:
        assert page.evaluate(wide) == 0
        # Rows are cards: a cell has the width of the screen, not a column of it.
        narrowest = """Math.min(...[...document.querySelectorAll('td')]
            .map(each => each.getBoundingClientRect().width))"""
        assert page.evaluate(narrowest) > 250


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_every_figure_is_drawn(page: Page, file: Path, width: int) -> None:
    page.open(file, width=width, height=900)
    figures = page.evaluate(
        """[...document.querySelectorAll('figure')].map(figure => ({
            title: figure.querySelector('h3, figcaption').textContent,
            caption: figure.querySelector('figcaption').textContent.length,
            // One of two is meant for the other width.
            drawn: [...figure.querySelectorAll('svg')].map(svg => svg.getBoundingClientRect())
                .filter(box => box.width > 250 && box.height > 40).length,
            marks: [...figure.querySelectorAll('svg path, svg use')].filter(mark => {
                const box = mark.getBoundingClientRect();
                return box.width + box.height > 0;
            }).length,
        }))"""
    )
    assert len(figures) >= 14
    for figure in figures:
        assert figure["drawn"] == 1, figure
        assert figure["marks"] > 8, figure
        assert figure["caption"] > 40, figure


def test_it_follows_the_reader_into_the_dark(page: Page, file: Path) -> None:
    def brightness(css: str, element: str) -> float:
        color = page.evaluate(
            f"getComputedStyle(document.querySelector({element!r})).getPropertyValue({css!r})"
        )
        values = [float(part) for part in color.removeprefix("rgb(").rstrip(")").split(",")]
        return sum(values) / len(values)

    shown = {}
    for dark in (False, True):
        page.open(file, width=DESK, height=900, dark=dark)
        shown[dark] = {
            "page": brightness("background-color", "body"),
            "paper": brightness("background-color", "section"),
            "text": brightness("color", "body"),
            "figure": brightness("fill", "figure svg text"),
        }
    assert min(shown[False]["page"], shown[False]["paper"]) > 230
    assert max(shown[False]["text"], shown[False]["figure"]) < 110
    assert max(shown[True]["page"], shown[True]["paper"]) < 40
    assert min(shown[True]["text"], shown[True]["figure"]) > 140


def test_what_stands_in_the_data_runs_nothing(page: Page, file: Path) -> None:
    """The policy of the page, not only its escaping: a script put into it stays dead."""
    page.open(file, width=DESK, height=900)
    assert page.evaluate("document.scripts.length") == 0
    page.evaluate(
        """const added = document.createElement('script');
        added.textContent = 'window.ran = true';
        document.body.append(added)"""
    )
    assert page.evaluate("window.ran === undefined")

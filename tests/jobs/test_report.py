"""The report: what stands in it is what the outputs say, and nothing in them becomes markup."""

import json
import multiprocessing
import re
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobs import report_facts
from jobs.config import load_config
from jobs.monitor_records import (
    MOST_POINTS,
    Board,
    Tally,
    Thinned,
    former,
    read_board,
    read_metrics,
)
from jobs.report import report
from tests.jobs import monitored
from tests.jobs.monitored import EVIL, OUTPUTS, T0


class Document(HTMLParser):
    """The text of each section, and every tag there is."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.texts: dict[str, str] = {}
        self.rows: dict[str, list[list[str]]] = {}
        self._section = ""
        self._in_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "xlink:href") and v]
        if tag == "section":
            self._section = given["id"] or ""
        if tag == "tr":
            self.rows.setdefault(self._section, []).append([])
        if tag in ("td", "th"):
            self._in_cell = True
            self.rows[self._section][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        self.texts[self._section] = self.texts.get(self._section, "") + data
        if self._in_cell:
            self.rows[self._section][-1][-1] += data


class Ran:
    """A job that has run, and its report."""

    def __init__(self, folder: Path) -> None:
        self.config, self.flow = monitored.ran(folder)
        self.folder = folder
        self.reported = report(self.config, folder / "report.html")
        self.html = (folder / "report.html").read_text()
        self.document = Document(self.html)

    def records(self, output: str) -> list[dict[str, Any]]:
        texts = (self.folder / "out" / output / "part-0-0.jsonl").read_text().splitlines()
        return [json.loads(text) for text in texts]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return Ran(tmp_path_factory.mktemp("report"))


@pytest.fixture
def reported(tmp_path: Path) -> Callable[..., Document]:
    """The report of a job whose outputs were written by hand."""

    def make(**outputs: list[Any]) -> Document:
        for output, records in outputs.items():
            monitored.write_part(tmp_path, output, records)
        config = load_config(monitored.prepare(tmp_path))
        report(config, tmp_path / "report.html")
        return Document((tmp_path / "report.html").read_text())

    return make


# A run


def test_the_summary_has_the_last_records_of_each_model_in_its_role(run: Ran) -> None:
    newest: dict[tuple[str, str, str], dict[str, Any]] = {}
    for record in run.records("metrics"):
        if "scope" in record:
            newest[record["model"], record["role"], record["scope"]] = record
    head, *rows = run.document.rows["summary"]
    assert head[:5] == ["model", "role", "evaluated", "Accuracy", "F1"]
    # The promotion gave each model a second role; those that they have at the end come first.
    roles = [(row[0].strip(), row[1].split()[0]) for row in rows]
    assert roles == [
        ("second", "champion"), ("first", "challenger"), ("first", "champion"), ("second", "challenger")
    ]  # fmt: skip
    assert [" until " in row[1] for row in rows] == [False, False, True, True]
    for (model, role), row in zip(roles, rows, strict=True):
        every, window = newest[model, role, "all"], newest[model, role, "window"]
        assert row[2] == f"{every['n']:,}"
        assert row[3] == f"{window['metrics']['Accuracy']:.4g}"
        assert row[head.index("no true label")] == f"{every['unlabelled']:.1%}"
        assert row[-1] == every["version"]
        if versus := every.get("versus"):
            assert row[-2].split()[-1] == versus["model"]


def test_every_section_of_a_configured_job_shows_something(run: Ran) -> None:
    assert [name for name, text in run.document.texts.items() if "Missing:" in text] == []
    letters = run.records("dead_letters")
    assert {letter["reason"] for letter in letters} == {"bad_field"}
    assert [row[:3] for row in run.document.rows["letters"][1:]] == [
        ["bad_field", "decode", str(len(letters))]
    ]
    [message] = run.document.rows["control"][1:]
    assert message[:5] == ["2026-03-02 02:30:00", "promote", "second", "ops 1", "accepted"]
    alerts = run.records("alerts")
    assert {alert["kind"] for alert in alerts} >= {"drift", "data_quality"}
    assert len(run.document.rows["happened"]) == 1 + len(alerts)
    assert f"{len(alerts)} alerts and recoveries" in run.document.texts["happened"]


def test_what_was_read_is_what_was_written(run: Ran) -> None:
    expected = {output: len(run.records(output)) for output in OUTPUTS}
    assert run.reported.records == expected
    assert set(run.reported.left_out.values()) == {0}


def test_cohorts_are_the_last_record_of_each_span(run: Ran) -> None:
    last: dict[int, dict[str, Any]] = {}
    for record in run.records("metrics"):
        if record.get("scope") == "event_time" and (record["model"], record["role"]) == (
            "second",
            "champion",
        ):
            last[record["begin"]] = record
    rows = run.document.rows["labels"][1:]
    assert [row[1:4] + row[6:] for row in rows] == [
        [str(r["predicted"]), str(r["labelled"]), str(r["assumed"]), "closed" if r["closed"] else "open"]
        for _, r in sorted(last.items(), reverse=True)
    ]  # fmt: skip
    assert any(row[4] != "0" for row in rows)  # some have no label


def test_nothing_in_the_data_becomes_markup(run: Ran) -> None:
    assert EVIL not in run.html
    assert "script" not in run.document.tags
    assert EVIL in run.document.texts["happened"]
    assert EVIL in run.document.texts["quality"]
    assert EVIL in run.document.texts["letters"]


def test_the_page_needs_nothing_else_and_runs_nothing(run: Ran) -> None:
    assert {address[0] for address in run.document.addresses} == {"#"}
    assert set(run.document.tags) & {"script", "link", "img", "iframe", "object"} == set()
    assert re.search("Content-Security-Policy[^>]*default-src 'none'", unescape(run.html))
    assert "url(http" not in run.html and "@import" not in run.html


def test_ids_are_unique_and_what_refers_to_one_finds_it(run: Ran) -> None:
    ids = re.findall(r' id="([^"]+)"', run.html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", run.html)) <= set(ids)
    assert {address[1:] for address in run.document.addresses} <= set(ids)


def test_no_color_is_left_that_a_style_sheet_cannot_change(run: Ran) -> None:
    drawn = "".join(re.findall(r"<svg.*?</svg>", run.html, re.DOTALL))
    assert re.findall(r"#[0-9a-f]{6}\b", drawn) == []


# What is missing, empty or broken


def test_a_job_without_any_output_says_what_to_add(tmp_path: Path) -> None:
    plain = {**monitored.sections(()), "monitor": None}
    path = monitored.write_job(tmp_path, plain)
    report(load_config(path), tmp_path / "report.html")
    document = Document((tmp_path / "report.html").read_text())
    for section, output in [
        ("metrics", "metrics"), ("happened", "alerts"), ("calibration", "evaluations"),
        ("latency", "predictions"), ("letters", "dead_letters"), ("control", "control_acks"),
    ]:  # fmt: skip
        assert f'[{output}]\nconnector = "file"' in document.texts[section], section
    assert "[[monitor]]" in document.texts["metrics"]


def test_empty_outputs_make_a_report_that_says_so(reported: Callable[..., Document]) -> None:
    document = reported(metrics=[], alerts=[])
    assert "[metrics] holds no records" in document.texts["summary"]
    assert "[evaluations] holds no records" in document.texts["calibration"]
    assert "every record was understood" in document.texts["letters"]


def test_lines_that_are_no_record_are_counted_and_the_first_is_named(
    reported: Callable[..., Document], tmp_path: Path
) -> None:
    whole = monitored.metrics(T0)
    document = reported(
        metrics=[
            whole,
            '{"monitor": "watch',
            {**whole, "clock": 10**18},  # the year 31 million
            {**whole, "scope": "event_time"},  # without begin and end
            "\x00",
            monitored.metrics(T0 + 1000),
        ]
    )
    rows = {row[0]: row[1:] for row in document.rows["read"]}
    assert rows["[metrics]"][:2] == ["2", "4"]
    assert "part-0-0.jsonl:2: " in rows["[metrics]"][2]
    assert "4 lines that are no record" in document.texts[""]


def test_one_record_is_enough_for_every_figure(reported: Callable[..., Document]) -> None:
    versus = {"model": "b", "n": 1, "wins": 1, "losses": 0, "difference": -1.0, "low": None,
              "high": None, "verdict": "open"}  # fmt: skip
    delays = dict.fromkeys(("mean", "p50", "p90", "p99", "max"), 0.0)
    span = {
        "begin": T0,
        "end": T0 + 1000,
        "closed": False,
        "predicted": 1,
        "labelled": 0,
        "assumed": 0,
    }
    document = reported(
        metrics=[
            monitored.metrics(T0),
            monitored.metrics(T0, "all", versus=versus, delay_ms=delays, predicted=1, unlabelled=1.0),
            monitored.metrics(T0, "event_time", **span),
            {"monitor": "watchful", "clock": T0, "n": 1, "of_reference": 1, "missing": {"a": 1},
             "new": {}, "out_of_range": {}, "other_type": {}},
        ],
        alerts=[monitored.alert(0)],
        evaluations=[monitored.evaluation("a", True, 1.0)],
        dead_letters=[],
    )  # fmt: skip
    for section in ("happened", "metrics", "challengers", "labels", "calibration", "quality"):
        assert "holds no records" not in document.texts[section], section
    assert document.tags.count("figure") == 9


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, riverrun: Callable[..., Any]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    path = monitored.write_job(tmp_path, monitored.sections())
    done = riverrun("report", path, "--out", tmp_path / "report.html")
    assert (done.code, done.out) == (1, "")
    assert "pip install 'riverrun[report]'" in done.err
    assert not (tmp_path / "report.html").exists()


def test_the_command_says_what_it_read_and_what_it_left_out(
    tmp_path: Path, riverrun: Callable[..., Any]
) -> None:
    path = monitored.prepare(tmp_path)
    monitored.write_part(tmp_path, "alerts", [monitored.alert(1), "{}"])
    target = tmp_path / "report.html"
    target.write_text("an older one")
    done = riverrun("report", path, "--out", target)
    assert done.code == 0
    assert done.out.startswith("1 records read, ") and done.out.endswith(f"{target}\n")
    assert "[alerts]: 1 lines that are no record were left out" in done.err
    as_json = json.loads(riverrun("report", path, "--out", target, "--json").out)
    assert as_json["records"]["alerts"] == 1 and as_json["left_out"]["alerts"] == 1
    assert target.read_text().startswith("<!DOCTYPE html>")
    assert [file.name for file in tmp_path.iterdir() if file.name.endswith(".part")] == []
    nowhere = riverrun("report", path, "--out", tmp_path / "no" / "report.html")
    assert nowhere.code == 1 and "No such file or directory" in nowhere.err


# What is counted


@pytest.fixture
def evaluated(tmp_path: Path) -> Callable[..., report_facts.Evaluations]:
    def read(*records: Any) -> report_facts.Evaluations:
        monitored.write_part(tmp_path, "evaluations", records)
        return report_facts.evaluations(load_config(monitored.prepare(tmp_path)), Tally())

    return read


def test_calibration_counts_true_labels_by_predicted_probability(
    evaluated: Callable[..., report_facts.Evaluations],
) -> None:
    found = evaluated(
        monitored.evaluation("a", True, 0.25),
        monitored.evaluation("b", False, 0.28),
        monitored.evaluation("c", True, 1.0),
        monitored.evaluation("d", True, 0.95, leaked=True),
        monitored.evaluation("e", False, 0.95, source="assumed"),
    )
    calibration = found.models["first"].calibration
    assert calibration.counts == [0, 0, 2, 0, 0, 0, 0, 0, 0, 1]
    assert calibration.hits == [0, 0, 1, 0, 0, 0, 0, 0, 0, 1]
    assert calibration.total[2] == pytest.approx(0.53)
    # 0.53 against 1 hit of 2, and 1 against 1 of 1.
    assert calibration.error() == pytest.approx((1 - 0.53) / 3)
    assert found.models["first"].sources == {"label": 4, "assumed": 1}


def test_of_several_classes_it_is_whether_the_predicted_one_was_right(
    evaluated: Callable[..., report_facts.Evaluations],
) -> None:
    said = {"probabilities": {"a": 0.7, "b": 0.2, "c": 0.1}, "prediction": "a"}
    found = evaluated(
        monitored.evaluation("1", "a", 0.5, **said), monitored.evaluation("2", "b", 0.5, **said)
    )
    calibration = found.models["first"].calibration
    assert (calibration.of, calibration.counts[7], calibration.hits[7]) == ("predicted", 2, 1)


def test_a_corrected_label_takes_the_place_of_those_before(
    evaluated: Callable[..., report_facts.Evaluations],
) -> None:
    found = evaluated(
        monitored.evaluation("a", False, 0.75),
        monitored.evaluation("b", False, 0.75, source="assumed"),
        monitored.evaluation("a", True, 0.75, source="correction"),
        monitored.evaluation("b", True, 0.75, source="correction"),
        monitored.evaluation("a", False, 0.75, source="correction"),
    )
    calibration = found.models["first"].calibration
    assert (calibration.counts[7], calibration.hits[7]) == (2, 1)
    assert not found.corrected_more


def test_more_corrections_than_are_followed_are_said(
    evaluated: Callable[..., report_facts.Evaluations], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_facts, "MOST_CORRECTED", 1)
    one = [monitored.evaluation("a", False, 0.75), monitored.evaluation("a", True, 0.75, source="correction")]  # fmt: skip
    assert not evaluated(*one).corrected_more
    other = monitored.evaluation("b", True, 0.75, source="correction")
    assert evaluated(*one, other).corrected_more


def most_memory(folder: Path, count: int) -> int:
    """The most bytes that were in use at once while so many evaluations were read."""
    config = load_config(monitored.prepare(folder))
    records = (
        monitored.evaluation(f"t{n}", n % 3 == 0, (n % 97) / 97, delay_ms=n) for n in range(count)
    )
    monitored.write_part(folder, "evaluations", records)
    tracemalloc.start()
    found = report_facts.evaluations(config, Tally())
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.models["first"].calibration.count == count
    return most


def test_many_evaluations_take_no_more_memory_than_few(tmp_path: Path) -> None:
    # In a process where no other thread, of Py4J's for one, takes memory meanwhile.
    alone = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=alone) as process:
        # What is made once is made with the first.
        _, few, many = process.map(most_memory, [tmp_path] * 3, [100, 5000, 30_000])
    # Eight bytes each would be 200 kB more.
    assert many < few + 50_000


def predictions(took_ms: int, count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        at = T0 + number * 60_000
        yield {"model": "first", "event_time": at, "predicted_at": at + took_ms}


def test_latency_is_shown_for_a_live_stream_and_not_for_a_replay(
    reported: Callable[..., Document],
) -> None:
    live = [*predictions(200, 60), *predictions(10**9, 40)]
    text = reported(predictions=live).texts["latency"]
    assert "100 predictions: half within 204 ms" in text  # to within 2.4%
    replay = [*predictions(200, 40), *predictions(10**9, 60)]
    text = reported(predictions=replay).texts["latency"]
    assert "only 40 of 100 predictions were made within an hour" in text


def test_spans_of_latency_widen_instead_of_growing() -> None:
    found = report_facts.Latency()
    for number in range(10_000):
        found.add(report_facts._Predicted("m", T0 + number * 60_000, T0 + number * 60_000 + 5))
    assert len(found.spans) <= report_facts.MOST_SPANS
    assert sum(span.count for span in found.spans.values()) == 10_000
    assert found.width_ms == 64 * 60_000


def test_a_refused_message_has_one_row_and_no_mark(reported: Callable[..., Document]) -> None:
    payload = {"job": "seen", "issuer": "ops", "seq": 4, "op": "rollback", "model": "first",
               "version": "first@1-000000000000", "effective_at": T0 + 500}  # fmt: skip
    ack = {"issuer": "ops", "seq": 4, "op": "rollback", "model": "first", "accepted": False,
           "reason": "unknown_version", "version": None, "at": T0}  # fmt: skip
    document = reported(
        metrics=[monitored.metrics(T0), monitored.metrics(T0 + 1000)],
        control_log=[payload],
        control_acks=[ack],
    )
    [row] = document.rows["control"][1:]
    assert row[4] == "refused unknown_version"
    assert "control message" not in document.texts["metrics"]


# What is kept


def test_a_series_of_any_length_is_thinned_and_keeps_both_ends() -> None:
    series: Thinned[int] = Thinned()
    for number in range(100_000):
        series.add(number)
    kept = list(series)
    assert len(kept) <= MOST_POINTS + 1
    assert (kept[0], kept[-1]) == (0, 99_999)
    steps = {b - a for a, b in pairwise(kept[:-1])}
    assert len(steps) == 1


def test_an_alert_that_is_delivered_again_is_no_other(tmp_path: Path) -> None:
    monitored.write_part(tmp_path, "alerts", [monitored.alert(1), monitored.alert(1)])
    board = read_board(load_config(monitored.prepare(tmp_path)), {})
    assert (board.alerts_told, len(board.alerts)) == (1, 1)


def test_a_role_is_over_when_the_model_is_asked_in_another() -> None:
    board = Board()
    for clock, role, predicted in [
        (1000, "champion", 5), (2000, "challenger", 2), (3000, "champion", 5), (4000, "challenger", 3)
    ]:  # fmt: skip
        record = monitored.metrics(clock, "all", role=role, predicted=predicted)
        board.metrics(read_metrics(msgspec.json.encode(record)))
    found = {key.role: former(track, board) for key, track in board.tracks.items()}
    assert found == {"champion": 1000, "challenger": None}

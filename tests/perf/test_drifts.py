"""Known drifts: the streams are what they are called, and the rows say what was found."""

import json
from itertools import islice

import pytest
from river.datasets import synth

from perf import drifts
from perf.drifts import DETECTORS, QUIET, STREAMS, Alarm, Run, apart, bare, main, rows_of, run

CHANGE = 600


def test_streams_change_in_the_middle_and_not_before() -> None:
    count = 40
    usual = list(islice(synth.SEA(variant=0, seed=1, noise=0.05), count))
    for name in ("SEA, no change", "SEA, abrupt", "SEA, flipped labels", "SEA, renamed feature"):
        assert list(islice(STREAMS[name](1, count), count // 2)) == usual[: count // 2], name
    flipped = list(STREAMS["SEA, flipped labels"](1, count))[count // 2 :]
    assert flipped == [(x, not y) for x, y in usual[count // 2 :]]
    renamed = list(STREAMS["SEA, renamed feature"](1, count))[count // 2 :]
    assert [list(x) for x, _ in renamed] == [["other", 1, 2]] * (count // 2)
    assert [list(x.values()) for x, _ in renamed] == [
        list(x.values()) for x, _ in usual[count // 2 :]
    ]
    for name, stream in STREAMS.items():
        assert len(list(stream(1, count))) == count, name


@pytest.fixture(scope="module")
def flipped() -> Run:
    return run(STREAMS["SEA, flipped labels"], 1, 2 * CHANGE, 50)


def test_a_run_has_each_transactions_error_once(flipped: Run) -> None:
    # The first has no answer: nothing was learned before it.
    assert {number for number, *_ in flipped.errors} <= set(range(2 * CHANGE))
    assert len(flipped.errors) == len({number for number, *_ in flipped.errors}) > 2 * CHANGE - 60
    assert [error for _, error, _ in flipped.errors[:50]] != [0.0] * 50
    came = [came for *_, came in flipped.errors]
    assert came == sorted(came)
    assert all(came > number for number, _, came in flipped.errors)


def test_rows_say_how_late_a_change_was_found(flipped: Run) -> None:
    rows = list(rows_of("SEA, flipped labels", [flipped], 2 * CHANGE))
    assert all(row.ok for row in rows)
    by = {(row.detector, row.system): row for row in rows}
    assert by.keys() == {
        *((name, system) for name in DETECTORS for system in ("bare", "monitor")),
        ("data quality", "monitor"),
    }
    row = by["ADWIN", "monitor"]
    assert (row.streams, row.found, row.false) == (1, 1, 0)
    [alarm] = [alarm for alarm in bare("ADWIN", flipped.errors) if alarm.place > 500][:1]
    assert row.transactions == alarm.transactions - CHANGE
    late = [number for number, *_ in flipped.errors[: alarm.place + 1] if number >= CHANGE]
    assert row.evaluations == len(late)
    assert 0 < row.evaluations < row.transactions < 400


def test_what_the_bare_detector_does_not_detect_is_not_ok(flipped: Run) -> None:
    wrong = {**flipped.alarms, "ADWIN": [Alarm(1, 2)]}
    rows = rows_of("SEA, flipped labels", [flipped._replace(alarms=wrong)], 2 * CHANGE)
    assert {row.detector for row in rows if not row.ok} == {"ADWIN"}


def test_without_a_change_every_alarm_is_false() -> None:
    errors = [(number, 0.0, number + 1) for number in range(100)]
    alarms = {name: [Alarm(50, 51)] if name == "DDM" else [] for name in DETECTORS}
    rows = list(rows_of("x, no change", [Run(errors, alarms, [])], 100))
    [row] = [row for row in rows if (row.detector, row.system) == ("DDM", "monitor")]
    assert (row.found, row.false, row.evaluations, row.ok) == (0, 1, None, False)


def test_alarms_close_together_are_one() -> None:
    places = [0, 1, QUIET - 1, QUIET, QUIET + 1, 3 * QUIET]
    kept = apart([Alarm(place, place) for place in places])
    assert [alarm.place for alarm in kept] == [0, QUIET, 3 * QUIET]


def test_the_script_prints_a_table_and_writes_its_rows(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(drifts, "STREAMS", {"SEA, flipped labels": STREAMS["SEA, flipped labels"]})
    path = tmp_path / "rows.json"
    assert main(["--count", "600", "--delay", "20", "--seeds", "1", "--json", str(path)]) == 0
    assert "SEA, flipped labels" in capsys.readouterr().out
    written = json.loads(path.read_text())
    assert written["environment"]["count"] == 600
    assert len(written["rows"]) == 2 * len(DETECTORS) + 1

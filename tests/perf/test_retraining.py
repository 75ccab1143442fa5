"""What triggers gain: the error comes back down where labels come to mean the opposite."""

from pathlib import Path

import msgspec
import pytest

from perf import retraining
from perf.drifts import STREAMS

FLIPPED = "SEA, flipped labels"


def test_with_rules_the_error_comes_back_down_and_without_them_it_does_not() -> None:
    with_rules, without = (
        retraining.run(STREAMS[FLIPPED], 1, 3000, 100, rules) for rules in (True, False)
    )
    assert without.operations == []
    assert with_rules.operations[:2] == ["deploy", "promote"]
    before, _, later = with_rules.errors
    assert without.errors[0] == before
    assert without.errors[2] > 2 * later


def test_the_rows_say_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retraining, "STREAMS", {FLIPPED: STREAMS[FLIPPED]})
    found = tmp_path / "rows.json"
    retraining.main(["--count", "1200", "--delay", "50", "--seeds", "1", "--json", str(found)])
    rows = msgspec.json.decode(found.read_bytes())["rows"]
    assert [(row["stream"], row["rules"], row["streams"]) for row in rows] == [
        (FLIPPED, False, 1),
        (FLIPPED, True, 1),
    ]

import msgspec
import pytest

from events.limits import Limits, TimeRange

HOUR = 3_600_000


@pytest.mark.parametrize(
    ("ts", "accepted"),
    [
        (946_684_799_999, False),
        (946_684_800_000, True),
        (1_700_000_000, False),  # seconds
        (1_700_000_000_000 + HOUR, True),
        (1_700_000_000_000 + HOUR + 1, False),
    ],
)
def test_a_time_range_ends_at_its_bounds(ts: int, accepted: bool) -> None:
    range_ = TimeRange(min_ts=946_684_800_000, max_future_ms=HOUR)
    assert range_.accepts(ts, now_ms=1_700_000_000_000) is accepted


@pytest.mark.parametrize("limits", [{"depth": 1}, {"features": 0}, {"record_bytes": 0}])
def test_a_limit_that_lets_nothing_through_is_no_limit(limits: dict[str, int]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(limits, Limits)

import math
import random
import struct

from operators.items import Request
from operators.recent import SIZE, Messaging, Recent, Waits


def test_percentiles_are_by_nearest_rank_of_the_last_values_only():
    rng = random.Random(1)
    recent, given = Recent(), []
    for count in (1, 2, 3, 99, 100, 101, SIZE, SIZE + 500):
        while len(given) < count:
            given.append(rng.randrange(10**12))
            recent.add(given[-1])
        last = sorted(given[-SIZE:])
        wanted = [last[math.ceil(q * len(last)) - 1] for q in (0.5, 0.99, 1)]
        assert list(recent.summary()) == wanted
        assert recent.mean() == sum(given[-64:]) // min(count, 64)


def stamps(ingested, produced=0):
    return struct.pack("<qq", ingested, produced)


def test_waits_are_counted_from_three_clocks(monkeypatch):
    monkeypatch.setattr("operators.recent.time.time_ns", lambda: 10_000_999_999)
    waits = Waits()
    waits.answered(Request("a", 4_000, b"{}", None, None, stamps(9_000, 7_000)))
    waits.answered(Request("b", 5_000, b"{}", None, None, stamps(9_500)))
    # Of a backtest.
    waits.answered(Request("c", 1, b"{}", None, None))
    shown = {name: summary() for name, summary in waits.summaries().items()}
    assert {name: (each.p50, each.max) for name, each in shown.items()} == {
        "backlog_ms": (500, 1_000),
        "latency_ms": (500, 3_000),
        "end_to_end_ms": (5_000, 6_000),
    }


def test_messaging_is_known_of_what_was_stamped_only():
    messaging = Messaging()
    assert messaging.summary() == (0, 0, 0)
    for given in (stamps(9_000), stamps(9_000, 8_990), stamps(9_000, 9_004), stamps(9_000, 8_970)):
        messaging.add(given)
    # A producer's clock may be ahead.
    assert messaging.summary() == (10, 30, 30)

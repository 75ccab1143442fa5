"""Whatever lies in a topic, the job goes on."""

import base64

import pytest

from tests.jobs.flows import LOGISTIC, classifier, phishing
from tests.kafka.jobs import KafkaJob
from tests.replay import replayed

pytestmark = [pytest.mark.cluster, pytest.mark.kafka]

LIMIT = 2000
LARGE = '{"id": "large", "features": {"x": "' + "x" * LIMIT + '"}, "ts": 1700000000000}'
# What each is refused for, and what its dead letter shows of it.
BAD = [
    (None, "no_value", None),
    (b"", "empty", ""),
    (b'{"id": "t\xff", "ts": 1700000000000}', "not_utf8", None),
    (LARGE, "too_large", LARGE[:LIMIT]),
    ('{"features": {"x": 1}, "ts": 1700000000000}', "bad_field", None),
    ('{"id": "s", "features": {"x": 1}, "ts": 1700000000}', "bad_ts", None),
    ('{"id": "n", "features": {"x": NaN}, "ts": 1700000000000}', "not_finite", None),
    ("[1, 2", "not_json", None),
]


def test_each_bad_record_is_a_dead_letter_where_it_lies_and_nothing_restarts(
    cluster, topics, tmp_path
):
    topics.create("features", "labels", partitions=2)
    topics.create("predictions", "evaluations", "learn_log", "dead_letters")
    events = phishing(60)
    placed = {}
    for name in ("features", "labels"):
        mine = [event for event in events if ("features" in event) == (name == "features")]
        topics.send(name, mine[:20])
        topics.send(name, (raw for raw, *_ in BAD))
        topics.send(name, mine[20:], key=b"\xff\x00 no id")
        for offset, bad in enumerate(BAD, 20):
            placed[f"{topics.name(name)}-0-{offset}"] = name, *bad
    job = KafkaJob(
        topics,
        tmp_path,
        [classifier()],
        inputs={name: {"topic": topics.name(name)} for name in ("features", "labels")},
        limits={"record_bytes": LIMIT, "raw_bytes": 3000},
    )
    job_id = job.submit(cluster)
    job.wait_for(2 * len(BAD), "dead_letters")
    job.wait_for(60)
    job.wait_for(60, "evaluations")
    letters = {letter["position"]: letter for letter in topics.rows("dead_letters")}
    assert letters.keys() == placed.keys()
    for position, (name, raw, reason, shown) in placed.items():
        letter = letters[position]
        assert (letter["reason"], letter["source"], letter["stage"]) == (reason, name, "decode")
        assert letter["raw"] == (shown if shown is not None or raw is None else as_shown(raw)), (
            position
        )
    assert cluster.rest.restarts(job_id) == 0
    # Every other record counts, and counts once.
    for output in ("predictions", "evaluations"):
        assert {row["id"] for row in topics.rows(output)} == {f"t{i}" for i in range(60)}
        assert len(topics.rows(output)) == 60
    sent = {e["id"]: e["features"] for e in events if "features" in e}
    written = (topics.texts(output) for output in ("predictions", "learn_log"))
    assert replayed(*written, sent, {"m": LOGISTIC})["m"].startswith("m@60-")


def as_shown(raw: bytes | str) -> str:
    if isinstance(raw, str):
        return raw
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(raw).decode()

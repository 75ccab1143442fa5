"""The streams that are measured: what they promise of their shape."""

import json
from itertools import islice
from statistics import mean

from models import specs
from perf.workloads import (
    COUNTS,
    MODELS,
    SPECS,
    WORKLOADS,
    Example,
    malicious_urls,
    phishing,
    write_events,
)


def urls(count: int, seed: int = 1) -> list[Example]:
    return list(malicious_urls(count, seed))


def as_text(examples: list[Example]) -> list[str]:
    """The order of features, too."""
    return [json.dumps(example) for example in examples]


def test_the_same_seed_gives_the_same_urls_in_the_same_order():
    assert as_text(urls(50)) == as_text(urls(50))
    assert as_text(urls(50)) != as_text(urls(50, seed=2))


def test_a_longer_stream_of_urls_begins_with_the_shorter():
    assert as_text(urls(80))[:50] == as_text(urls(50))


def test_a_url_has_twenty_numbers_and_about_a_hundred_features():
    sizes = []
    for features, _ in urls(500):
        numbers = {name for name in features if name.startswith("number_")}
        assert len(numbers) == 20
        assert all(0 <= features[name] <= 1 for name in numbers)
        assert {features[name] for name in features.keys() - numbers} == {1}
        sizes.append(len(features))
    assert 90 <= mean(sizes) <= 110
    assert max(sizes) <= 110


def test_new_names_go_on_appearing():
    stream = malicious_urls(3000, 1)
    seen: set[str] = set()
    new = []
    for _ in range(3):
        names = {name for features, _ in islice(stream, 1000) for name in features}
        new.append(len(names - seen))
        seen |= names
    # 1.35 a URL are made; the others were there from the beginning and are seen for the first time.
    assert all(count > 1000 for count in new[1:])


def test_a_third_of_the_urls_are_malicious():
    labels = [label for _, label in urls(3000)]
    assert 0.30 <= mean(labels) <= 0.37


def test_phishing_begins_again_after_its_1250_records():
    examples = list(phishing(1252, 1))
    assert len(examples) == 1252
    assert all(len(features) == 9 for features, _ in examples)
    assert examples[1250:] == examples[:2]


def test_each_transaction_gets_its_own_label_at_most_200_transactions_later(tmp_path):
    examples = urls(400)
    write_events(tmp_path / "events", iter(examples), seed=3)
    events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    requests = [event for event in events if "features" in event]
    assert [event["features"] for event in requests] == [features for features, _ in examples]
    assert [event["id"] for event in requests] == [f"t{number}" for number in range(400)]
    labels = {event["id"]: event for event in events if "label" in event}
    assert len(labels) == len(events) - 400
    delays = {
        id: (event["ts"] - requests[int(id[1:])]["ts"]) // 60_000 for id, event in labels.items()
    }
    assert set(delays.values()) <= set(range(1, 201))
    assert all(event["label"] is examples[int(id[1:])][1] for id, event in labels.items())
    assert labels.keys() >= {f"t{number}" for number in range(200)}
    assert [event["ts"] for event in events] == sorted(event["ts"] for event in events)


def test_the_file_of_events_follows_from_the_seed(tmp_path):
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        write_events(tmp_path / name, malicious_urls(100, 1), seed)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "again").read_bytes()
    assert (tmp_path / "one").read_bytes() != (tmp_path / "other").read_bytes()


def test_the_jobs_specs_are_the_loops_models():
    assert SPECS.keys() == MODELS.keys()
    for name, spec in SPECS.items():
        built = specs.build(specs.stored(spec, name), name)
        assert repr(built) == repr(MODELS[name]())


def test_every_case_has_a_number_of_transactions():
    assert COUNTS.keys() == WORKLOADS.keys()
    assert all(counts.keys() == MODELS.keys() for counts in COUNTS.values())

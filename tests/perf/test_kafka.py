"""What is sent to Kafka to measure, what the loops make of it, and a tiny run of both measurements."""

import json

import msgspec
import pytest

from perf import drain, flood, latency, load, published
from perf.loops import Work
from perf.workloads import KAFKA_MODELS

ROW = {"case", "system", "metric", "value", "unit", "ratio", "baseline", "ok"}


def test_every_transaction_gets_its_label_after_its_features():
    events = list(load.events(500, seed=3, mean_delay=20))
    assert events == list(load.events(500, seed=3, mean_delay=20))
    assert events != list(load.events(500, seed=4, mean_delay=20))
    place = {("label" in event, event["id"]): at for at, event in enumerate(events)}
    assert len(place) == len(events) == 1000
    for number in range(500):
        assert place[False, f"t{number}"] < place[True, f"t{number}"]
    times = [event["ts"] for event in events]
    assert times == sorted(times)


def test_a_loop_says_what_a_river_model_says(tmp_path, monkeypatch):
    # It notes beside itself how long its calls take.
    monkeypatch.chdir(tmp_path)
    model, features = KAFKA_MODELS["LR"](), {}
    work = Work("LR")
    for event in load.events(300, seed=3):
        made = work.record(msgspec.json.encode(event))
        if "features" in event:
            features[event["id"]] = event["features"]
            key, value = made
            said = {
                str(label).lower(): p
                for label, p in model.predict_proba_one(event["features"]).items()
            }
            assert key.decode() == event["id"]
            assert json.loads(value)["probabilities"] == said
        else:
            assert made is None
            model.learn_one(features[event["id"]], event["label"])


@pytest.mark.cluster
@pytest.mark.kafka
@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        (drain, ["--count", "1500"]),
        (latency, ["--rate", "100", "--seconds", "6", "--warm-up", "2"]),
    ],
    ids=["drain", "latency"],
)
def test_a_tiny_run_gives_well_formed_rows_of_equal_predictions(tmp_path, script, arguments):
    file = tmp_path / "rows.json"
    systems = ["--systems", "confluent-kafka", "riverrun exactly-once"]
    common = ["--models", "LR", "--rounds", "1", "--json", str(file), *systems]
    assert script.main([*common, *arguments]) == 0
    rows = json.loads(file.read_text())["rows"]
    assert {row["system"] for row in rows} == {"confluent-kafka", "riverrun exactly-once"}
    assert all(row.keys() == ROW and row["ok"] is True for row in rows)
    compared = [row for row in rows if row["baseline"] is not None]
    assert {row["baseline"] for row in compared} == {"confluent-kafka"}
    assert {row["system"] for row in compared} == {"riverrun exactly-once"}


def test_a_flood_has_old_labels_evenly_between_the_events_of_a_load():
    events = list(flood.flooded(200, 300, seed=3))
    old = [event for event in events if event["id"].startswith("o")]
    assert [event["id"] for event in old] == [f"o{n}" for n in range(300)]
    assert [event for event in events if event not in old] == list(load.events(200, 3))
    half = [event["id"][0] for event in events[: len(events) // 2]]
    assert half.count("o") == pytest.approx(150, abs=2)


@pytest.mark.cluster
@pytest.mark.kafka
def test_a_tiny_run_of_published_mode_gives_well_formed_rows(tmp_path):
    file = tmp_path / "rows.json"
    systems = ["--models", "LR", "--systems", "confluent-kafka", "published"]
    load = ["--rate", "100", "--seconds", "6", "--warm-up", "2"]
    published.main([*systems, *load, "--rounds", "1", "--cold", "1", "--json", str(file)])
    rows = json.loads(file.read_text())["rows"]
    assert {row["system"] for row in rows} == {"confluent-kafka", "riverrun published"}
    assert all(row.keys() == ROW for row in rows)
    # How fast it is says nothing here.
    assert all(row["ok"] for row in rows if row["metric"] != "end_to_end_p99")
    found = {row["metric"]: row["value"] for row in rows if row["system"] == "riverrun published"}
    assert found["learned"] > 0
    assert 0 < found["version_age_p50"] <= found["version_age_max"]
    assert found["pause"] > 0

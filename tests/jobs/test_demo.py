import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from jobs import demo
from jobs.config import load_config
from jobs.delayed_labels import by_time, feature_events, label_events, write_events
from jobs.errors import Failure
from jobs.summary import Summary

EXAMPLE = Path(__file__).parents[2] / "examples" / "phishing"


def predictions(folder: Path, *records: tuple[str, bool, float]) -> Path:
    folder.mkdir()
    with (folder / "part-0-0.jsonl").open("w") as file:
        for id, said, p in records:
            probabilities = {"false": 1 - p, "true": p}
            record = {
                "id": id,
                "prediction": said,
                "probabilities": probabilities,
                "predicted_at": 0,
            }
            file.write(json.dumps(record) + "\n")
    return folder


EXPECTED: dict[str, Any] = {
    "a": (True, {"false": 0.25, "true": 0.75}),
    "b": (False, {"false": 0.5, "true": 0.5}),
}


def test_equal_predictions_in_another_order_are_no_differences(tmp_path: Path) -> None:
    folder = predictions(tmp_path / "p", ("b", False, 0.5), ("a", True, 0.75))
    assert demo.differences(folder, EXPECTED) == 0


@pytest.mark.parametrize(
    "records",
    [
        [("a", True, 0.75)],
        [("a", True, 0.75), ("b", False, 0.5), ("b", False, 0.5)],
        [("a", True, 0.75), ("b", True, 0.5)],
        [("a", True, 0.7500000000000001), ("b", False, 0.5)],
        [("a", True, 0.75), ("b", False, 0.5), ("c", False, 0.5)],
    ],
    ids=["missing", "twice", "another label", "another last bit", "not asked for"],
)
def test_a_prediction_counts_as_different_if(
    records: list[tuple[str, bool, float]], tmp_path: Path
) -> None:
    assert demo.differences(predictions(tmp_path / "p", *records), EXPECTED) == 1


def test_the_folder_of_an_earlier_demo_is_emptied(tmp_path: Path) -> None:
    folder, outside = tmp_path / "demo", tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    demo._clear(folder)
    (folder / "out" / "predictions").mkdir(parents=True)
    (folder / "out" / "predictions" / "part-0-0.jsonl").touch()
    (folder / "link").symlink_to(outside)
    demo._clear(folder)
    assert [entry.name for entry in folder.iterdir()] == [demo.MARKER]
    assert (outside / "kept").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(Failure, match="holds files that are not a demo's"):
        demo.demo(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_place_of_the_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("mine")
    with pytest.raises(Failure, match="is no folder"):
        demo.demo(tmp_path / "demo")
    assert (tmp_path / "demo").read_text() == "mine"


def test_the_demo_is_the_phishing_example(tmp_path: Path) -> None:
    copy = tmp_path / "job.toml"
    copy.write_text(demo.CONFIG)
    example = load_config(EXAMPLE / "job.toml").to_public_toml()
    assert load_config(copy).to_public_toml() == example.replace(str(EXAMPLE), str(tmp_path))


def shown(different: int, encoding: str) -> str:
    found = demo.Demo(
        folder="f",
        events=2500,
        predictions=1250,
        different=different,
        seconds=0.5,
        seconds_in_all=12.25,
        accuracy=[0.0, 0.5, 0.75, 1.0] * 32,
        summary=Summary("phishing", [], {}, {}),
    )
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    demo.print_demo(found, Console(file=file, width=80, markup=False, highlight=False))
    file.seek(0)
    return file.read()


def test_the_report_says_whether_all_predictions_are_equal() -> None:
    assert "all 1,250 predictions equal plain River's, float for float" in shown(0, "utf-8")
    assert "7 of 1,250 predictions differ from plain River's" in shown(7, "utf-8")


def test_the_report_has_speed_without_and_with_the_start() -> None:
    line = "2,500 events in 0.5 s (5,000/s), 12.2 s with the start and the end of Flink"
    assert line in shown(0, "utf-8")


def test_the_chart_can_be_printed_where_there_are_no_blocks() -> None:
    # Of every second accuracy, a half fills nothing of its column and 1 all of it.
    assert "100% " + " #" * 32 in shown(0, "ascii")
    assert "100% " + " █" * 32 in shown(0, "utf-8")


@pytest.mark.cluster
def test_the_demo_agrees_with_plain_river_and_replaces_what_an_earlier_one_left(
    flink: None, tmp_path: Path
) -> None:
    folder = tmp_path / "demo"
    demo._clear(folder)
    predictions(folder / "stale", ("a", True, 0.5))
    (folder / "out").mkdir()
    predictions(folder / "out" / "predictions", ("a", True, 0.5))
    found = demo.demo(folder)
    assert found is not None
    assert (found.events, found.predictions, found.different) == (2500, 1250, 0)
    assert not (folder / "stale").exists()

    # The labels as the pages have them, what a plain loop says, and nothing of the job's.
    lines = (folder / "input" / "events.jsonl").read_bytes().splitlines()
    events = [msgspec.json.decode(line) for line in lines]
    labels = {event["id"]: event["label"] for event in events if "label" in event}
    said = demo.plain_river(folder / "input" / "events.jsonl")
    right = [said[id][0] == label for id, label in labels.items()]
    [model] = found.summary.models
    assert model.metrics["accuracy"] == sum(right) / 1250
    assert found.accuracy[-1] == sum(right[-100:]) / 100
    assert len(found.accuracy) == 1250
    assert (model.predictions, model.learned, model.labelled) == (1250, 1250, 1250)
    assert found.summary.dead_letters == {}
    assert 0 < found.seconds < found.seconds_in_all


def test_its_input_is_the_examples(tmp_path: Path) -> None:
    pages = list(demo.transactions())
    write_events(tmp_path / "e.jsonl", by_time(label_events(pages), feature_events(pages)))
    lines = (tmp_path / "e.jsonl").read_bytes().splitlines()
    labels = [line for line in lines if b'"label"' in line]
    assert (len(lines), len(labels)) == (2500, 1250)
    events = [msgspec.json.decode(line) for line in lines]
    times = {event["id"]: event["ts"] for event in events if "features" in event}
    delays = [event["ts"] - times[event["id"]] for event in events if "label" in event]
    assert 5 * 60_000 <= min(delays) and max(delays) <= 7 * 86_400_000
    assert [event["ts"] for event in events] == sorted(event["ts"] for event in events)

"""Watching: what is shown follows what is written, and ends with Ctrl-C."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from jobs import watching
from jobs.config import Config, load_config
from jobs.following import Begun, Following
from jobs.watching import Frame, Watched, render
from tests.jobs import monitored
from tests.jobs.monitored import EVIL, T0
from tests.jobs.terminals import terminal


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return monitored.prepare(tmp_path)


@pytest.fixture
def config(job: Path) -> Config:
    return load_config(job)


def drawn(frame: Frame, columns: int = 120) -> str:
    console = Console(width=columns, height=60, record=True, file=open("/dev/null", "w"),  # noqa: SIM115
                      markup=False, highlight=False, emoji=False)  # fmt: skip
    console.print(render(frame, console))
    return console.export_text()


def test_once_shows_what_a_run_has_told(tmp_path: Path, riverrun: Callable[..., Any]) -> None:
    config = monitored.ran(tmp_path)[0]
    frame = json.loads(riverrun("watch", tmp_path / "job.toml", "--once", "--json").out)
    texts = (tmp_path / "out" / "metrics" / "part-0-0.jsonl").read_text().splitlines()
    records = [record for record in map(json.loads, texts) if "scope" in record]
    assert frame["records"]["metrics"] == len(texts)
    assert frame["clock"] == max(record["clock"] for record in records if record["scope"] == "all")
    for model in frame["models"]:
        mine = [r for r in records if (r["model"], r["role"]) == (model["model"], model["role"])]
        every = [r for r in mine if r["scope"] == "all"][-1]
        windows = [r for r in mine if r["scope"] == "window"]
        assert model["version"] == every["version"]
        assert (model["evaluated"], model["window"]) == (every["n"], windows[-1]["n"])
        assert model["metrics"]["Accuracy"] == windows[-1]["metrics"]["Accuracy"]
        assert model["history"]["Accuracy"] == [r["metrics"]["Accuracy"] for r in windows][-24:]
        assert model["unlabelled"] == every["unlabelled"]
        assert model["delay_p50_ms"] == every["delay_ms"]["p50"]
        assert model["versus"] == every.get("versus")
    alerts = (tmp_path / "out" / "alerts" / "part-0-0.jsonl").read_text().splitlines()
    assert frame["alerts"] == [json.loads(text) for text in alerts][-8:][::-1]
    text = riverrun("watch", tmp_path / "job.toml", "--once").out
    assert "second (champion)" in text and "first (champion, until " in text
    assert f"feature {EVIL} by ADWIN" in drawn(watching.once(config), columns=200)


def test_new_parts_and_longer_ones_are_read_once_whole_lines_only(
    tmp_path: Path, config: Config
) -> None:
    with Following(config, ("metrics", "alerts")) as following:
        watched = Watched(config)
        assert not watched.take(following)  # nothing is there yet
        part = monitored.write_part(tmp_path, "metrics", [monitored.metrics(T0, n=1)])
        assert watched.take(following)
        assert not watched.take(following)
        whole = json.dumps(monitored.metrics(T0 + 1, n=2))
        with part.open("a") as file:
            file.write(whole[:20])
            file.flush()
            assert not watched.take(following)
            file.write(f"{whole[20:]}\n")
        monitored.write_part(tmp_path, "metrics", [monitored.metrics(T0 + 2, n=3), "{"], 1)
        monitored.write_part(tmp_path, "alerts", [monitored.alert(1)])
        assert watched.take(following)
        frame = watched.frame()
    assert (frame.records, frame.left_out) == (
        {"metrics": 3, "alerts": 1}, {"metrics": 1, "alerts": 0}
    )  # fmt: skip
    [model] = frame.models
    assert model.window == 3


def test_another_run_begins_anew_though_its_files_have_the_same_names(
    tmp_path: Path, config: Config
) -> None:
    with Following(config, ("metrics",)) as following:
        watched = Watched(config)
        for run, count in ((1, 2), (2, 3), (3, 1)):
            records = [monitored.metrics(T0 + n, n=10 * run) for n in range(count)]
            (tmp_path / "out" / "metrics" / "part-0-0.jsonl").unlink(missing_ok=True)
            monitored.write_part(tmp_path, "metrics", records)
            while watched.take(following):
                pass
            frame = watched.frame()
            assert (frame.records["metrics"], frame.models[0].window) == (count, 10 * run)
        (tmp_path / "out" / "metrics" / "part-0-0.jsonl").unlink()
        with pytest.raises(Begun):
            list(following.new())


def test_a_champion_a_challenger_and_what_is_said_of_both(tmp_path: Path, config: Config) -> None:
    versus = {"model": "first", "n": 500, "wins": 80, "losses": 20, "difference": -0.12,
              "low": -0.2, "high": -0.04, "verdict": "better"}  # fmt: skip
    delays = {"mean": 1.0, "p50": 60_000.0, "p90": 1.0, "p99": 7_200_000.0, "max": 1.0}
    challenger = {"model": "second", "role": "challenger"}
    monitored.write_part(
        tmp_path,
        "metrics",
        [
            monitored.metrics(T0, **challenger),
            monitored.metrics(
                T0, "all", **challenger, n=700, predicted=800, unlabelled=0.125, versus=versus
            ),
            monitored.metrics(T0, n=10),
            monitored.metrics(T0 + 1, n=20, metrics={"Accuracy": 0.75}),
            monitored.metrics(T0, "all", n=700, predicted=800, unlabelled=0.125, delay_ms=delays),
        ],
    )
    text = drawn(watching.once(config))
    assert text.index("first (champion)") < text.index("second (challenger)")
    for said in (
        "Accuracy  0.75  ▁█",
        "better than first: -0.12 (-0.2 to -0.04)",
        "no true label 12.5%",
        "label delay p50 60.0 s, p99 2.0 h",
        "of the last 20 of 700 evaluations",
    ):
        assert said in text, said


def test_an_alert_that_has_recovered_is_not_open(tmp_path: Path, config: Config) -> None:
    quality = {"on": None, "detector": None, "model": None, "role": None}
    odd = {name: value for name, value in monitored.alert(0).items() if name not in quality}
    odd = {**odd, "model": None, "kind": "data_quality", "feature": "a"}
    monitored.write_part(
        tmp_path,
        "alerts",
        [
            monitored.alert(1),
            {**odd, "alert": "q/1", "detail": "missing in 50.0% of 10 transactions"},
            monitored.alert(2, kind="recovered", detail="error came back from 0.5 to 0.1"),
            {**odd, "alert": "q/2", "detail": "new in 50.0% of 10 transactions"},
            {
                **odd,
                "alert": "q/3",
                "kind": "recovered",
                "detail": "new in 0.0% of 10 transactions",
            },
        ],
    )
    frame = watching.once(config)
    assert frame.open == ["feature a missing, watchful"]
    assert "alerts  1 open" in drawn(frame)
    assert frame.alerts[0].alert == "q/3"


def test_text_from_data_does_nothing_to_the_terminal(tmp_path: Path, config: Config) -> None:
    evil = "\x1b[2J[bold]\x07"
    monitored.write_part(tmp_path, "alerts", [monitored.alert(1, feature=evil, detail=evil)])
    monitored.write_part(
        tmp_path,
        "metrics",
        [monitored.metrics(T0, model=evil, version=evil, metrics={evil: 0.5}),
         monitored.metrics(T0, "all", model=evil, version=evil)],
    )  # fmt: skip
    text = drawn(watching.once(config))
    assert "\x1b" not in text and "\x07" not in text
    assert text.count("\\x1b[2J[bold]\\x07") >= 4


def test_a_small_terminal_has_the_first_metrics_and_alerts(tmp_path: Path, config: Config) -> None:
    many = {f"Metric{n}": 0.5 for n in range(8)}
    monitored.write_part(tmp_path, "metrics", [monitored.metrics(T0, metrics=many)])
    monitored.write_part(tmp_path, "alerts", [monitored.alert(n) for n in range(8)])
    frame = watching.once(config)
    console = Console(width=80, height=16, file=open("/dev/null", "w"))  # noqa: SIM115
    lines = console.render_lines(watching._fitted(frame, console), pad=False)
    text = "\n".join("".join(part.text for part in line) for line in lines)
    assert len(lines) < 16
    assert "Metric0" in text and "Metric7" not in text and "alerts" in text


def test_without_a_monitors_outputs_there_is_nothing_to_watch(
    tmp_path: Path, riverrun: Callable[..., Any]
) -> None:
    path = monitored.write_job(tmp_path, {**monitored.sections(()), "monitor": None})
    done = riverrun("watch", path, "--once")
    assert (done.code, done.out) == (1, "")
    assert "neither [metrics] nor [alerts]" in done.err


def test_json_goes_with_once(job: Path, riverrun: Callable[..., Any]) -> None:
    done = riverrun("watch", job, "--json")
    assert done.code == 2 and "--once" in done.err


def test_it_follows_a_folder_in_the_terminal_until_ctrl_c(tmp_path: Path, job: Path) -> None:
    with terminal("watch", job) as shown:
        shown.wait_for("no metrics yet", "no alerts")
        monitored.write_part(tmp_path, "metrics", [monitored.metrics(T0, metrics={"F1": 0.25})])
        shown.wait_for("first (champion)", "0.25")
        before = len(shown.seen)
        monitored.write_part(
            tmp_path, "metrics", [monitored.metrics(T0 + 1000, metrics={"F1": 0.75})], 1
        )
        monitored.write_part(tmp_path, "alerts", [monitored.alert(1)])
        shown.wait_for("0.75", "▁█", "1 open", "error went from 0.1 to 0.5", after=before)
        assert shown.interrupt() == 0
        assert "Traceback" not in shown.seen

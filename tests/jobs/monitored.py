"""A job with a monitor whose stream has everything a report shows; and records of outputs by hand."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jobs.backtest import backtest
from jobs.config import Config, load_config
from jobs.toml_text import dump_toml
from operators.plain import PlainFlow

T0 = 1_772_409_600_000
OUTPUTS = (
    "predictions", "evaluations", "metrics", "alerts", "dead_letters", "control_acks", "control_log"
)  # fmt: skip
# What must never become markup: it stands in names of features, in ids and in alerts.
EVIL = "<script>alert(1)</script>"


def sections(outputs: Iterable[str] = OUTPUTS) -> dict[str, Any]:
    """Two logistic regressions, in the order of event time, and a monitor."""

    def model(name: str, role: str, lr: float) -> dict[str, Any]:
        sgd = {"class": "river.optim.SGD", "params": {"lr": lr}}
        params = {"optimizer": sgd}
        spec = {"class": "river.linear_model.LogisticRegression", "params": params}
        return {"name": name, "role": role, "task": "classification", "spec": spec}

    return {
        "job": {"name": "seen", "ordering": "event_time"},
        "events": {"idle_timeout": "never"},
        "features": {"connector": "file", "path": "input/events.jsonl"},
        "control": {"connector": "file", "path": "input/control.jsonl"},
        "join": {"label_timeout": "1h", "retention": "2h"},
        **{name: {"connector": "file", "path": f"out/{name}"} for name in outputs},
        "models": [model("first", "champion", 0.0001), model("second", "challenger", 0.05)],
        "monitor": [
            {
                "name": "watchful",
                "window": 200,
                "every": 100,
                "event_window": "30m",
                "data_quality": {"reference": 200},
                "drift": [{"on": "feature", "feature": EVIL, "detector": "ADWIN"}],
            }
        ],
    }


def events(count: int = 1200) -> Iterable[dict[str, Any]]:
    """A transaction every 10 s with its label 5 min later; halfway a feature changes and one is new."""
    found = []
    for number in range(count):
        ts = T0 + number * 10_000
        value = (number * 7919 % 101) / 50 - 1
        features = {"x": value, EVIL: float(number >= count // 2) * 3 + value}
        if number >= count * 2 // 3:
            features[f"new {EVIL}"] = 1
        found.append((ts, {"id": f"{EVIL}{number}", "features": features, "ts": ts}))
        if number % 100 == 50:
            found.append((ts + 1, {"id": "bad", "features": {EVIL: [1]}, "ts": ts + 1}))
        if number % 10:
            known = ts + 300_000
            label = {"id": f"{EVIL}{number}", "label": value > 0.1, "ts": known}
            found.append((known, label))
    return [event for _, event in sorted(found, key=lambda each: each[0])]


def prepare(folder: Path, **changed: Any) -> Path:
    """Input and configuration in a folder; a section of None is left out."""
    (folder / "input").mkdir(parents=True, exist_ok=True)
    write_lines(folder / "input" / "events.jsonl", events())
    promote = {"job": "seen", "issuer": "ops", "seq": 1, "op": "promote", "model": "second"}
    control = [{**promote, "effective_at": T0 + 9_000_000}]
    write_lines(folder / "input" / "control.jsonl", control)
    return write_job(folder, {**sections(), **changed})


def write_job(folder: Path, tables: dict[str, Any]) -> Path:
    path = folder / "job.toml"
    path.write_text(dump_toml({name: table for name, table in tables.items() if table is not None}))
    return path


def ran(folder: Path) -> tuple[Config, PlainFlow]:
    """The job after a backtest."""
    config = load_config(prepare(folder))
    return config, backtest(config)


def write_lines(path: Path, records: Iterable[dict[str, Any] | str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = (each if isinstance(each, str) else json.dumps(each) for each in records)
    path.write_text("".join(f"{text}\n" for text in texts))


def write_part(
    folder: Path, output: str, records: Iterable[dict[str, Any] | str], n: int = 0
) -> Path:
    """A part file that appears whole, as Flink's do."""
    part = folder / "out" / output / f"part-0-{n}.jsonl"
    hidden = part.with_name(f".{part.name}.inprogress")
    write_lines(hidden, records)
    return hidden.rename(part)


def metrics(clock: int, scope: str = "window", **fields: Any) -> dict[str, Any]:
    """A record of `[metrics]`."""
    return {
        "monitor": "watchful",
        "model": "first",
        "role": "champion",
        "scope": scope,
        "version": "first@1-000000000000",
        "id": "t",
        "clock": clock,
        "n": 1,
        "metrics": {"Accuracy": 0.5},
        **fields,
    }


def alert(number: int, **fields: Any) -> dict[str, Any]:
    """A record of `[alerts]`."""
    return {
        "alert": f"watchful/first/champion/{number}",
        "kind": "drift",
        "model": "first",
        "lane": None,
        "detail": "error went from 0.1 to 0.5",
        "id": f"t{number}",
        "event_time": T0 + number,
        "at": T0,
        "monitor": "watchful",
        "role": "champion",
        "on": "error",
        "detector": "ADWIN",
        **fields,
    }


def evaluation(id: str, label: Any, p: float, **fields: Any) -> dict[str, Any]:
    """A record of `[evaluations]`: a probability of true."""
    return {
        "id": id,
        "model": "first",
        "lane": None,
        "version": "first@0-000000000000",
        "prediction": p > 0.5,
        "probabilities": {"false": 1 - p, "true": p},
        "label": label,
        "event_time": T0,
        "label_time": T0 + 1000,
        "delay_ms": 1000,
        "source": "label",
        "late": False,
        "leaked": False,
        **fields,
    }

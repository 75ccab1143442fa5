"""Jobs with monitors: their sections, and what monitors wrote, by what they were about."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from connectors.files import read_parts
from jobs.backtest import flow
from jobs.config import Config
from jobs.reading_inputs import records
from tests.jobs.flows import timeless

OUTPUTS = ("metrics", "alerts")

MONITOR: dict[str, Any] = {
    "name": "q",
    "every": 40,
    "window": 60,
    "event_window": "1h",
    "drift": [
        {"on": "error", "detector": "ADWIN", "quiet": 20},
        {"on": "prediction", "detector": "ADWIN", "quiet": 20},
        {"on": "prediction", "detector": "KSWIN", "quiet": 20},
        {"on": "feature", "feature": "ip_in_url", "detector": "PageHinkley"},
    ],
    "data_quality": {"reference": 50},
}


def sections(*monitors: dict[str, Any]) -> dict[str, Any]:
    """Of a configuration: monitors, and where they write."""
    sinks = {
        name: {"connector": "file", "path": f"out/{name}", "roll_interval": "1s"}
        for name in OUTPUTS
    }
    return {**sinks, "monitor": list(monitors or (MONITOR,))}


Rows = dict[tuple[str, ...], list[dict[str, Any]]]


def written(config: Config) -> Rows:
    """What a job's monitors wrote, without what the clock put there."""
    rows = []
    for output in OUTPUTS:
        folder = Path(config.sinks(output)[0].path)  # type: ignore[union-attr]
        if folder.is_dir():
            rows += [(output, timeless(json.loads(line))) for line in read_parts(folder)]
    return by_key(rows)


def expected(config: Config) -> Rows:
    """What those of a backtest write of the same files."""
    rows: list[tuple[str, dict[str, Any]]] = []
    running = flow(config, lambda output, text: rows.append((output, timeless(json.loads(text)))))
    for record in records(config):
        running.record(record)
    running.end()
    return by_key(rows)


def by_key(rows: list[tuple[str, dict[str, Any]]]) -> Rows:
    """There is an order of what is said of one model in one role, none between them."""
    found: Rows = defaultdict(list)
    for output, row in rows:
        if output in OUTPUTS:
            about = (
                output,
                row.get("monitor") or "",
                row.get("model") or "",
                row.get("role") or "",
            )
            found[about].append(row)
    return dict(found)

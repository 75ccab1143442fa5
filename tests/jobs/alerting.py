"""Jobs that make alerts, one after the other, and what the alerts are."""

import json
from pathlib import Path
from typing import Any

from jobs.backtest import flow
from jobs.config import Config
from jobs.reading_inputs import records
from tests.jobs.flows import T0, classifier, timeless

EVERY = 10
REFERENCE = 20
MODELS = [classifier()]


def events(alerts: int, first: int = 0) -> list[dict]:
    """Transactions, of which every ten alarm or recover: a feature is missing in one ten and not the next.

    `first` 0 begins with what a monitor takes for usual; else those of so many alerts were before.
    """
    tens = range(0 if first == 0 else first + REFERENCE // EVERY, alerts + REFERENCE // EVERY)
    return [
        {"id": f"t{n}", "ts": T0 + n, "features": {"a": n % 7, **({"b": n % 3} if there else {})}}
        for ten in tens
        for there in [ten < REFERENCE // EVERY or (ten - REFERENCE // EVERY) % 2 == 1]
        for n in range(ten * EVERY, (ten + 1) * EVERY)
    ]


def sections(url: str, reference: int = REFERENCE, **webhook: Any) -> dict[str, Any]:
    """Of the configuration: the monitor, alerts to a file and to a webhook."""
    monitor = {"name": "quality", "every": EVERY, "data_quality": {"reference": reference}}
    stored = {"connector": "file", "path": "out/alerts", "roll_interval": "1s"}
    return {
        "monitor": [monitor],
        "alerts": [stored, {"connector": "webhook", "url": url, "max_backoff": "1s", **webhook}],
    }


def expected(config: Config) -> list[dict]:
    """The alerts that the plain flow makes of the same files, before their end."""
    found: list[dict] = []

    def emit(output: str, text: str) -> None:
        if output == "alerts":
            found.append(timeless(json.loads(text)))

    running = flow(config, emit)
    for record in records(config):
        running.record(record)
    return found


def folder_of(config: Config) -> Path:
    """Where the alerts are written besides."""
    return Path(config.stored("alerts")[0].path)  # type: ignore[union-attr]

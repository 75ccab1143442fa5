"""Makes docs/images/report-light.png and report-dark.png: a report on a run over a stream that changes.

Ten days of made-up orders, each labelled hours or days later: did it come back? On the third day the
champion is frozen, on the fifth the customers change, on the seventh the challenger, which has gone on
learning, is promoted; on the eighth a feature comes under another name for some hours. The job runs on an
embedded Flink, the pictures are taken by Chromium:

    PYTHONPATH=. .venv/bin/python docs/images/make_report.py --work FOLDER
"""

import argparse
import json
import math
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs import running
from jobs.config import load_config
from jobs.report import report
from tests.browser.chromium import browsing, require

HERE = Path(__file__).parent
FIRST_MS = 1_772_409_600_000  # 2026-03-02
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
DAYS = 10
ORDERS = 14_400  # one a minute

JOB = """
[job]
name = "returns"
ordering = "event_time"

[events]
idle_timeout = "never"

[features]
connector = "file"
path = "input/events.jsonl"

[control]
connector = "file"
path = "input/control.jsonl"

[join]
label_timeout = "3d"
retention = "4d"

[[models]]
name = "steady"
task = "classification"
spec = { pipeline = [
    { class = "river.preprocessing.StandardScaler" },
    { class = "river.linear_model.LogisticRegression" },
] }

[[models]]
name = "fresh"
role = "challenger"
task = "classification"
spec = { pipeline = [
    { class = "river.preprocessing.StandardScaler" },
    { class = "river.linear_model.LogisticRegression", params = { optimizer = { class = "river.optim.SGD", params = { lr = 0.03 } } } },
] }

[[monitor]]
name = "quality"
window = 1000
every = 400
event_window = "6h"
data_quality = { reference = 1000 }
drift = [
    { on = "error", detector = "ADWIN" },
    { on = "feature", feature = "price", detector = "ADWIN" },
]
"""
OUTPUTS = (
    "predictions", "evaluations", "metrics", "alerts", "dead_letters", "control_acks", "control_log"
)  # fmt: skip


def events(seed: int = 11) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Time, order within it, record."""
    rng = random.Random(seed)
    for number in range(ORDERS):
        ts = FIRST_MS + number * DAYS * DAY_MS // ORDERS
        day = (ts - FIRST_MS) / DAY_MS
        price, items, km, night = rng.gauss(0, 1), rng.gauss(0, 1), rng.gauss(0, 1), rng.random()
        after = 1 / (1 + math.exp(-(day - 5) * 12))
        liking = (
            (1 - after) * (2.2 * price - 1.4 * items)
            + after * (1.8 * km - 1.5 * price + 0.6 * items)
            - 0.4
        )
        returned = rng.random() < 1 / (1 + math.exp(-liking))
        features = {
            "price": round(40 * math.exp((price + 0.5 * after) / 3), 2),
            "items": round(4 + 1.2 * items, 2),
            "km": round(120 + 40 * km, 1),
            "night": night < 0.3,
        }
        if 7.5 <= day < 7.8:
            features["distance"] = features.pop("km")
        order = f"order-{number}"
        yield ts, 1, {"id": order, "features": features, "ts": ts}
        if number % 900 == 500:
            yield ts, 2, {"id": f"broken-{number}", "features": {"price": [1]}, "ts": ts}
        if rng.random() < 0.93:
            known = ts + int(min(rng.lognormvariate(1.6, 0.9), 90) * HOUR_MS)
            yield known, 0, {"id": order, "label": returned, "ts": known}


def control() -> list[dict[str, Any]]:
    """What an operator asks for; the last is refused, as there is no such version."""
    asked = [
        (3.0, {"op": "freeze", "model": "steady"}),
        (7.0, {"op": "promote", "model": "fresh"}),
        (7.2, {"op": "rollback", "model": "steady", "version": "steady@9-000000000000"}),
    ]
    return [
        {"job": "returns", "issuer": "ops", "seq": number, **what,
         "effective_at": FIRST_MS + int(day * DAY_MS)}
        for number, (day, what) in enumerate(asked, 1)
    ]  # fmt: skip


def prepare(folder: Path) -> Path:
    """Input and configuration; the configuration's file."""
    (folder / "input").mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(record) for _, _, record in sorted(events(), key=lambda each: each[:2])]
    (folder / "input" / "events.jsonl").write_text("\n".join(lines) + "\n")
    messages = "\n".join(map(json.dumps, control()))
    (folder / "input" / "control.jsonl").write_text(f"{messages}\n")
    sections = "".join(
        f'\n[{output}]\nconnector = "file"\npath = "out/{output}"\n' for output in OUTPUTS
    )
    job = folder / "job.toml"
    job.write_text(JOB + sections)
    return job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--work", type=Path, help="a folder for input and output; default: one of its own"
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as fresh:
        folder: Path = chosen.work or Path(fresh, "work")
        config = load_config(prepare(folder))
        running.run(config, start="fresh", overwrite=True)
        page = folder / "report.html"
        print(report(config, page))
        profile = Path(fresh, "browser")
        profile.mkdir()
        with browsing(require(), profile) as shown:
            for name, dark in (("light", False), ("dark", True)):
                shown.open(page, width=1180, height=1500, dark=dark)
                # To the end of the first row of figures, with their captions.
                bottom = "document.querySelector('#metrics figure').getBoundingClientRect().bottom"
                height = math.ceil(shown.evaluate(bottom)) + 12
                shown.open(page, width=1180, height=height, dark=dark)
                shown.screenshot(HERE / f"report-{name}.png", whole=False)


if __name__ == "__main__":
    main()

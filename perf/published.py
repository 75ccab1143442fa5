"""Predictions while a forest cannot keep up with what it is to learn: does it hold them up?

    .venv/bin/python perf/published.py --json published.json

800 features of Bananas a second and 1,600 labels, half of them of transactions that were predicted
before (perf/flood.py): more than an adaptive random forest of ten trees learns on one core. Times in ms,
of the features after the first `--warm-up` seconds, in all rounds but first ones: one of a loop, `--cold` of
a job, as a JVM compiles what it runs for minutes.

end to end  departure - produced: until the system's own producer took the prediction
version age when predicting: since the version that was asked was published
pause       the longest that loading a version held the interpreter
behind      examples that no version knew when the last record had been produced
learned     examples a second that the versions up to then know

In a loop and in live mode one process predicts and learns, so what is not learned waits in front of the
next prediction: latency grows for as long as the run lasts.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec
from msgspec import Struct
from rich.console import Console

from events.messages import PublishedManifest
from perf.kafka_runs import Bench, System, chosen, common_options, now_ms
from perf.report import Row, conclude, environment

_ROOT = Path(__file__).parent.parent
_GOAL_MS = 50.0
_FIGURES = ("p50", "p95", "p99", "max")

SYSTEMS = [
    System("kafka-python"),
    System("confluent-kafka"),
    System("riverrun live", True, 2),
    System("riverrun published", True, 2, published=True),
]


class Said(Struct):
    """A prediction, of a loop or of the job."""

    id: str
    predicted_at: int
    version: str = ""


class Run(NamedTuple):
    """One system under the load; times in ms.

    Attributes
    ----------
    once : bool
        Whether every transaction has just one prediction.
    """

    end_to_end: list[float]
    version_age: list[float]
    pause: float
    behind: float
    learned_per_s: float
    once: bool


def main(argv: list[str] | None = None) -> int:
    parser = common_options(__doc__)
    parser.set_defaults(models=["ARF"])
    parser.add_argument("--rate", type=float, default=800.0, help="transactions a second")
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--warm-up", type=float, default=15.0, help="seconds that do not count")
    parser.add_argument("--cold", type=int, default=3, help="rounds of a job that do not count")
    options = parser.parse_args(argv)
    systems = chosen(options.systems, SYSTEMS)
    console = Console()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="riverrun-perf-") as name, Bench(Path(name)) as bench:
        for model in options.models:
            runs: dict[str, list[Run]] = {system.name: [] for system in systems}
            for number in range(-max(options.cold, 1), options.rounds):
                for system in systems:
                    uncounted = options.cold if system.task_managers else 1
                    if number < -uncounted:
                        continue
                    run = _run(bench, system, model, options)
                    if number >= 0:
                        runs[system.name].append(run)
                    console.print(
                        f"{model} {system.name}: p50 {_figure(run.end_to_end, 'p50'):.1f} ms, "
                        f"p99 {_figure(run.end_to_end, 'p99'):.1f} ms",
                        highlight=False,
                    )
            rows += _rows(model, runs)
    described = environment(seed=options.seed, rounds=options.rounds, rate=options.rate)
    return conclude(console, rows, described, options.json)


def _run(bench: Bench, system: System, model: str, options: argparse.Namespace) -> Run:
    source, target = bench.topic("in"), bench.topic("out")
    count = int(options.rate * options.seconds)
    pause = 0.0
    with bench.running(system, model, source, target) as watch:
        flood = [sys.executable, "-m", "perf.flood", bench.broker.servers, source]
        rate = ["--rate", str(options.rate), "--seconds", str(options.seconds)]
        load = subprocess.Popen(
            [*flood, "--seed", str(options.seed), "--old", str(count), *rate],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        bench.wait_for(target, count, system.committed, watch)
        load.communicate(b"\n")
        ended = now_ms()
        bench.wait_for(target, 2 * count, system.committed, watch)
        if system.published:
            pause = bench.metric(system, target, "longest_pause_us") / 1000
    produced = {
        msgspec.json.decode(record.value)["id"]: record.timestamp
        for record in bench.records(source, committed=False)
        if b'"features"' in record.value
    }
    made = _made(bench, f"{target}-versions") if system.published else {}
    decode = msgspec.json.Decoder(Said).decode
    departures = [
        (decode(record.value), record.timestamp)
        for record in bench.records(target, system.committed)
    ]
    counting = [each for each in departures if each[0].id.startswith("t")]
    counting = counting[int(options.rate * options.warm_up) :]
    known = max((each.n for each in made.values() if each.created <= ended), default=0)
    return Run(
        [left - produced[said.id] for said, left in counting],
        [said.predicted_at - made[said.version].created if made else 0 for said, _ in counting],
        pause,
        2 * count - known,
        known / options.seconds,
        sorted(said.id for said, _ in departures) == sorted(produced),
    )


def _made(bench: Bench, topic: str) -> dict[str, PublishedManifest]:
    """What was published, by version."""
    found = {}
    for record in bench.records(topic, committed=True):
        manifest = msgspec.json.decode(record.value).get("manifest")
        if manifest is not None:
            made = msgspec.json.decode(manifest, type=PublishedManifest)
            found[made.version] = made
    return found


def _rows(model: str, runs: dict[str, list[Run]]) -> Iterator[Row]:
    case = f"published/{model}"
    baseline = "confluent-kafka" if runs.get("confluent-kafka") else None
    for name, of in runs.items():
        once = all(run.once for run in of)
        for figure in _FIGURES:
            mine = [_figure(run.end_to_end, figure) for run in of]
            against = baseline if name != baseline else None
            ratio = None
            if against is not None:
                theirs = [_figure(run.end_to_end, figure) for run in runs[against]]
                ratio = median(m / t for m, t in zip(mine, theirs, strict=True))
            reached = not (name == "riverrun published" and figure == "p99") or (
                median(mine) <= _GOAL_MS
            )
            value = median(mine)
            yield Row(
                case, name, f"end_to_end_{figure}", value, "ms", ratio, against, once and reached
            )
        if name != "riverrun published":
            continue
        others = {
            ("version_age_p50", "ms"): [_figure(run.version_age, "p50") for run in of],
            ("version_age_max", "ms"): [_figure(run.version_age, "max") for run in of],
            ("pause", "ms"): [run.pause for run in of],
            ("behind", "examples"): [run.behind for run in of],
            ("learned", "1/s"): [run.learned_per_s for run in of],
        }
        for (what, unit), figures in others.items():
            yield Row(case, name, what, median(figures), unit, None, None, once)


def _figure(times: list[float], figure: str) -> float:
    ordered = sorted(times)
    if figure == "max":
        return ordered[-1]
    return ordered[min(len(ordered) * int(figure[1:]) // 100, len(ordered) - 1)]


if __name__ == "__main__":
    sys.exit(main())

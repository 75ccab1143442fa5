"""How fast is a backlog worked off, beside loops that do the same work?

    .venv/bin/python perf/drain.py --json drain.json

A topic holds features and labels of Bananas. Each system reads it from the beginning and writes
predictions; its rate is of the predictions after the first fifth, by their `predicted_at`, so start-up
is left out, and so is a first round: a JVM compiles as it goes. All must have said the same of each
transaction.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from rich.console import Console

from perf import load
from perf.kafka_runs import Bench, Departure, System, Used, chosen, common_options, same
from perf.report import Row, conclude, environment, told

COUNTS = {"LR": 100_000, "ARF": 6_000}
_SKIPPED = 0.2


class Run(NamedTuple):
    """One system's pass over the topic."""

    per_s: float
    used: Used
    departures: list[Departure]


def main(argv: list[str] | None = None) -> int:
    parser = common_options(__doc__)
    parser.add_argument("--count", type=int, help="transactions; default: by the model's speed")
    options = parser.parse_args(argv)
    systems = chosen(options.systems)
    console = Console()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="riverrun-perf-") as name, Bench(Path(name)) as bench:
        for model in options.models:
            count = options.count or COUNTS[model]
            source = bench.topic("in")
            load.fill(bench.broker.servers, source, count, options.seed)
            runs: dict[str, list[Run]] = {system.name: [] for system in systems}
            for number in range(options.rounds + 1):
                for system in systems:
                    run = _run(bench, system, model, source, count)
                    if number > 0:
                        runs[system.name].append(run)
                    console.print(f"{model} {system.name}: {run.per_s:,.0f}/s", highlight=False)
            for row in _rows(model, runs, count):
                rows.append(row)
                console.print(told(row), highlight=False)
    described = environment(seed=options.seed, rounds=options.rounds)
    return conclude(console, rows, described, options.json)


def _run(bench: Bench, system: System, model: str, source: str, count: int) -> Run:
    target = bench.topic("out")
    with bench.running(system, model, source, target) as watch:
        departures = bench.wait_for(target, count, system.committed, watch)
        used = watch.used()
    skipped = int(count * _SKIPPED)
    seconds = (departures[-1].predicted - departures[skipped - 1].predicted) / 1000
    return Run((count - skipped) / seconds, used, departures)


def _rows(model: str, runs: dict[str, list[Run]], count: int) -> Iterator[Row]:
    case = f"drain/{model}"
    ok = same([run.departures for of in runs.values() for run in of])
    baselines = [name for name in runs if not name.startswith("riverrun")]
    for name, of in runs.items():
        rate = median(run.per_s for run in of)
        against: list[str | None] = [None]
        if name.startswith("riverrun"):
            against = [*baselines] or against
        for baseline in against:
            ratio = None
            if baseline is not None:
                pairs = zip(of, runs[baseline], strict=True)
                ratio = median(mine.per_s / theirs.per_s for mine, theirs in pairs)
            yield Row(case, name, "features_per_s", rate, "1/s", ratio, baseline, ok)
        cpu_us = median(run.used.cpu_s for run in of) / count * 1e6
        yield Row(case, name, "cpu_per_feature", cpu_us, "us", None, None, ok)
        memory = median(run.used.memory_mb for run in of)
        yield Row(case, name, "memory", memory, "MB", None, None, ok)


if __name__ == "__main__":
    sys.exit(main())

"""How long from a record's being produced to its prediction, at 800 features and 800 labels a second?

    .venv/bin/python perf/latency.py --json latency.json

A producer of its own process sends Bananas at a fixed rate; each system predicts and learns as they
come. Times in ms, of the features after the first `--warm-up` seconds, in all rounds but a first one: a
JVM compiles as it goes.

messaging   arrival - produced: from the producer's time stamp until the model was asked
processing  departure - arrival: until the system's own producer took the prediction
end to end  departure - produced
visible     received - produced: until a consumer that reads committed records had it

Kafka's time stamps are whole milliseconds, and so are these.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median
from typing import NamedTuple, Self

import msgspec
from kafka import KafkaConsumer, TopicPartition
from rich.console import Console

from perf.kafka_runs import Bench, Departure, System, chosen, common_options, now_ms, same
from perf.loops import Said
from perf.report import Row, environment, table, write_json

_ROOT = Path(__file__).parent.parent


class Run(NamedTuple):
    """Milliseconds of each feature event, by what they are of."""

    times: dict[str, list[float]]
    departures: list[Departure]


class Receiver:
    """A consumer of committed records, which notes when it had each."""

    def __init__(self, servers: str, topic: str) -> None:
        self.at: dict[str, float] = {}
        self._stop = threading.Event()
        self._consumer = KafkaConsumer(
            bootstrap_servers=servers, group_id=None, isolation_level="read_committed"
        )
        self._consumer.assign([TopicPartition(topic, 0)])
        self._consumer.seek_to_beginning()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        decode = msgspec.json.Decoder(Said).decode
        while not self._stop.is_set():
            for records in self._consumer.poll(timeout_ms=100).values():
                received = now_ms()
                for record in records:
                    self.at[decode(record.value).id] = received


def main(argv: list[str] | None = None) -> int:
    parser = common_options(__doc__)
    parser.add_argument("--rate", type=float, default=800.0, help="transactions a second")
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--warm-up", type=float, default=15.0, help="seconds that do not count")
    options = parser.parse_args(argv)
    systems = chosen(options.systems)
    console = Console()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="riverrun-perf-") as name, Bench(Path(name)) as bench:
        for model in options.models:
            runs: dict[str, list[Run]] = {system.name: [] for system in systems}
            for number in range(options.rounds + 1):
                for system in systems:
                    run = _run(bench, system, model, options)
                    if number > 0:
                        runs[system.name].append(run)
                    end_to_end = sorted(run.times["end_to_end"])
                    console.print(
                        f"{model} {system.name}: p50 {_percentile(end_to_end, 50):.1f} ms, "
                        f"p99 {_percentile(end_to_end, 99):.1f} ms",
                        highlight=False,
                    )
            rows += _rows(model, runs)
    described = environment(seed=options.seed, rounds=options.rounds, rate=options.rate)
    console.print(table(rows))
    if options.json is not None:
        write_json(options.json, described, rows)
    return 0 if all(row.ok for row in rows) else 1


def _run(bench: Bench, system: System, model: str, options: argparse.Namespace) -> Run:
    source, target = bench.topic("in"), bench.topic("out")
    count = int(options.rate * options.seconds)
    servers = bench.broker.servers
    with (
        bench.running(system, model, source, target) as watch,
        Receiver(servers, target) as receiver,
    ):
        load = [sys.executable, "-m", "perf.load", servers, source, "--seed", str(options.seed)]
        rate = ["--rate", str(options.rate), "--seconds", str(options.seconds)]
        subprocess.run([*load, *rate], cwd=_ROOT, check=True)
        departures = bench.wait_for(target, count, system.committed, watch)
        while len(receiver.at) < count:
            threading.Event().wait(0.1)
    produced = {
        msgspec.json.decode(record.value)["id"]: record.timestamp
        for record in bench.records(source, committed=False)
        if b'"features"' in record.value
    }
    times: dict[str, list[float]] = {
        "messaging": [],
        "processing": [],
        "end_to_end": [],
        "visible": [],
    }
    for each in departures[int(options.rate * options.warm_up) :]:
        times["messaging"].append(each.predicted - produced[each.id])
        times["processing"].append(each.left - each.predicted)
        times["end_to_end"].append(each.left - produced[each.id])
        times["visible"].append(receiver.at[each.id] - produced[each.id])
    return Run(times, departures)


def _rows(model: str, runs: dict[str, list[Run]]) -> Iterator[Row]:
    case = f"latency/{model}"
    ok = same([run.departures for of in runs.values() for run in of])
    baseline = "confluent-kafka" if "confluent-kafka" in runs else None
    for name, of in runs.items():
        for what in of[0].times:
            for metric in ("mean", "p50", "p95", "p99", "max"):
                mine = [_figure(run.times[what], metric) for run in of]
                ratio = None
                against = baseline if what == "end_to_end" and name != baseline else None
                if against is not None:
                    theirs = [_figure(run.times[what], metric) for run in runs[against]]
                    ratio = median(m / t for m, t in zip(mine, theirs, strict=True) if t)
                yield Row(case, name, f"{what}_{metric}", median(mine), "ms", ratio, against, ok)


def _figure(times: list[float], metric: str) -> float:
    if metric == "mean":
        return mean(times)
    if metric == "max":
        return max(times)
    return _percentile(sorted(times), int(metric[1:]))


def _percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)]


if __name__ == "__main__":
    sys.exit(main())

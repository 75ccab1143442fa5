"""How long from a record's being produced to its prediction, at 800 features and 800 labels a second?

    .venv/bin/python perf/latency.py --json latency.json

A producer of its own process sends Bananas at a fixed rate; each system predicts and learns as they
come. Times in ms, of the features after the first `--warm-up` seconds, in all rounds but a first one: a
JVM compiles as it goes.

messaging   arrival - produced: from the producer's time stamp until the model was asked
processing  departure - arrival: until the system's own producer took the prediction
end to end  departure - produced
client      received - produced: until a consumer that reads committed records had it
prediction, learning
            in the model's own calls; a mean
backlog     records produced and not yet predicted, each tenth of a second

Kafka's time stamps are whole milliseconds, and so are the first four.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median
from typing import NamedTuple, Self

import msgspec
from kafka import KafkaConsumer, TopicPartition
from rich.console import Console

from jobs.waiting import wait_until
from perf.kafka_runs import (
    Bench,
    Departure,
    System,
    Used,
    chosen,
    common_options,
    now_ms,
    same,
)
from perf.loops import Calls, Said
from perf.report import Row, conclude, environment

_ROOT = Path(__file__).parent.parent


class Run(NamedTuple):
    """One system under the load.

    Attributes
    ----------
    times : dict
        By what they are of, the milliseconds of each feature event that counts.
    backlog : list of int
        Each tenth of a second.
    """

    times: dict[str, list[float]]
    backlog: list[int]
    calls: Calls
    used: Used
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
    return conclude(console, rows, described, options.json)


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
        wait_until(lambda: len(receiver.at) >= count, "predictions at the client", timeout_s=60)
        calls, used = watch.calls(), watch.used()
    produced = {
        msgspec.json.decode(record.value)["id"]: record.timestamp
        for record in bench.records(source, committed=False)
        if b'"features"' in record.value
    }
    counting = departures[int(options.rate * options.warm_up) :]
    times: dict[str, list[float]] = {
        "messaging": [],
        "processing": [],
        "end_to_end": [],
        "client": [],
    }
    for each in counting:
        times["messaging"].append(each.predicted - produced[each.id])
        times["processing"].append(each.left - each.predicted)
        times["end_to_end"].append(each.left - produced[each.id])
        times["client"].append(receiver.at[each.id] - produced[each.id])
    backlog = _backlog(
        [produced[each.id] for each in counting], [each.predicted for each in counting]
    )
    return Run(times, backlog, calls, used, departures)


def _backlog(produced: list[int], predicted: list[int]) -> list[int]:
    """How many records were waiting, each tenth of a second; times in ms."""
    came, went = sorted(produced), sorted(predicted)
    return [bisect_right(came, at) - bisect_right(went, at) for at in range(came[0], came[-1], 100)]


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
        others: dict[tuple[str, str], list[float]] = {
            ("prediction", "us"): [run.calls.predict_us for run in of],
            ("learning", "us"): [run.calls.learn_us for run in of],
            ("backlog_mean", "records"): [mean(run.backlog) for run in of],
            ("backlog_max", "records"): [max(run.backlog) for run in of],
            ("cpu", "cores"): [run.used.cpu_s / run.used.seconds for run in of],
            ("memory", "MB"): [run.used.memory_mb for run in of],
        }
        for (what, unit), figures in others.items():
            yield Row(case, name, what, median(figures), unit, None, None, ok)


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

"""How fast is the job, compared with a bare River loop over the same file?

    .venv/bin/python perf/throughput.py --json throughput.json

Loop and job take turns. Each is timed from the first fifth of the transactions to the last one: the
loop by its own clock, the job by the `predicted_at` of its predictions, which it writes when the model
has answered; so start-up is left out, and whatever holds the model up is in. A row is `ok` if every
prediction of the job is the loop's, floats compared with ==.

Where a transaction's time goes is measured with LR, whose job is the fastest, in one more run without
operator chaining, so that each operator has a thread of its own; see `perf/cpu.py`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from rich.console import Console

from perf.bare import Measured
from perf.cpu import STAGES, Sampler, TooShort
from perf.flink import Engine, Predicted, engine, run_job
from perf.report import Row, conclude, environment, told
from perf.workloads import COUNTS, MODELS, SPECS, WORKLOADS, write_events

LOOP, JOB = "river loop", "riverrun job"

_SKIPPED = 0.2
# The sources are ahead of the model by what is buffered between them: they end before it.
_STAGES_UNTIL = 0.8
# Of the job's own start: until the JVM has compiled what runs for each record.
_WARM_UP = 30_000


def main(argv: list[str] | None = None) -> int:
    options = _options(argv)
    console = Console()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="riverrun-perf-") as name:
        folder = Path(name)
        with engine(folder, options.cluster) as flink:
            _warm_up(flink, folder, min(_WARM_UP, options.events or _WARM_UP), options.seed)
            for workload in options.workloads:
                for model in options.models:
                    try:
                        for row in _case(flink, folder, workload, model, options):
                            rows.append(row)
                            console.print(told(row), highlight=False)
                    except TooShort as error:
                        console.print(f"{workload}/{model}: no stages, {error}")
    engine_used = "cluster" if options.cluster else "MiniCluster"
    described = environment(engine=engine_used, seed=options.seed, rounds=options.rounds)
    code = conclude(console, rows, described, options.json)
    console.print(", ".join(f"{key} {value}" for key, value in described.items()))
    return code


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def names(known: Any) -> Any:
        def parse(text: str) -> list[str]:
            unknown = [name for name in text.split(",") if name not in known]
            if unknown:
                raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
            return text.split(",")

        return parse

    parser.add_argument("--workloads", type=names(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--models", type=names(MODELS), default=list(MODELS))
    parser.add_argument(
        "--events", type=int, help="transactions a run; default: by the model's speed"
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--cluster",
        action="store_true",
        help="two task managers, join and model apart, instead of a MiniCluster",
    )
    parser.add_argument("--json", type=Path, help="write the rows there")
    return parser.parse_args(argv)


def _warm_up(flink: Engine, folder: Path, count: int, seed: int) -> None:
    events = folder / "warm-up.jsonl"
    write_events(events, WORKLOADS["phishing"](count, seed), seed)
    run_job(flink, folder / "run", events, SPECS["LR"])


def _case(
    flink: Engine, folder: Path, workload: str, model: str, options: argparse.Namespace
) -> Iterator[Row]:
    count = options.events or COUNTS[workload][model]
    skipped = int(count * _SKIPPED)
    events = folder / "events.jsonl"
    write_events(events, WORKLOADS[workload](count, options.seed), options.seed)
    loops, jobs = [], []
    ok = True
    for _ in range(options.rounds):
        loop = _bare(events, model, count, skipped)
        predictions = run_job(flink, folder / "run", events, SPECS[model])
        ok = ok and same(predictions, loop)
        at = [prediction.predicted_at for prediction in predictions]
        loops.append(loop.wall_s / (count - skipped))
        jobs.append((at[-1] - at[skipped - 1]) / 1000 / (count - skipped))
    case = f"{workload}/{model}"
    ratio = median(loop / job for loop, job in zip(loops, jobs, strict=True))
    yield Row(case, LOOP, "transactions_per_s", 1 / median(loops), "1/s", None, None, ok)
    yield Row(case, JOB, "transactions_per_s", 1 / median(jobs), "1/s", ratio, LOOP, ok)
    if model == "LR":
        with Sampler(flink.pids()) as sampler:
            predictions = run_job(flink, folder / "run", events, SPECS[model], chained=False)
        ok = same(predictions, loop)
        for stage, cost_us in _stages(predictions, sampler, events, loop, count, skipped).items():
            yield Row(case, JOB, f"cpu_{stage}", cost_us, "us", None, None, ok)


def _bare(events: Path, model: str, count: int, skipped: int) -> Measured:
    command = [sys.executable, "-m", "perf.bare", str(events), model, str(count), str(skipped)]
    root = Path(__file__).parent.parent
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(root)}, stdout=subprocess.PIPE, check=True
    )
    return msgspec.json.decode(done.stdout, type=Measured)


def same(predictions: list[Predicted], loop: Measured) -> bool:
    """Whether every prediction of the job is the loop's, in the order of the features."""
    return len(predictions) == len(loop.said) and all(
        prediction.id == f"t{place}"
        and prediction.probabilities == said
        and prediction.prediction == (max(said, key=said.__getitem__) == "true" if said else None)
        for place, (prediction, said) in enumerate(zip(predictions, loop.said, strict=True))
    )


def _stages(
    predictions: list[Predicted],
    sampler: Sampler,
    events: Path,
    loop: Measured,
    count: int,
    skipped: int,
) -> dict[str, float]:
    """CPU time a transaction in microseconds; River's part of the model's is what the loop took."""
    at = [prediction.predicted_at / 1000 for prediction in predictions]
    begin, end = sampler.between(at[skipped], at[int(count * _STAGES_UNTIL)])
    done = sum(begin.at <= predicted <= end.at for predicted in at)
    spent = {stage: (end.cpu_s[stage] - begin.cpu_s[stage]) / done * 1e6 for stage in STAGES}
    parse = _parse_us(events, count)
    river = (loop.cpu_s - loop.parse_s) / (count - skipped) * 1e6
    return {
        "source": spent.pop("source"),
        "parse": parse,
        "join": spent.pop("join") - parse,
        "river": river,
        "model": spent.pop("model") - river,
        **spent,
    }


def _parse_us(events: Path, count: int) -> float:
    """What the job's decoder takes for the lines of a transaction."""
    from events.decode import Decoder, Limits

    decode = Decoder(Limits()).decode
    lines = events.read_bytes().splitlines()
    begun = time.process_time()
    for line in lines:
        decode(line)
    return (time.process_time() - begun) / count * 1e6


if __name__ == "__main__":
    sys.exit(main())

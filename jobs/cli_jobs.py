"""The commands of a job: run, backtest, check, dead-letters, topics, submit, upgrade, status, demo."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from jobs.config import Config, FileSink, load_config
from jobs.durations import parse_duration
from jobs.errors import Failure
from jobs.starting import Start
from jobs.terminal import JsonFlag, err, out, print_json

app = typer.Typer()

ConfigFile = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="The job's TOML file.", exists=True, dir_okay=False)
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Begin anew; checkpoints are set aside.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Delete output files of other runs.")]
PartOption = Annotated[
    Literal["predict", "learn"] | None,
    typer.Option("--part", help='Of a job with mode = "published"; default: both in one job.'),
]
Url = Annotated[str, typer.Option(metavar="URL", help="Flink's REST address.")]


@app.command(epilog="Example: riverrun run examples/phishing/job.toml")
def run(
    config: ConfigFile,
    resume: Resume = False,
    fresh: Fresh = False,
    overwrite: Overwrite = False,
    prometheus: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=1,
            max=65535,
            help="Metrics for Prometheus, on every address of this machine.",
            show_default="none",
        ),
    ] = None,
    web_ui: Annotated[bool, typer.Option("--web-ui", help="Say where Flink's web UI is.")] = False,
    json: JsonFlag = False,
) -> None:
    """Run the job here, on an embedded Flink, until its input ends or Ctrl-C."""
    from jobs import running
    from jobs.summary import print_summary, summarize

    loaded = load_config(config)
    start = _start(resume, fresh)
    with _job_progress() as show:
        ended = running.run(
            loaded,
            start=start,
            overwrite=overwrite,
            prometheus_port=prometheus,
            on_web_ui=(lambda url: err.print(f"web UI: {url}")) if web_ui else None,
            progress=show,
        )
    summary = summarize(loaded)
    if json:
        print_json(summary)
    else:
        print_summary(summary, out)
    if not ended:
        err.print(
            f"interrupted; riverrun run {config} --resume goes on. Part files that were still open "
            "are not in these numbers"
        )
        raise typer.Exit(130)


@app.command(epilog="Example: riverrun demo")
def demo(
    folder: Annotated[
        Path | None,
        typer.Option("--dir", metavar="FOLDER", help="For its input and output."),
    ] = None,
) -> None:
    """Learn from River's Phishing data with delayed labels, and compare with plain River."""
    from jobs import demo as showing

    with _job_progress() as show:
        shown = showing.demo(folder or showing.FOLDER, progress=show)
    if shown is None:
        raise typer.Exit(130)
    showing.print_demo(shown, out)
    if shown.different:
        raise typer.Exit(1)


@app.command(epilog="Example: riverrun backtest job.toml --save fraud.rrv")
def backtest(
    config: ConfigFile,
    overwrite: Overwrite = False,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE.rrv", help="Keep the champion's last version as an artifact."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Run the same job in plain Python, without a JVM, over files that end."""
    from jobs import backtest as backtesting
    from jobs import webhook_rules
    from jobs.summary import print_summary, summarize

    loaded = load_config(config)
    with _progress() as progress:
        task = progress.add_task("reading", total=None)

        def show(flow: Any) -> None:
            text = f"{flow.records:,} records, {flow.stats.predictions:,} predictions"
            progress.update(task, description=text)

        backtesting.backtest(loaded, overwrite=overwrite, save=save, progress=show)
    for notice in webhook_rules.not_called(loaded):
        err.print(notice)
    summary = summarize(loaded)
    if json:
        print_json(summary)
        return
    print_summary(summary, out)
    if save is not None:
        out.print(f"the champion's last version is in {save}")


@app.command(epilog="Example: riverrun check job.toml --sample 100")
def check(
    config: ConfigFile,
    sample: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Also run N real records through it.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Validate a configuration and print it, defaults filled in and secrets masked."""
    from jobs import checking
    from jobs.deployments import deployments
    from jobs.kafka_checks import kept_too_briefly
    from jobs.starting import require_built

    loaded = load_config(config)
    require_built(loaded)
    deployments(loaded)
    noticed = [*checking.warnings(loaded), *kept_too_briefly(loaded)]
    tried = None if sample is None else checking.try_sample(loaded, sample)
    if json:
        print_json({"config": loaded.to_public_dict(), "warnings": noticed, "sample": tried})
        return
    out.print(loaded.to_public_toml())
    for warning in noticed:
        err.print(f"warning: {warning}")
    if tried is None:
        return
    out.print(
        f"{tried.records:,} records: {tried.predictions:,} predictions, {tried.learned:,} learned"
    )
    for reason, (count, first) in tried.dead_letters.items():
        out.print(f"{count:,} dead letters {reason}, the first at {first.position}: {first.detail}")


letters_app = typer.Typer(
    name="dead-letters", help="Records that were refused.", no_args_is_help=True
)
app.add_typer(letters_app, epilog="Example: riverrun dead-letters list job.toml --reason bad_ts")
ReasonOption = Annotated[
    str | None, typer.Option("--reason", metavar="REASON", help="Only those; docs/formats.md.")
]


@letters_app.command("list", epilog="Example: riverrun dead-letters list job.toml")
def letters_list(config: ConfigFile, reason: ReasonOption = None, json: JsonFlag = False) -> None:
    """Print dead letters, a line each: position, reason, detail."""
    from jobs.dead_letters import dead_letters

    for letter in dead_letters(load_config(config), _known(reason)):
        if json:
            print_json(letter)
        else:
            model = f" {letter.model}" if letter.model else ""
            out.print(f"{letter.position} {letter.stage}{model} {letter.reason}: {letter.detail}")


@letters_app.command(
    "replay",
    epilog="Example: riverrun dead-letters replay job.toml --reason late_label --out again.jsonl",
)
def letters_replay(
    config: ConfigFile,
    target: Annotated[Path, typer.Option("--out", metavar="FILE", help="A file to be made.")],
    reason: ReasonOption = None,
) -> None:
    """Write the refused records to a new file; put it where an input reads."""
    from jobs import dead_letters

    loaded = load_config(config)
    letters = dead_letters.dead_letters(loaded, _known(reason))
    written, left_out = dead_letters.replay(letters, target, loaded.limits.raw_bytes)
    out.print(f"{written:,} records written to {target}")
    if left_out:
        err.print(f"{left_out:,} left out: cut at [limits] raw_bytes, without a value, or alerts")


@app.command(epilog="Example: riverrun missing job.toml --json")
def missing(config: ConfigFile, json: JsonFlag = False) -> None:
    """List what should be in the outputs by what was read, and is not; exit code 1 if there is any."""
    from jobs.missing import missing as find

    found = 0

    def told(records: int) -> None:
        err.print(f"{records:,} records that the job has read were looked at")

    for lost in find(load_config(config), told):
        found += 1
        if json:
            print_json(lost._asdict())
        else:
            out.print(f"{lost.output} {lost.model} {lost.id}")
    if found:
        raise typer.Exit(1)


@app.command(epilog="Example: riverrun bench job.toml --sample events.jsonl")
def bench(
    config: ConfigFile,
    sample: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Records; default: those of the inputs."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Records at the most.")] = 20_000,
    json: JsonFlag = False,
) -> None:
    """Measure how many transactions a second the models can take on this machine."""
    from jobs.bench import bench as measure

    for rate in measure(load_config(config), sample, count):
        if json:
            print_json(rate._asdict())
        else:
            out.print(f"{rate.model or 'all, in the job'} {rate.what}: {rate.per_s:,.0f}/s")


topics_app = typer.Typer(
    name="topics", help="The Kafka topics of a configuration.", no_args_is_help=True
)
app.add_typer(topics_app, epilog="Example: riverrun topics create job.toml --partitions 3")


@topics_app.command("create", epilog="Example: riverrun topics create job.toml --partitions 3")
def topics_create(
    config: ConfigFile,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Of each new topic; default: the broker's.")
    ] = None,
    replication: Annotated[
        int | None,
        typer.Option("--replication-factor", min=1, help="Likewise; default: the broker's."),
    ] = None,
    retention: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="How long records are kept, such as 30d; default: for ever where an audit needs "
            "them, elsewhere as the broker has it.",
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Make the topics that are missing."""
    from jobs.kafka_checks import create_topics

    try:
        retention_ms = None if retention is None else parse_duration(retention)
    except ValueError:
        raise typer.BadParameter(
            f"--retention {retention}: a duration like 30d is expected"
        ) from None
    for made in create_topics(
        load_config(config),
        partitions=partitions,
        replication=replication,
        retention_ms=retention_ms,
    ):
        if json:
            print_json(made._asdict())
        else:
            out.print(f"{made.topic}: {'made' if made.created else 'is there'}")
        if made.problem is not None:
            err.print(f"warning: {made.topic}: {made.problem}")


@app.command(epilog="Example: riverrun submit job.toml --url http://127.0.0.1:8081")
def submit(
    config: ConfigFile,
    url: Url = "http://127.0.0.1:8081",
    resume: Resume = False,
    fresh: Fresh = False,
    overwrite: Overwrite = False,
    savepoint: Annotated[
        str | None, typer.Option("--from", metavar="SAVEPOINT", help="Start from this savepoint.")
    ] = None,
    part: PartOption = None,
    other_mode: Annotated[
        bool,
        typer.Option(
            "--other-mode",
            help="The savepoint is of live mode and the job of published mode, or the other way "
            "round: the join goes on, models come from their artifacts.",
        ),
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Start the job on a cluster and wait until it runs."""
    from jobs import submitting
    from jobs.rest import Rest

    loaded = _part_of(config, part)
    if other_mode and savepoint is None:
        raise typer.BadParameter("--other-mode goes with --from SAVEPOINT")
    with err.status("submitting"):
        job_id = submitting.submit(
            loaded,
            config,
            Rest(url),
            start=_start(resume, fresh),
            overwrite=overwrite,
            savepoint=savepoint,
            other_mode=other_mode,
        )
    if json:
        print_json({"job": job_id, "url": url})
    else:
        out.print(f"job {job_id} runs: {url}/#/job/running/{job_id}/overview")


@app.command(epilog="Example: riverrun upgrade job.toml --url http://127.0.0.1:8081")
def upgrade(
    config: ConfigFile,
    url: Url = "http://127.0.0.1:8081",
    part: PartOption = None,
    json: JsonFlag = False,
) -> None:
    """Stop the job with a savepoint and start this code and configuration from it."""
    from jobs import submitting
    from jobs.rest import Rest

    loaded = _part_of(config, part)
    with err.status("upgrading"):
        job_id, savepoint = submitting.upgrade(loaded, config, Rest(url))
    if json:
        print_json({"job": job_id, "savepoint": savepoint, "url": url})
    else:
        out.print(f"job {job_id} runs from {savepoint}")


@app.command(epilog="Example: riverrun status job.toml --json")
def status(
    config: ConfigFile,
    url: Url = "http://127.0.0.1:8081",
    part: PartOption = None,
    json: JsonFlag = False,
) -> None:
    """Say how the job is; exit code 1 unless it runs or has finished."""
    from jobs import submitting
    from jobs.rest import Rest

    found = submitting.status(_part_of(config, part), Rest(url))
    if json:
        print_json(found)
    else:
        out.print(f"{found.name} {found.state}, job {found.id}")
        out.print(f"last checkpoint: {found.last_checkpoint or 'none yet'}")
        if found.restarts:
            out.print(f"{found.restarts} restarts, the last because of: {found.failure}")
        for name, value in found.metrics.items():
            out.print(f"{name.replace('_', ' ')}: {value:,}")
        for reason, count in found.dead_letters.items():
            out.print(f"dead letters {reason}: {count:,}")
    if found.state not in ("RUNNING", "FINISHED"):
        raise typer.Exit(1)


def _part_of(path: Path, part: Literal["predict", "learn"] | None) -> Config:
    config = load_config(path)
    if part is not None and config.job.mode != "published":
        raise Failure(f'--part {part} goes with [job] mode = "published"')
    if part is not None and any(isinstance(sink, FileSink) for sink in config.dead_letters):
        raise Failure("[dead_letters] is a folder, and both parts write there: give it a topic")
    return config.for_part(part)


def _start(resume: bool, fresh: bool) -> Start:
    if resume and fresh:
        raise typer.BadParameter("give one of --resume and --fresh")
    return "resume" if resume else "fresh" if fresh else "new"


def _known(reason: str | None) -> str | None:
    from events.reasons import Reason

    if reason is not None and reason not in set(Reason):
        raise Failure(f"no reason {reason!r}; there are {', '.join(Reason)}")
    return reason


@contextlib.contextmanager
def _job_progress() -> Iterator[Callable[[Any], None]]:
    """Shows how far a running job is: totals, and records per second since the last look."""
    with _progress() as progress:
        task = progress.add_task("starting Flink", total=None)
        before = [time.monotonic(), 0]

        def show(so_far: Any) -> None:
            if not so_far.records:
                return  # Flink answers before its tasks run
            now = time.monotonic()
            rate = (so_far.records - before[1]) / max(now - before[0], 1e-9)
            before[:] = now, so_far.records
            text = (
                f"{so_far.records:,} records, {so_far.predictions:,} predictions, "
                f"{so_far.labelled:,} labelled, {rate:,.0f} records/s"
            )
            progress.update(task, description=text)

        yield show


def _progress() -> Progress:
    """On standard error, and silent where that is no terminal."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not sys.stderr.isatty(),
    )

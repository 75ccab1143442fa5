"""`riverrun backtest`: the job's own cores over files, in plain Python, without a JVM."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any, TextIO

import msgspec

from jobs.config import OUTPUTS, Config, FileInput, FileSink
from jobs.deployments import deployments
from jobs.errors import Failure
from jobs.reading_inputs import files_of, records
from jobs.starting import clear_outputs, require_built
from operators.learning import Emit, Lane, Out, Output
from operators.plain import FlowSettings, PlainFlow
from state.artifacts import Manifest, write_artifact
from state.snapshots import environment, pickle_model

Progress = Callable[[PlainFlow], None]
EVERY = 1000  # records between two calls of the progress function


def flow_settings(config: Config) -> FlowSettings:
    """What of the configuration bears on results."""
    return FlowSettings(
        join=config.join_settings(),
        times=config.time_range(),
        max_out_of_orderness_ms=config.events.max_out_of_orderness_ms,
        ordered=config.job.ordering == "event_time",
        lane_by=config.job.lane_by,
        live_lanes=config.job.live_lanes,
    )


def flow(config: Config, emit: Emit, model: Any = None) -> PlainFlow:
    """The configured flow, nothing read yet; `emit` takes an output's name and a record's text."""
    out = Out(
        predictions=bool(config.predictions),
        evaluations=bool(config.evaluations),
        learn_log=bool(config.learn_log),
    )
    return PlainFlow(
        flow_settings(config),
        config.decoder(),
        deployments(config, model),
        out,
        emit,
        [name for name, _ in config.inputs()],
    )


def backtest(
    config: Config,
    model: Any = None,
    *,
    overwrite: bool = False,
    save: Path | None = None,
    progress: Progress | None = None,
) -> PlainFlow:
    """Run over all file inputs and write every configured file output.

    Parameters
    ----------
    model : River estimator, optional
        Stands for the spec of the one model that has none.
    save : path, optional
        Where the champion's last version is kept, as an artifact; not with `lane_by`.

    Raises
    ------
    ConfigError, Failure
        The configuration cannot be used here; there is output already.
    """
    require_built(config)
    if save is not None and config.job.lane_by is not None:
        raise Failure("--save keeps one version, and with lane_by there is one a lane")
    written: dict[str, list[TextIO]] = {}

    def emit(output: Output, record: str) -> None:
        for file in written[output]:
            file.write(record + "\n")

    # What cannot run deletes no output of what could.
    running = flow(config, emit, model)
    for _, source in config.inputs():
        if isinstance(source, FileInput):
            files_of(source)
    if save is not None:
        save.parent.mkdir(parents=True, exist_ok=True)
    clear_outputs(config, overwrite)
    with ExitStack() as stack:
        written.update((output, _open(config, output, stack)) for output in OUTPUTS)
        for record in records(config):
            running.record(record)
            if progress is not None and running.records % EVERY == 0:
                progress(running)
        running.end()
    if progress is not None:
        progress(running)
    if save is not None:
        save_champion(running.lane(None), save)
    return running


def _open(config: Config, output: str, stack: ExitStack) -> list[TextIO]:
    """One file in each folder that this output goes to."""
    files: list[TextIO] = []
    for sink in config.sinks(output):
        if isinstance(sink, FileSink):
            folder = Path(sink.path)
            folder.mkdir(parents=True, exist_ok=True)
            files.append(
                stack.enter_context((folder / "part-0-0.jsonl").open("w", encoding="utf-8"))
            )
    return files


def save_champion(lane: Lane, path: Path) -> Manifest:
    """Keep the champion's present version as an artifact."""
    [live] = [live for live in lane.live.values() if live.settings.role == "champion"]
    pickled = pickle_model(live.model)
    manifest = Manifest(
        model=live.settings.name,
        lane=live.lane,
        version=live.version,
        n=live.n,
        head=live.head.hex(),
        task=live.settings.task,
        origin=msgspec.to_builtins(live.settings.origin),
        label_type=live.label_type,
        names=sorted(live.names),
        purity=live.settings.purity,
        environment=environment(),
        sha256=sha256(pickled).hexdigest(),
        created=time.time_ns() // 1_000_000,
    )
    write_artifact(path, manifest, pickled)
    return manifest

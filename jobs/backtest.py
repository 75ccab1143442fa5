"""`riverrun backtest`: the job's own cores over files, in plain Python, without a JVM."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from jobs import control_stream
from jobs.config import OUTPUTS, Config, FileInput, FileSink
from jobs.deployments import deployments
from jobs.errors import Failure
from jobs.job_keys import signing_key
from jobs.reading_inputs import files_of, records
from jobs.starting import clear_outputs, require_built
from operators.exporting import manifest_of
from operators.learning import Lane
from operators.plain import FlowSettings, PlainFlow, Write, Written
from state.artifacts import Manifest, write_artifact
from state.signing import SigningKey
from state.snapshots import pickle_model

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
        hold_limit=control_stream.lane_settings(config).hold_limit,
        gate=control_stream.gate_settings(config),
        trial=control_stream.trial_limits(config),
        monitors=config.monitors,
        actions=control_stream.action_settings(config),
    )


def flow(config: Config, emit: Write, model: Any = None) -> PlainFlow:
    """The configured flow, nothing read yet; `emit` takes an output's name and a record's text."""
    return PlainFlow(
        flow_settings(config),
        config.decoder(),
        deployments(config, model),
        control_stream.out(config),
        emit,
        [name for name, _ in config.inputs()],
        control_stream.publish(config),
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

    def emit(output: Written, record: str) -> None:
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
        save_champion(running.lane(None), save, signing_key(config))
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


def save_champion(lane: Lane, path: Path, key: SigningKey | None = None) -> Manifest:
    """Keep the champion's present version as an artifact, signed where there is a key."""
    champion = lane.roles.champion
    if champion is None:
        raise Failure("there is no champion to keep: every model was retired")
    live = lane.live[champion]
    pickled = pickle_model(live.model)
    manifest = manifest_of(live, pickled)
    write_artifact(path, manifest, pickled, key)
    return manifest

"""What must hold in `[[monitor]]`, and between it and the rest of a configuration."""

from typing import Final

from jobs.durations import format_duration
from jobs.reading import Mistakes, Place, numbered, shown
from jobs.settings import Config, ModelConfig
from models import metrics
from models.specs import SpecError
from models.tasks import TaskName, conforms
from operators import drifts
from operators.monitor_settings import DriftSettings, MonitorSettings

# Each is kept with metrics of its own until no label can come any more.
_MOST_SPANS: Final = 2000


def check(config: Config, mistakes: Mistakes) -> None:
    """Note every rule that the configuration's monitors break."""
    names: dict[str, Place] = {}
    for index, monitor in enumerate(config.monitors):
        place = numbered("monitor", index)
        if mistakes.none_at(place / "name"):
            other = names.setdefault(monitor.name, place)
            if other is not place:
                problem = f"is {shown(monitor.name)}, as is that of {other}; another is expected"
                mistakes.add(place / "name", problem)
        _monitor(config, monitor, place, mistakes)
    if config.monitors and not (config.metrics or config.alerts):
        problem = "writes nowhere; [metrics], [alerts] or both are expected"
        mistakes.add(numbered("monitor", 0), problem)
    if config.metrics and not config.monitors and mistakes.none_at(Place("[[monitor]]")):
        mistakes.add(Place("[metrics]"), "is written by monitors, and there is no [[monitor]]")


def _monitor(config: Config, monitor: MonitorSettings, place: Place, mistakes: Mistakes) -> None:
    watched = [model for model in config.models if monitor.watches(model.name)]
    _about(config, monitor, watched, place, mistakes)
    tasks = sorted({model.task for model in watched if model.task is not None})
    if mistakes.none_at(place / "metrics"):
        _metrics(monitor, tasks, place / "metrics", mistakes)
    at = place / "event_window"
    if mistakes.none_at(at, Place("[join]") / "retention"):
        retention_ms = config.join.retention_ms
        if retention_ms > _MOST_SPANS * monitor.event_window_ms:
            least = format_duration(-(-retention_ms // _MOST_SPANS))
            problem = (
                f'is "{format_duration(monitor.event_window_ms)}"; at least "{least}" is expected, '
                f"as no more than {_MOST_SPANS} are kept within [join] retention"
            )
            mistakes.add(at, problem)
    if monitor.data_quality is not None and config.job.mode == "published":
        problem = 'goes with mode = "live": "published" looks at predictions and errors only'
        mistakes.add(place / "data_quality", problem)
    for number, wanted in enumerate(monitor.drift):
        _drift(config, wanted, watched, place / "drift" / str(number), mistakes)


def _about(
    config: Config,
    monitor: MonitorSettings,
    watched: list[ModelConfig],
    place: Place,
    mistakes: Mistakes,
) -> None:
    """Which models, and which of their labels."""
    deployed_later = config.control is not None or config.triggers or config.schedules
    if not deployed_later and mistakes.none_at(place / "models"):
        there = [model.name for model in config.models]
        for name in monitor.models:
            if name not in there:
                problem = f"has {shown(name)}; there are {', '.join(map(shown, there))}"
                mistakes.add(place / "models", problem)
    if monitor.positive is not None and mistakes.none_at(place / "positive"):
        for model in watched:
            if model.labels is not None and not conforms(monitor.positive, model.labels):
                problem = (
                    f"is {shown(monitor.positive)}; {shown(model.name)} has "
                    f"labels = {shown(model.labels)}"
                )
                mistakes.add(place / "positive", problem)


def _metrics(
    monitor: MonitorSettings, tasks: list[TaskName], place: Place, mistakes: Mistakes
) -> None:
    names: set[str] = set()
    for number, spec in enumerate(monitor.metrics):
        at = place / str(number)
        name = metrics.name_of(spec)
        if name in names:
            mistakes.add(at, f"is {shown(name)} again; another is expected")
        names.add(name)
        try:
            metrics.make(spec)
        except SpecError as error:
            mistakes.add(at, f"is no metric of River: {error.problems[0]}")
            continue
        for task in tasks:
            problem = metrics.misfit(spec, task)
            if problem is not None:
                mistakes.add(at, f"does not fit: {problem}, and a model has task = {shown(task)}")


def _drift(
    config: Config,
    wanted: DriftSettings,
    watched: list[ModelConfig],
    place: Place,
    mistakes: Mistakes,
) -> None:
    if not mistakes.none_at(place / "on", place / "feature", place / "detector", place / "params"):
        return
    if wanted.on == "feature":
        if config.job.mode == "published":
            problem = 'is "feature"; mode = "published" looks at predictions and errors only'
            mistakes.add(place / "on", problem)
        elif wanted.feature is None:
            mistakes.add(place / "feature", 'is missing; on = "feature" needs the name of one')
        elif _never_there(config, wanted.feature):
            problem = f"is {shown(wanted.feature)}, which [features.schema] lets through nowhere"
            mistakes.add(place / "feature", problem)
    elif wanted.feature is not None:
        mistakes.add(place / "feature", 'goes with on = "feature" only')
    try:
        drifts.detector(wanted.detector, wanted.params, "")
    except SpecError as error:
        mistakes.add(place / "params", f"are refused: {error.problems[0]}")
    if wanted.on == "error":
        for model in watched:
            if model.task == "anomaly":
                problem = (
                    f'is "error"; {shown(model.name)} gives scores, which no label proves wrong'
                )
                mistakes.add(place / "on", problem)
    if wanted.detector in drifts.BINARY:
        numbers = wanted.on != "error" or any(model.task != "classification" for model in watched)
        if numbers:
            problem = f'is "{wanted.detector}", which takes right and wrong only; one of '
            mistakes.add(place / "detector", f"{problem}{', '.join(drifts.NUMERIC)} is expected")


def _never_there(config: Config, feature: str) -> bool:
    schema = config.schema
    return schema is not None and schema.unknown != "keep" and feature not in schema.types

"""`[[trigger]]` and `[[schedule]]`: what a job may do to its own models, and how often."""

from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta, Struct

from models.tasks import TaskName
from operators.monitor_settings import MonitorName, Positive

Does = Literal["deploy", "promote", "rollback", "freeze", "unfreeze", "retire", "publish"]
On = Literal["drift", "data_quality", "suspended", "failing", "recovered", "better", "worse"]


class Trigger(Struct, frozen=True):
    """One `[[trigger]]`; docs/monitoring.md explains every key. Times in ms of event time.

    Attributes
    ----------
    on : str
        The kind of an alert, or the verdict on a challenger.
    model : str
        Whom the alert or the verdict is about: a name, or a pattern with `*`.
    role : str
        The role that alerts of a model are looked for in; a verdict is always on a challenger.
    spec, task
        `deploy`: the model; left out, as that one was deployed.
    deploy_as : str
        `deploy`: its name; `{model}` and `{n}`, which counts, are filled in.
    feed : bool
        `deploy` on an alert: whether it first learns what is retained of the fresh data.
    """

    name: MonitorName
    on: On
    do: Does
    model: str = "*"
    role: Literal["champion", "challenger", "shadow"] = "champion"
    monitor: str | None = None
    feature: str | None = None
    detector: str | None = None
    spec: dict[str, Any] | None = None
    task: TaskName | None = None
    deploy_as: str = "{model}-{n}"
    feed: bool = True
    expires_after_ms: Positive | None = None
    cooldown_ms: Positive = 86_400_000
    at_most: Positive = 10
    period_ms: Positive = 30 * 86_400_000


class Schedule(Struct, frozen=True):
    """One `[[schedule]]`: done at the first observation of each span of event time, from the second on."""

    name: MonitorName
    every_ms: Annotated[int, Meta(ge=1000)]
    do: Literal["deploy", "promote", "freeze", "unfreeze", "retire", "publish"]
    model: str
    spec: dict[str, Any] | None = None
    task: TaskName | None = None
    deploy_as: str = "{model}-{n}"
    expires_after_ms: Positive | None = None


class ModelSpec(NamedTuple):
    """What a model was deployed as."""

    task: TaskName
    spec: dict[str, Any]


class ActionSettings(Struct, frozen=True):
    """What the actor of a job goes by.

    Attributes
    ----------
    specs : dict
        Name -> what the configuration has the model made of.
    signing_key_file : str or None
        The job's own key, which signs what it tells itself.
    """

    job: str
    triggers: tuple[Trigger, ...]
    schedules: tuple[Schedule, ...]
    specs: dict[str, ModelSpec]
    signing_key_file: str | None = None

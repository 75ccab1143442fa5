"""What must hold in `[[trigger]]` and `[[schedule]]`: what they do must be something the job can be told."""

import re
from typing import Final

from jobs.reading import Mistakes, Place, numbered, shown
from jobs.settings import Config, FileInput, KafkaInput
from models import specs, tasks
from operators.action_settings import Schedule, Trigger

CONTROL: Final = Place("[control]")
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")
_OF_ALERTS: Final = ("drift", "data_quality", "recovered")


def check(config: Config, mistakes: Mistakes) -> None:
    """Note every rule that the configuration's triggers and schedules break."""
    rules: list[tuple[Place, Trigger | Schedule]] = [
        *((numbered("trigger", index), rule) for index, rule in enumerate(config.triggers)),
        *((numbered("schedule", index), rule) for index, rule in enumerate(config.schedules)),
    ]
    if not rules:
        return
    first, _ = rules[0]
    if not config.monitors:
        mistakes.add(first, "follows from what a monitor tells, and there is no [[monitor]]")
    _way_back(config, first, mistakes)
    names: dict[tuple[type, str], Place] = {}
    for place, rule in rules:
        if mistakes.none_at(place / "name"):
            other = names.setdefault((type(rule), rule.name), place)
            if other is not place:
                problem = f"is {shown(rule.name)}, as is that of {other}; another is expected"
                mistakes.add(place / "name", problem)
        _rule(config, rule, place, mistakes)


def _way_back(config: Config, first: Place, mistakes: Mistakes) -> None:
    """Messages go where control messages are read."""
    if config.control is None:
        if mistakes.none_at(CONTROL):
            mistakes.add(first, "acts by control messages, and there is no [control]")
    elif isinstance(config.control, KafkaInput):
        if len(config.control.named_topics) != 1 and mistakes.none_at(CONTROL / "topic"):
            problem = "is missing; a job that writes control messages itself needs to know which"
            mistakes.add(CONTROL / "topic", problem)
    elif isinstance(config.control, FileInput) and not config.control.watch:
        problem = "is false; a job that writes control messages itself must watch for them"
        mistakes.add(CONTROL / "watch", problem)
    security = config.security
    if security.require_signatures and security.signing_key_file is None:
        problem = "is missing; with require_signatures the job must sign what it tells itself"
        mistakes.add(Place("[security]") / "signing_key_file", problem)


def _rule(config: Config, rule: Trigger | Schedule, place: Place, mistakes: Mistakes) -> None:
    if not mistakes.none_at(place / "do", place / "on"):
        return
    if isinstance(rule, Trigger):
        _trigger(config, rule, place, mistakes)
    deploys = rule.do == "deploy"
    for key in ("spec", "task", "expires_after"):
        value = rule.expires_after_ms if key == "expires_after" else getattr(rule, key)
        if value is not None and not deploys:
            mistakes.add(place / key, 'goes with do = "deploy" only')
    if not deploys:
        return
    if not _NAME.fullmatch(rule.deploy_as.replace("{model}", "m", 1).replace("{n}", "1", 1)) or (
        "{n}" not in rule.deploy_as
    ):
        problem = (
            f"is {shown(rule.deploy_as)}; a name with {{n}}, and {{model}} if need be, is expected"
        )
        mistakes.add(place / "deploy_as", problem)
    if rule.spec is None:
        return
    if rule.task is None:
        mistakes.add(place / "task", "is missing; a spec needs it")
        return
    for problem in specs.check(rule.spec):
        mistakes.add(place / "spec", f"is wrong: {problem.removeprefix('spec: ')}")
        return
    for problem in tasks.task_for(rule.task).check_model(specs.build(rule.spec, rule.name)):
        mistakes.add(place / "spec", f"does not fit: {problem}")


def _trigger(config: Config, rule: Trigger, place: Place, mistakes: Mistakes) -> None:
    if rule.do == "rollback" and rule.on != "drift":
        problem = f'is "rollback", which needs the version before a change: on = "drift", not {shown(rule.on)}'
        mistakes.add(place / "do", problem)
    known = [monitor.name for monitor in config.monitors]
    if rule.monitor is not None and known and rule.monitor not in known:
        mistakes.add(place / "monitor", f"is {shown(rule.monitor)}; known are {', '.join(known)}")
    drift = [wanted for monitor in config.monitors for wanted in monitor.drift]
    if rule.on == "drift" and config.monitors and not drift:
        mistakes.add(place / "on", 'is "drift", and no [[monitor]] looks for any')
    looked = any(monitor.data_quality is not None for monitor in config.monitors)
    if rule.on == "data_quality" and config.monitors and not looked:
        mistakes.add(place / "on", 'is "data_quality", and no [[monitor]] has that')
    for key in ("feature", "detector"):
        if getattr(rule, key) is not None and rule.on not in _OF_ALERTS:
            mistakes.add(place / key, f"goes with {' or '.join(map(shown, _OF_ALERTS))} only")

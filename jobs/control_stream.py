"""What a configuration says about the control stream, as its operators take it."""

from functools import partial
from typing import Any, get_args

import msgspec

from jobs.config import Config
from jobs.job_keys import signing_key
from jobs.settings import ModelConfig
from operators.action_settings import ActionSettings, ModelSpec
from operators.exporting import artifact_records
from operators.gate import GateSettings
from operators.learning import LaneSettings, Out, Output, Publish
from operators.scratch import TrialLimits


def gate_settings(config: Config) -> GateSettings | None:
    """How control messages are judged; None without a control stream."""
    if config.control is None:
        return None
    return GateSettings(
        job=config.job.name,
        limits=config.limits,
        filed={model.name: model.role for model in config.models},
        ordered=config.job.ordering == "event_time",
        min_ts=config.events.min_ts,
        laned=config.job.lane_by is not None,
        trusted_keys=config.security.trusted_keys,
        require_signatures=config.security.require_signatures,
        signing_key_file=config.security.signing_key_file,
        models=_deployed(),
    )


def _deployed() -> dict[str, Any]:
    """A model that comes by a message has the defaults of `[[models]]`."""
    model = ModelConfig(name="any", task="classification")
    kept = {name: getattr(model, name) for name in ("max_failures", "failure_window", "snapshot")}
    return msgspec.to_builtins({**kept, "retain": model.retain_versions})


def trial_limits(config: Config) -> TrialLimits:
    """What trying a model may take."""
    return TrialLimits(config.job.trial_limit_ms / 1000, config.job.trial_memory_mb)


def lane_settings(config: Config) -> LaneSettings:
    """What all lanes have in common."""
    hold = config.job.hold_limit if config.job.without_model == "hold" else 0
    key = config.security.signing_key_file if config.versions else None
    return LaneSettings(config.limits.raw_bytes, hold, key, config.published.part_bytes)


def out(config: Config) -> Out:
    """Which outputs are written."""
    return Out(
        **{output: bool(config.sinks(output)) for output in get_args(Output)},
        observations=bool(config.monitors),
        features_observed=any(monitor.looks_at_features for monitor in config.monitors),
    )


def action_settings(config: Config) -> ActionSettings | None:
    """What the job does to its models by itself; None where that is nothing."""
    if config.commands() is None:
        return None
    filed = {
        model.name: ModelSpec(model.task, model.spec)
        for model in config.models
        if model.spec is not None
    }
    return ActionSettings(
        config.job.name,
        config.triggers,
        config.schedules,
        filed,
        config.security.signing_key_file,
    )


def publish(config: Config) -> Publish | None:
    """What makes records of a version; None where versions go nowhere."""
    key = signing_key(config) if config.versions else None
    if key is None:
        return None
    return partial(artifact_records, key=key, part_bytes=config.published.part_bytes)

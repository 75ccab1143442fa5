"""Reads the configuration: one TOML file, checked as a whole before anything starts.

The sections are the structs of `jobs/settings.py`; what must hold between keys is checked in
`jobs/config_rules.py`; docs/configuration.md explains every key.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

from msgspec import Struct

from events.limits import FeatureType, Limits, Schema, UnknownFeatures
from jobs import config_rules, secret_values
from jobs.durations import parse_duration
from jobs.reading import (
    Mistakes,
    Place,
    Reader,
    either,
    keys_of,
    nearest,
    numbered,
    shown,
    sink_place,
)
from jobs.settings import (
    MAX_PARALLELISM,
    OUTPUTS,
    Config,
    EventsConfig,
    FileInput,
    FileSink,
    Input,
    JobConfig,
    JoinConfig,
    KafkaInput,
    KafkaSink,
    ModelConfig,
    PublishedConfig,
    SecurityConfig,
    Sink,
    WebhookSink,
)
from models import tasks
from operators.action_settings import Schedule, Trigger
from operators.monitor_settings import MonitorSettings

__all__ = [
    "MAX_PARALLELISM",
    "OUTPUTS",
    "Config",
    "ConfigError",
    "FileInput",
    "FileSink",
    "KafkaInput",
    "KafkaSink",
    "ModelConfig",
    "load_config",
    "read_config",
]

INPUTS: Final = ("features", "labels", "control")

_PLAIN_SECTIONS: Final[dict[str, type[Struct]]] = {
    "job": JobConfig,
    "events": EventsConfig,
    "limits": Limits,
    "join": JoinConfig,
    "security": SecurityConfig,
    "published": PublishedConfig,
}
_TABLES: Final[dict[str, type[Struct]]] = {
    "monitor": MonitorSettings,
    "trigger": Trigger,
    "schedule": Schedule,
}
_SECTIONS: Final = (*_PLAIN_SECTIONS, *INPUTS, *OUTPUTS, "models", *_TABLES)
_HOMES: Final = {
    **{key: "[[models]]" for key in keys_of(ModelConfig)},
    **{key: f"[{name}]" for name, cls in _PLAIN_SECTIONS.items() for key in keys_of(cls)},
    "schema": "[features.schema]",
}
del _HOMES["name"]

_STORED_SINKS: Final[dict[str, type[Struct]]] = {"file": FileSink, "kafka": KafkaSink}
_CONNECTORS: Final[dict[str, dict[str, type[Struct]]]] = {
    **{name: {"file": FileInput, "kafka": KafkaInput} for name in INPUTS},
    **{name: _STORED_SINKS for name in OUTPUTS},
    "alerts": {**_STORED_SINKS, "webhook": WebhookSink},
}

# Where `${NAME}` is filled in: paths when the file is read, as they are no secrets; what goes to a
# client of Kafka or HTTP when that client is made.
_PATHS: Final = frozenset({"path", "checkpoint_dir", "signing_key_file", "artifact"})
_FILLED_IN_LATER: Final = frozenset(
    {"topic", "topics", "topic_pattern", "bootstrap_servers", "properties", "url", "headers"}
)

_STATE_FOLDER: Final = "riverrun-state"
_RETENTION_BEYOND_TIMEOUT: Final = parse_duration("1d")


T = TypeVar("T", bound=Struct)


class ConfigError(Exception):
    """A configuration that cannot be used; `problems` has every mistake, a line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load_config(
    path: str | Path, environ: Mapping[str, str] = os.environ, model_given: bool = False
) -> Config:
    """The configuration in a TOML file.

    Parameters
    ----------
    environ : mapping
        Where `${NAME}` is looked up.
    model_given : bool
        One of `[[models]]` has neither spec nor artifact: a River object stands for it.

    Raises
    ------
    ConfigError
        With every mistake at once; each names the key, the value and what is allowed.
    """
    path = Path(path)
    try:
        document = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}: line {line} is not UTF-8"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path}: not TOML: {error}"]) from error
    return read_config(document, path.absolute().parent, environ, model_given)


def read_config(
    document: Mapping[str, Any],
    folder: Path,
    environ: Mapping[str, str] = os.environ,
    model_given: bool = False,
) -> Config:
    """The configuration in a parsed TOML document; relative paths begin at `folder`.

    Raises
    ------
    ConfigError
        As `load_config`.
    """
    mistakes = Mistakes()
    config = _Document(document, folder, environ, mistakes).config()
    config_rules.check(config, mistakes, environ, model_given)
    if mistakes.lines:
        raise ConfigError(mistakes.lines)
    return config


class _Document:
    """A TOML document on its way to a `Config`; every mistake goes to `mistakes`."""

    def __init__(
        self,
        document: Mapping[str, Any],
        folder: Path,
        environ: Mapping[str, str],
        mistakes: Mistakes,
    ) -> None:
        self._folder = folder
        self._environ = environ
        self._mistakes = mistakes
        self._reader = Reader(mistakes, _HOMES)
        self._document = document

    def config(self) -> Config:
        self._sections()
        self._document = {name: self._filled_in(name) for name in self._document}
        sections: dict[str, Any] = {}
        for name, cls in _PLAIN_SECTIONS.items():
            sections[name] = self._reader.struct(cls, self._with_defaults(name), Place(f"[{name}]"))
        for name in INPUTS:
            sections[name] = self._input(name)
        for name in OUTPUTS:
            sections[name] = self._sinks(name)
        return Config(
            **sections,
            schema=self._schema(),
            models=self._models(),
            monitors=self._tables("monitor", MonitorSettings),
            triggers=self._tables("trigger", Trigger),
            schedules=self._tables("schedule", Schedule),
        )

    def _sections(self) -> None:
        for name, content in self._document.items():
            if name in _SECTIONS:
                continue
            if isinstance(content, dict):
                self._mistakes.add(Place(f"[{name}]"), f"is no section; {nearest(name, _SECTIONS)}")
            elif name in _HOMES:
                problem = f"stands in no section; it belongs in {_HOMES[name]}"
                self._mistakes.add(Place(name), problem)
            else:
                self._mistakes.add(Place(name), f"is no section; {nearest(name, _SECTIONS)}")

    def _with_defaults(self, name: str) -> Any:
        """The section's table, with the defaults that depend on another key."""
        table = self._document.get(name, {})
        if not isinstance(table, dict):
            return table
        if name == "job" and "checkpoint_dir" not in table and isinstance(table.get("name"), str):
            return {**table, "checkpoint_dir": self._path(f"{_STATE_FOLDER}/{table['name']}")}
        if name == "join" and "label_timeout" in table and "retention" not in table:
            try:
                timeout = parse_duration(str(table["label_timeout"]))
            except ValueError:
                return table
            return {**table, "retention": f"{timeout + _RETENTION_BEYOND_TIMEOUT}ms"}
        return table

    # Inputs and outputs

    def _input(self, name: str) -> Input | None:
        table = self._document.get(name)
        if table is None:
            return None
        also = ("schema",) if name == "features" else ()
        return self._connected(table, Place(f"[{name}]"), name, also)

    def _sinks(self, name: str) -> tuple[Sink, ...]:
        content = self._document.get(name)
        if content is None:
            return ()
        alone = not isinstance(content, list) or len(content) == 1
        return tuple(
            # Stands in for one that cannot be read, so that the others keep their numbers.
            self._connected(table, sink_place(name, index, alone), name) or FileSink(path="")
            for index, table in enumerate(content if isinstance(content, list) else [content])
        )

    def _connected(self, table: Any, place: Place, section: str, also: tuple[str, ...] = ()) -> Any:
        if not isinstance(table, dict):
            self._mistakes.add(place, f"is {shown(table)}; a table is expected")
            return None
        kinds, connector = _CONNECTORS[section], table.get("connector")
        if not isinstance(connector, str) or connector not in kinds:
            was = "is missing" if connector is None else f"is {shown(connector)}"
            if connector == "webhook":
                was += ", which goes with [alerts] only"
            self._mistakes.add(place / "connector", f"{was}; {either(kinds)} is expected")
            return None
        cls = kinds[connector]
        others = keys_of(*kinds.values())
        misplaced = [key for key in table if key in others and key not in keys_of(cls)]
        for key in misplaced:
            problem = f'is no key of connector = "{connector}"; {nearest(key, keys_of(cls))}'
            self._mistakes.add(place / key, problem)
        return self._reader.struct(cls, table, place, (*also, *misplaced))

    def _schema(self) -> Schema | None:
        features = self._document.get("features")
        if not isinstance(features, dict) or "schema" not in features:
            return None
        table = features["schema"]
        place = Place("[features.schema]")
        if not isinstance(table, dict):
            self._mistakes.add(place, f"is {shown(table)}; a table is expected")
            return None
        types = {name: kind for name, kind in table.items() if name != "unknown"}
        unknown = table.get("unknown", "keep")
        before = len(self._mistakes.lines)
        for name, kind in types.items():
            self._one_of(get_args(FeatureType), kind, place / name)
        self._one_of(get_args(UnknownFeatures), unknown, place / "unknown")
        return Schema(types, unknown) if len(self._mistakes.lines) == before else None

    def _one_of(self, allowed: tuple[str, ...], value: Any, place: Place) -> None:
        if value not in allowed:
            expected = " or ".join(map(shown, allowed))
            self._mistakes.add(place, f"is {shown(value)}; {expected} is expected")

    def _tables(self, name: str, cls: type[T]) -> tuple[T, ...]:
        """Every table under `[[name]]`."""
        tables = self._document.get(name, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            problem = f"is {shown(tables)}; an array of tables is expected, each under [[{name}]]"
            self._mistakes.add(Place(f"[[{name}]]"), problem)
            return ()
        return tuple(
            self._reader.struct(cls, table, numbered(name, index))
            for index, table in enumerate(tables)
        )

    # Models

    def _models(self) -> tuple[ModelConfig, ...]:
        tables = self._document.get("models")
        # Where there is a control stream, models may come by it.
        needed = "control" not in self._document
        if tables is None:
            if needed:
                problem = "is missing; at least one model is expected"
                self._mistakes.add(Place("[[models]]"), problem)
            return ()
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            problem = f"is {shown(tables)}; an array of tables is expected, each under [[models]]"
            self._mistakes.add(Place("[[models]]"), problem)
            return ()
        if not tables and needed:
            self._mistakes.add(Place("[[models]]"), "is empty; at least one model is expected")
        roles = [table.get("role") for table in tables]
        if "champion" not in roles and None in roles:
            roles[roles.index(None)] = "champion"
        return tuple(
            self._model(table, role, numbered("models", index))
            for index, (table, role) in enumerate(zip(tables, roles, strict=True))
        )

    def _model(self, table: dict[str, Any], role: Any, place: Place) -> ModelConfig:
        filled = dict(table)
        if role is not None:
            filled["role"] = role
        if table.get("task") == "anomaly" and "learn_only" not in table:
            filled.setdefault("learn_on", "arrival")
        if (labels := tasks.usual_labels(table.get("task", ""))) is not None:
            filled.setdefault("labels", labels)
        policy = table.get("snapshot")
        if isinstance(policy, dict) and "every" in policy and len(policy) > 1:
            others = ", ".join(key for key in policy if key != "every")
            problem = f"fixes when snapshots are taken; leave out {others}, or every"
            self._mistakes.add(place / "snapshot" / "every", problem)
        return self._reader.struct(ModelConfig, filled, place)

    # Environment variables and paths

    def _filled_in(self, name: str) -> Any:
        content = self._document[name]
        if isinstance(content, list):
            return [
                self._references(table, self._place(name, index, len(content)), "")
                for index, table in enumerate(content)
            ]
        return self._references(content, Place(f"[{name}]"), "")

    def _place(self, section: str, index: int, count: int) -> Place:
        if section in OUTPUTS:
            return sink_place(section, index, count == 1)
        return numbered(section, index)

    def _references(self, value: Any, place: Place, key: str) -> Any:
        """The value with paths made whole; variables that are not set, or not allowed, are noted.

        `key` is the outermost key that the value stands under.
        """
        if isinstance(value, dict):
            return {
                name: self._references(inner, place / name, key or name)
                for name, inner in value.items()
            }
        if isinstance(value, list):
            return [
                self._references(inner, place / str(index), key)
                for index, inner in enumerate(value)
            ]
        if not isinstance(value, str):
            return value
        missing = False
        for name in secret_values.references(value):
            if key not in _PATHS | _FILLED_IN_LATER:
                where = "only paths, topics, bootstrap_servers, properties, url and headers may"
                self._mistakes.add(place, f"uses ${{{name}}}; {where}")
                missing = True
            elif name not in self._environ:
                problem = f"uses ${{{name}}}, an environment variable that is not set"
                self._mistakes.add(place, problem)
                missing = True
        if missing or key not in _PATHS or not value:
            return value
        return self._path(secret_values.resolve(value, self._environ))

    def _path(self, text: str) -> str:
        if "://" in text:
            return text
        return os.path.normpath(self._folder / Path(text).expanduser())

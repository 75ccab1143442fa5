"""Specs: models written as JSON or TOML, and the River objects made of them.

A spec is `{class, params?, args?}`, `{pipeline: [spec, ...]}` or `{union: [spec, ...]}`; any value in
`params` or `args` may itself be a spec. Making one calls constructors of `models.allowlist` and
nothing else.
"""

import hashlib
import inspect
import math
from typing import Any, NamedTuple, NoReturn

import msgspec
from river import base

from models import allowlist, trial
from models.allowlist import LABEL_KEYED, Allowed
from models.ordering import select_in_order

Spec = dict[str, Any]

KEYS = ["class", "params", "args"]


class Limits(NamedTuple):
    """How large a spec may be; what is read from a topic can be anything.

    Attributes
    ----------
    depth : int
        Specs, objects and lists inside one another; `params`, `args` and the lists of `pipeline` and
        `union` belong to their spec.
    nodes : int
        Specs, objects and lists altogether.
    size : int
        Bytes of its JSON.
    """

    depth: int = 16
    nodes: int = 1000
    size: int = 100_000


LIMITS = Limits()


class SpecError(ValueError):
    """A spec that no model can be made of.

    Attributes
    ----------
    problems : list of str
        A sentence each, beginning with the path inside the spec.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def check(spec: Any, limits: Limits = LIMITS) -> list[str]:
    """Everything that is wrong with a spec, a sentence each; empty if a model can be made of it.

    Finds wrong names, arguments that a constructor refuses, and, by letting the model learn a few made
    up examples, values that only then turn out to be of the wrong type. Whether the model fits its
    task is for `Task.check_model` to say.

    Examples
    --------
    >>> check({"class": "river.linear_model.LogisticRegression", "params": {"l3": 0.1}})
    ["params.l3: unknown parameter of river.linear_model.LogisticRegression; the nearest is 'l2'"]
    """
    problems = _written_wrong(spec, limits)
    if problems:
        return problems
    maker = _Maker()
    model = maker.model(_stored(spec, "", ""))
    if maker.problems:
        return maker.problems
    return [f"spec: {problem}" for problem in trial.problems(model)]


def stored(spec: Any, model_name: str, limits: Limits = LIMITS) -> Spec:
    """The spec as it is kept: its own copy, empty parts left out, every seed filled in.

    A class that takes a seed and is given none, or null, gets one made of the model's name and the
    class's place in the spec; so the same spec under the same name is the same model, everywhere.

    Raises
    ------
    SpecError
        If a name is unknown, or the spec is not one.

    Examples
    --------
    >>> stored({"class": "river.forest.ARFClassifier", "params": {}}, "fraud")
    {'class': 'river.forest.ARFClassifier', 'params': {'seed': 394846619}}
    """
    problems = _written_wrong(spec, limits)
    if problems:
        raise SpecError(problems)
    result: Spec = _stored(spec, model_name, "")
    return result


def build(spec: Any, model_name: str, limits: Limits = LIMITS) -> Any:
    """The River estimator of `stored(spec, model_name)`.

    Raises
    ------
    SpecError
        If a name is unknown, the spec is not one, or a constructor refuses its arguments.
    """
    maker = _Maker()
    model = maker.model(stored(spec, model_name, limits))
    if maker.problems:
        raise SpecError(maker.problems)
    return model


def part(spec: Any, name: str) -> Any:
    """What stands in a spec but is no model by itself: a metric, a drift detector.

    Parameters
    ----------
    name
        What seeds are made of, as `build`'s model name.

    Raises
    ------
    SpecError
        As `build`.
    """
    maker = _Maker()
    made = maker.make(stored(spec, name), "")
    if maker.problems:
        raise SpecError(maker.problems)
    return made


# Reading


def is_spec(value: Any) -> bool:
    """Whether a value among params and args is a spec, and not plain data.

    Examples
    --------
    >>> is_spec({"class": "river.optim.SGD"}), is_spec({"class": 0.3, "other": 0.7})
    (True, False)
    """
    return isinstance(value, dict) and (
        isinstance(value.get("class"), str)
        or isinstance(value.get("pipeline"), list)
        or isinstance(value.get("union"), list)
    )


class _TooLarge(Exception):
    """A limit is passed; what comes after is not looked at."""


class _Reader:
    """Walks a spec as it was written and notes what is wrong, without making anything."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.nodes = 0
        self.problems: list[str] = []

    def spec(self, value: Any, path: str, depth: int) -> None:
        self._enter(path, depth)
        if not is_spec(value):
            self._note(path, "a spec has the key class (a string), pipeline or union (lists)")
            return
        kind = next(key for key in ("pipeline", "union", "class") if key in value)
        if kind == "class":
            self._class(value, path, depth)
            return
        others = [key for key in value if key != kind]
        if others:
            self._note(path, f"{kind} stands alone, not with {_listed(others)}")
        steps = value[kind]
        if not isinstance(steps, list) or not steps:
            self._note(_join(path, kind), "a list of at least one spec")
            return
        for index, step in enumerate(steps):
            self.spec(step, _join(path, f"{kind}[{index}]"), depth + 1)

    def _class(self, value: Spec, path: str, depth: int) -> None:
        for key in value:
            if key not in KEYS:
                near = allowlist.suggest(str(key), KEYS)
                self._note(_join(path, _shown(key)), f"unknown key; {near}")
        params, args = value.get("params", {}), value.get("args", [])
        if not isinstance(params, dict):
            self._note(_join(path, "params"), "an object of parameters by name")
            params = {}
        if not isinstance(args, list):
            self._note(_join(path, "args"), "a list of arguments by position")
            args = []
        try:
            allowed = allowlist.find(value["class"])
        except LookupError as error:
            self._note(_join(path, "class"), str(error))
        else:
            self._arguments(allowed, params, args, path)
        for name, given in params.items():
            self._value(given, _join(path, f"params.{_shown(name)}"), depth + 1)
        for index, given in enumerate(args):
            self._value(given, _join(path, f"args[{index}]"), depth + 1)

    def _arguments(self, allowed: Allowed, params: Spec, args: list[Any], path: str) -> None:
        named = [
            name
            for name, parameter in allowed.parameters.items()
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        ]
        for name in params:
            where = _join(path, f"params.{_shown(name)}")
            if name not in named:
                # One other letter is much of a short name.
                near = allowlist.suggest(str(name), named, cutoff=0.5)
                self._note(where, f"unknown parameter of {allowed.name}; {near}")
            elif name in allowed.callables:
                self._note(where, "takes a Python function or type, which a spec cannot hold")
        try:
            inspect.Signature(list(allowed.parameters.values())).bind(
                *args, **{name: None for name in params if name in named}
            )
        except TypeError as error:
            self._note(path, f"{allowed.name}: {error}")

    def _value(self, value: Any, path: str, depth: int) -> None:
        if is_spec(value):
            self.spec(value, path, depth)
        elif isinstance(value, dict):
            self._enter(path, depth)
            for key, inner in value.items():
                if not isinstance(key, str):
                    self._note(path, f"the key {_shown(key)} is not a string")
                self._value(inner, _join(path, _shown(key)), depth + 1)
        elif isinstance(value, list):
            self._enter(path, depth)
            for index, inner in enumerate(value):
                self._value(inner, f"{path}[{index}]", depth + 1)
        elif isinstance(value, float) and not math.isfinite(value):
            self._note(path, f"{value} is not JSON")
        elif value is not None and not isinstance(value, (bool, int, float, str)):
            self._note(path, f"a {type(value).__name__} is not JSON: numbers, strings, booleans, null, "
                       "lists and objects are")  # fmt: skip

    def _enter(self, path: str, depth: int) -> None:
        self.nodes += 1
        if depth > self.limits.depth:
            self._stop(path, f"nested deeper than {self.limits.depth}")
        if self.nodes > self.limits.nodes:
            self._stop(path, f"more than {self.limits.nodes} specs, objects and lists")

    def _stop(self, path: str, problem: str) -> NoReturn:
        self._note(path, problem)
        raise _TooLarge

    def _note(self, path: str, problem: str) -> None:
        self.problems.append(f"{path or 'spec'}: {_one_line(problem)}")


def _written_wrong(spec: Any, limits: Limits) -> list[str]:
    reader = _Reader(limits)
    try:
        reader.spec(spec, "", 1)
    except _TooLarge:
        return reader.problems
    if reader.problems:
        return reader.problems
    try:
        size = len(msgspec.json.encode(spec))
    except (OverflowError, UnicodeEncodeError) as error:  # beyond 64 bits, half a surrogate pair
        return [f"spec: cannot be written as JSON: {_one_line(str(error))}"]
    return [f"spec: {size} bytes as JSON, at most {limits.size}"] if size > limits.size else []


# Making


class _Maker:
    """Makes a model of a spec that was read without problems; notes what constructors refuse."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def model(self, spec: Spec) -> Any:
        """The estimator, or None if there are problems."""
        made = self.make(spec, "")
        if made is not None:
            self._require(made, (base.Estimator,), "is no model, only a part of one", "")
        return made

    def make(self, value: Spec, path: str) -> Any:
        """The object, or None if it or a part of it could not be made."""
        if "pipeline" in value:
            return self._composed("pipeline", value, path)
        if "union" in value:
            return self._composed("union", value, path)
        allowed = allowlist.find(value["class"])
        before = len(self.problems)
        in_order = list(allowed.parameters)
        args = []
        for index, given in enumerate(value.get("args", ())):
            # The last one, *args, takes the rest.
            labels = (allowed.name, in_order[min(index, len(in_order) - 1)]) in LABEL_KEYED
            args.append(self._value(given, _join(path, f"args[{index}]"), labels))
        params = {}
        for name, given in value.get("params", {}).items():
            labels = (allowed.name, name) in LABEL_KEYED
            params[name] = self._value(given, _join(path, f"params.{_shown(name)}"), labels)
        if len(self.problems) > before:
            return None
        made = self._call(allowed.cls, args, params, allowed.name, path)
        if allowed.name == "river.compose.Select" and made is not None:
            select_in_order(made, args)
        return made

    def _value(self, value: Any, path: str, label_keys: bool = False) -> Any:
        if is_spec(value):
            return self.make(value, path)
        if isinstance(value, dict):
            return {
                label_of(key) if label_keys else key: self._value(inner, _join(path, _shown(key)))
                for key, inner in value.items()
            }
        if isinstance(value, list):
            return [self._value(inner, f"{path}[{index}]") for index, inner in enumerate(value)]
        return value

    def _composed(self, kind: str, value: Spec, path: str) -> Any:
        from river import compose

        features = (base.Transformer, base.SupervisedTransformer)
        before = len(self.problems)
        steps = []
        for index, step in enumerate(value[kind]):
            where = _join(path, f"{kind}[{index}]")
            made = self.make(step, where)
            if made is None:
                continue
            steps.append(made)
            if kind == "union":
                self._require(made, features, "transforms no features", where)
            elif index < len(value[kind]) - 1:
                self._require(
                    made, (*features, base.AnomalyFilter), "transforms no features", where
                )
            else:
                self._require(made, (base.Estimator,), "is no model, only a part of one", where)
        if len(self.problems) > before:
            return None
        whole = compose.Pipeline if kind == "pipeline" else compose.TransformerUnion
        return self._call(whole, steps, {}, kind, path)

    def _require(self, made: Any, kinds: tuple[type, ...], otherwise: str, path: str) -> None:
        if not isinstance(made, kinds):
            self.problems.append(f"{path or 'spec'}: {type(made).__name__} {otherwise}")

    def _call(self, cls: type, args: list[Any], params: Spec, name: str, path: str) -> Any:
        try:
            return cls(*args, **params)
        except Exception as error:  # whatever a constructor makes of arguments from outside
            problem = _one_line(f"{name}: {type(error).__name__}: {error}")
            self.problems.append(f"{path or 'spec'}: {problem}")
            return None


def label_of(key: str) -> Any:
    """A label as it is learned, of a key as JSON has it: "true" -> True, "3" -> 3, "a" -> "a"."""
    try:
        label = msgspec.json.decode(key)
    except msgspec.DecodeError:
        return key
    return label if isinstance(label, (bool, int, float)) else key


# Storing


def _stored(value: Any, model_name: str, path: str) -> Any:
    if not is_spec(value):
        if isinstance(value, dict):
            return {k: _stored(inner, model_name, _join(path, k)) for k, inner in value.items()}
        if isinstance(value, list):
            return [_stored(v, model_name, f"{path}[{i}]") for i, v in enumerate(value)]
        return value
    for kind in ("pipeline", "union"):
        if kind in value:
            steps = enumerate(value[kind])
            return {
                kind: [_stored(step, model_name, _join(path, f"{kind}[{i}]")) for i, step in steps]
            }
    params = _stored(value.get("params", {}), model_name, _join(path, "params"))
    args = _stored(value.get("args", []), model_name, _join(path, "args"))
    parameters = list(allowlist.find(value["class"]).parameters)
    if "seed" in parameters:
        place = parameters.index("seed")
        if place < len(args):
            args[place] = seed_for(model_name, path) if args[place] is None else args[place]
        elif params.get("seed") is None:
            params["seed"] = seed_for(model_name, path)
    parts = {"class": value["class"], "params": params, "args": args}
    return {key: part for key, part in parts.items() if part}


def seed_for(model_name: str, path: str) -> int:
    """The seed of the random class at `path` of this model's spec: 31 bits of a SHA-256.

    Examples
    --------
    >>> seed_for("fraud", "pipeline[1]")
    1128584884
    """
    digest = hashlib.sha256(f"riverrun-seed-v1\0{model_name}\0{path}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


# Words


def _join(path: str, part: str) -> str:
    return f"{path}.{part}" if path else part


def _shown(key: Any) -> str:
    return key if isinstance(key, str) and key.isidentifier() else repr(key)


def _listed(keys: list[Any]) -> str:
    return ", ".join(map(_shown, keys))


def _one_line(text: str, most: int = 400) -> str:
    line = " ".join(text.encode("utf-8", "backslashreplace").decode().split())
    return line if len(line) <= most else line[: most - 3] + "..."

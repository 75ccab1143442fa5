"""The River classes that a spec may name.

A spec can arrive on a topic that anybody writes to, so it names classes out of a closed set: River's
estimators and transformers, and what their constructors take (optimizers, losses, schedulers,
initializers, drift detectors, splitters, statistics, metrics, bandit policies, distributions). The
set is computed from River's public modules, once, when it is first asked for; importing this module
imports no River.
"""

import difflib
import importlib
import inspect
import pkgutil
from functools import cache
from typing import NamedTuple

# Modules of River that hold no part of a model, or reach outside the process (files, network,
# scikit-learn), and those of test data, environments and base classes inside the others.
CLOSED = frozenset(
    (
        "river.api",
        "river.base",
        "river.checks",
        "river.compat",
        "river.datasets",
        "river.evaluate",
        "river.stream",
        "river.utils",
    )
)
CLOSED_INSIDE = frozenset(("base", "datasets", "envs"))

# A model is an Estimator; the others are what constructors of models take.
FAMILIES = (
    "river.base.Estimator",
    "river.base.DriftDetector",
    "river.base.BinaryDriftDetector",
    "river.bandit.base.Policy",
    "river.metrics.base.Metric",
    "river.optim.base.Initializer",
    "river.optim.base.Loss",
    "river.optim.base.Optimizer",
    "river.optim.base.Scheduler",
    "river.proba.base.Distribution",
    "river.stats.base.Statistic",
)
# Belongs to no family, yet feature_extraction.Agg and TargetAgg take it.
SINGLE = ("river.utils.Rolling",)

REFUSED = {
    "river.compose.Pipeline": "write {pipeline = [...]}",
    "river.compose.TransformerUnion": "write {union = [...]}",
    "river.compose.SelectType": "it takes Python types; name the features with river.compose.Select",
    # Its leaves are keyed by id(), so a restored one raises KeyError.
    "river.feature_extraction.RandomTreesEmbedding": "it does not survive being saved and restored",
}

# Parameters that are objects with labels as keys. A label stands there as it does in every other
# object: a string as it is, any other as its JSON text.
LABEL_KEYED = frozenset(
    (
        ("river.imblearn.RandomOverSampler", "desired_dist"),
        ("river.imblearn.RandomSampler", "desired_dist"),
        ("river.imblearn.RandomUnderSampler", "desired_dist"),
        ("river.optim.losses.CrossEntropy", "class_weight"),
    )
)

_CALLABLE = ("Callable", "DistanceFunc", "FunctionWrapper")


class Allowed(NamedTuple):
    """A class that a spec may name.

    Attributes
    ----------
    name : str
        Its public path, the only name that specs know it by.
    parameters : dict of str to inspect.Parameter
        What its constructor takes, in order.
    callables : frozenset of str
        Those of them that take Python functions or types, which no spec can hold.
    """

    name: str
    cls: type
    parameters: dict[str, inspect.Parameter]
    callables: frozenset[str]


class _Walk(NamedTuple):
    allowed: dict[str, Allowed]
    refused: dict[str, str]
    elsewhere: dict[str, str]  # path of definition -> public path


@cache
def _walk() -> _Walk:
    """Every class of River's public modules, allowed or refused."""
    families = tuple(_load(path) for path in FAMILIES)
    walk = _Walk({}, dict(REFUSED), {})
    river = importlib.import_module("river")
    for info in pkgutil.iter_modules(river.__path__, "river."):
        if info.name not in CLOSED and not info.name.rpartition(".")[2].startswith("_"):
            _visit(info.name, families, walk)
    for name in SINGLE:
        walk.allowed[name] = _describe(name, _load(name))
    for allowed in walk.allowed.values():
        walk.elsewhere.setdefault(
            f"{allowed.cls.__module__}.{allowed.cls.__qualname__}", allowed.name
        )
    return walk


def _visit(module_name: str, families: tuple[type, ...], walk: _Walk) -> None:
    module = importlib.import_module(module_name)
    for attribute in sorted(set(getattr(module, "__all__", ()))):
        value = getattr(module, attribute, None)  # River 0.26.1 lists names that it lacks
        name = f"{module_name}.{attribute}"
        if inspect.ismodule(value):
            if value.__name__ == name and attribute not in CLOSED_INSIDE:
                _visit(name, families, walk)
        elif not inspect.isclass(value) or name in walk.refused:
            continue
        elif inspect.isabstract(value) or value in families or not issubclass(value, families):
            walk.refused[name] = "it is neither a model nor a part of one"
        else:
            described = _describe(name, value)
            needed = [
                parameter
                for parameter in described.callables
                if described.parameters[parameter].default is inspect.Parameter.empty
            ]
            if needed:
                walk.refused[name] = f"its {min(needed)!r} is a Python function"
            else:
                walk.allowed[name] = described


def _load(path: str) -> type:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _describe(name: str, cls: type) -> Allowed:
    parameters = dict(inspect.signature(cls).parameters)
    callables = frozenset(p for p in parameters if _takes_callable(parameters[p]))
    return Allowed(name, cls, parameters, callables)


def _takes_callable(parameter: inspect.Parameter) -> bool:
    """Whether a parameter takes a function or a type; River's annotations are strings."""
    default = parameter.default
    if default is not parameter.empty and (inspect.isroutine(default) or inspect.isclass(default)):
        return True
    return any(word in str(parameter.annotation) for word in _CALLABLE)


def names() -> list[str]:
    """The public path of every class that a spec may name, sorted."""
    return sorted(_walk().allowed)


def find(name: str) -> Allowed:
    """The class that a spec calls `name`.

    Raises
    ------
    LookupError
        If it is none of `names()`; the message says why, or which name is nearest.
    """
    walk = _walk()
    if name in walk.allowed:
        return walk.allowed[name]
    if name in walk.elsewhere:
        raise LookupError(f"{name} goes by its public name only: {walk.elsewhere[name]}")
    reason = walk.refused.get(name)
    module = ".".join(name.split(".")[:2])
    if reason is None and module in CLOSED:
        reason = f"{module} holds no parts of models"
    if reason is not None:
        raise LookupError(f"{name} may not be named in a spec: {reason}")
    raise LookupError(f"unknown class {name!r}; {suggest(name, names())}")


def suggest(name: str, known: list[str], cutoff: float = 0.6) -> str:
    """Half a sentence that names what comes nearest to `name`; `cutoff` is difflib's.

    Examples
    --------
    >>> suggest("l3", ["l2", "optimizer"], cutoff=0.5)
    "the nearest is 'l2'"
    >>> suggest("PAClasifier", ["river.linear_model.PAClassifier", "river.linear_model.PARegressor"])
    "the nearest is 'river.linear_model.PAClassifier'"
    >>> suggest("entirely different", ["river.optim.SGD"])
    'nothing comes near it'
    """
    near = difflib.get_close_matches(name, known, 1, cutoff)
    if not near:
        # Without its module, or in the wrong one.
        short = {path.rpartition(".")[2]: path for path in known}
        last = name.rpartition(".")[2]
        near = [short[match] for match in difflib.get_close_matches(last, short, 1, cutoff)]
    return f"the nearest is {near[0]!r}" if near else "nothing comes near it"

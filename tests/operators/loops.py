"""Plain River loops over real data: what a flow is compared with. Nothing here is the project's code.

A stream is a list of transactions with the time of each and the time at which its label comes. River's
own `simulate_qa` decides in which order a loop asks and teaches.
"""

import json
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from river import (
    anomaly,
    compose,
    datasets,
    ensemble,
    evaluate,
    feature_extraction,
    forest,
    linear_model,
    metrics,
    naive_bayes,
    optim,
    preprocessing,
    stats,
    stream,
    tree,
)

T0 = 1_700_000_000_000
MINUTE = 60_000  # ms
HOUR = 60 * MINUTE


class Transaction(NamedTuple):
    """`ts` and `due`, the times of features and label, in ms; ids sort as the transactions do."""

    id: str
    x: dict[str, Any]
    y: Any
    ts: int
    due: int
    weight: float | None = None


class Said(NamedTuple):
    """What a River object says of a transaction, as JSON would have it."""

    prediction: Any = None
    probabilities: list[tuple[str, float]] | None = None
    score: float | None = None


DATA = {
    "Phishing": datasets.Phishing,
    "Bananas": datasets.Bananas,
    "ImageSegments": datasets.ImageSegments,
    "TrumpApproval": datasets.TrumpApproval,
}


def transactions(data: str, count: int, seed: int = 1) -> list[Transaction]:
    """The first `count` rows of a dataset as a stream.

    Some transactions come in the same millisecond. Labels take up to three hours, that is some 180
    transactions; some come with their features, some together with other features or labels.
    """
    rng = random.Random(seed)
    found = []
    for number, (x, y) in enumerate(DATA[data]().take(count)):
        ts = T0 + (number - (number % 7 == 0)) * MINUTE
        late = rng.choice((0, rng.randrange(180) * MINUTE, rng.randrange(3 * HOUR)))
        found.append(Transaction(f"t{number:05}", x, y, ts, ts + late))
    return found


def ragged(rows: Iterable[Transaction], seed: int = 2) -> list[Transaction]:
    """The same transactions, their features in another order each time and some of them missing."""
    rng = random.Random(seed)
    found = []
    for row in rows:
        names = [name for name in row.x if rng.random() < 0.8]
        rng.shuffle(names)
        found.append(row._replace(x={name: row.x[name] for name in names}))
    return found


def events(rows: Iterable[Transaction]) -> list[dict[str, Any]]:
    """Records of a stream in the order in which they happen; at one time labels come first."""
    timed: list[tuple[int, int, str, dict[str, Any]]] = []
    for row in rows:
        timed.append((row.ts, 1, row.id, {"id": row.id, "features": row.x, "ts": row.ts}))
        label = {"id": row.id, "label": row.y, "ts": row.due}
        if row.weight is not None:
            label["weight"] = row.weight
        timed.append((row.due, 0, row.id, label))
    return [event for *_, event in sorted(timed, key=lambda entry: entry[:3])]


# Loops


def questions_and_answers(rows: list[Transaction]) -> Iterator[tuple[Transaction, bool]]:
    """Each transaction twice: when it is to be predicted, and (True) when its label has come."""
    for number, _, y in stream.simulate_qa(((row.x, row.y) for row in rows), **_times(rows)):
        yield rows[number], y is not None


def _times(rows: list[Transaction]) -> dict[str, Callable[..., int]]:
    """`moment` and `delay` as River takes them: functions that it calls once a row."""
    moments, delays = (row.ts for row in rows), (row.due - row.ts for row in rows)
    return {"moment": lambda x: next(moments), "delay": lambda x, y: next(delays)}


def ask(task: str, model: Any, x: dict[str, Any]) -> Said:
    """What the model says, by the methods that a notebook would call."""
    if task == "anomaly":
        return Said(score=model.score_one(dict(x)))
    prediction = model.predict_one(dict(x))
    if task == "regression":
        return Said(prediction)
    try:
        return Said(prediction, as_json(model.predict_proba_one(dict(x))))
    except NotImplementedError:
        return Said(prediction)


def teach(task: str, model: Any, row: Transaction) -> None:
    if task == "anomaly":
        model.learn_one(dict(row.x))
    elif row.weight is None:
        model.learn_one(dict(row.x), row.y)
    else:
        model.learn_one(dict(row.x), row.y, w=row.weight)


def delayed_loop(
    task: str,
    model: Any,
    rows: list[Transaction],
    learns: Callable[[Transaction], bool] = lambda row: True,
) -> dict[str, Said]:
    """Id -> what the model says at the question, where it learns at the answer."""
    said = {}
    for row, answered in questions_and_answers(rows):
        if not answered:
            said[row.id] = ask(task, model, row.x)
        elif learns(row):
            teach(task, model, row)
    return said


def progressive(
    model: Any, rows: list[Transaction], metric: Any, at_once: bool = False
) -> list[Any]:
    """Every prediction of `evaluate.iter_progressive_val_score`, in the order of the answers."""
    steps = evaluate.iter_progressive_val_score(
        ((row.x, row.y) for row in rows),
        model,
        metric,
        step=1,
        yield_predictions=True,
        **({} if at_once else _times(rows)),
    )
    return [step["Prediction"] for step in steps]


def as_json(probabilities: dict[Any, float]) -> list[tuple[str, float]]:
    """Labels as keys of JSON, and the floats as they come back from there, in River's order."""
    keyed = {
        label if isinstance(label, str) else json.dumps(label): p
        for label, p in probabilities.items()
    }
    return list(json.loads(json.dumps(keyed)).items())


# Models


def scaled(model: Any) -> Any:
    return preprocessing.StandardScaler() | model


def hat(**more: Any) -> Any:
    return tree.HoeffdingAdaptiveTreeClassifier(grace_period=30, delta=1e-3, seed=3, **more)


def srp(model: Any) -> Any:
    return ensemble.SRPClassifier(model, n_models=3, subspace_size=3, seed=5)


def forest_of(trees: int) -> Any:
    return forest.ARFClassifier(n_models=trees, grace_period=30, seed=7)


def detector() -> Any:
    return anomaly.HalfSpaceTrees(n_trees=5, height=5, window_size=40, seed=9)


def aggregates() -> Any:
    return (
        compose.TransformerUnion(
            feature_extraction.Agg("age_of_domain", ["ip_in_url"], stats.Mean()),
            compose.Select("is_popular", "long_url"),
        )
        | naive_bayes.GaussianNB()
    )


class Known(NamedTuple):
    """A way to make a model, and data to try it on. `names`: being asked of new names changes it."""

    make: Callable[[], Any]
    data: str
    task: str = "classification"
    count: int = 400
    names: bool = False

    def metric(self) -> Any:
        """One that lets River say the most: probabilities where the model has them."""
        if self.task == "regression":
            return metrics.MAE()
        if self.task == "anomaly":
            return metrics.ROCAUC()
        if isinstance(self.make(), linear_model.PAClassifier):
            return metrics.Accuracy()
        return metrics.LogLoss() if self.data in ("Phishing", "Bananas") else metrics.CrossEntropy()


MODELS = {
    "LR, Phishing": Known(
        lambda: scaled(linear_model.LogisticRegression()), "Phishing", count=1250
    ),
    "LR, Bananas": Known(lambda: scaled(linear_model.LogisticRegression()), "Bananas", count=3000),
    "LR by Adam": Known(lambda: linear_model.LogisticRegression(optim.Adam(0.1)), "Phishing"),
    "HAT, Phishing": Known(hat, "Phishing", count=800),
    "HAT, ImageSegments": Known(hat, "ImageSegments", count=600),
    "ARF, Phishing": Known(lambda: forest_of(3), "Phishing", count=300),
    "ARF, Bananas": Known(lambda: forest_of(3), "Bananas", count=500),
    "ARF, ImageSegments": Known(lambda: forest_of(3), "ImageSegments", count=300),
    "GaussianNB, Bananas": Known(naive_bayes.GaussianNB, "Bananas", count=1000),
    "GaussianNB, ImageSegments": Known(naive_bayes.GaussianNB, "ImageSegments"),
    "SRP of NB, Phishing": Known(
        lambda: srp(naive_bayes.GaussianNB()), "Phishing", count=300, names=True
    ),
    "SRP of NB, ImageSegments": Known(
        lambda: srp(naive_bayes.GaussianNB()), "ImageSegments", count=200, names=True
    ),
    "SRP of HAT": Known(lambda: srp(hat()), "Phishing", count=300, names=True),
    "PA": Known(linear_model.PAClassifier, "Phishing"),
    "Softmax": Known(lambda: scaled(linear_model.SoftmaxRegression()), "ImageSegments"),
    "aggregates": Known(aggregates, "Phishing"),
    "LinearRegression": Known(
        lambda: scaled(linear_model.LinearRegression(intercept_lr=0.1)),
        "TrumpApproval",
        "regression",
        count=1001,
    ),
    "HoeffdingTreeRegressor": Known(
        tree.HoeffdingTreeRegressor, "TrumpApproval", "regression", count=1001
    ),
    "ARFRegressor": Known(
        lambda: forest.ARFRegressor(n_models=3, seed=7), "TrumpApproval", "regression", count=250
    ),
    "HalfSpaceTrees": Known(detector, "Phishing", "anomaly", count=1250),
    "scaled HalfSpaceTrees": Known(
        lambda: preprocessing.MinMaxScaler() | detector(), "Bananas", "anomaly", count=800
    ),
}

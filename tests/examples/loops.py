"""Plain loops over River and metrics from their definitions: what the examples must come to.

Nothing here is the project's.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from scipy.stats import mannwhitneyu

Event = dict[str, Any]
Features = dict[str, Any]
DAY_MS = 86_400_000


def supervised(
    events: Iterable[Event], model: Any, ask: Callable[[Any, Features], Any]
) -> dict[str, Any]:
    """Transaction id -> what the model says of it; it learns when the label comes."""
    asked: dict[str, Features] = {}
    said: dict[str, Any] = {}
    for event in events:
        id = event["id"]
        if "features" in event:
            asked[id] = event["features"]
            said[id] = ask(model, event["features"])
        else:
            model.learn_one(asked.pop(id), event["label"])
    return said


def supervised_by(
    name: str, events: Iterable[Event], make: Callable[[], Any], ask: Callable[[Any, Features], Any]
) -> dict[str, Any]:
    """As `supervised`, with a model for each value of a feature."""
    models: dict[str, Any] = {}
    asked: dict[str, Features] = {}
    said: dict[str, Any] = {}
    for event in events:
        id = event["id"]
        if "features" in event:
            x = asked[id] = event["features"]
            said[id] = ask(models.setdefault(x[name], make()), x)
        else:
            x = asked.pop(id)
            models[x[name]].learn_one(x, event["label"])
    return said


def scored(events: Iterable[Event], model: Any) -> dict[str, float]:
    """Transaction id -> its score; the model learns each transaction behind its score."""
    said: dict[str, float] = {}
    for event in events:
        if "features" in event:
            said[event["id"]] = model.score_one(event["features"])
            model.learn_one(event["features"])
    return said


def classified(model: Any, x: Features) -> tuple[Any, dict[str, float]]:
    """Prediction and probabilities, these under the keys of a JSON object."""
    probabilities = model.predict_proba_one(x)
    return model.predict_one(x), {
        label if isinstance(label, str) else json.dumps(label): p
        for label, p in probabilities.items()
    }


def predicted(model: Any, x: Features) -> float:
    return model.predict_one(x)


def truth(events: Iterable[Event]) -> dict[str, Any]:
    """Transaction id -> label."""
    return {event["id"]: event["label"] for event in events if "label" in event}


def unless_told(events: list[Event], told: dict[str, Any], assumed: Any) -> dict[str, Any]:
    """Transaction id -> the label of those that got none within a week, as far as time has gone."""
    now = max(event["ts"] for event in events)
    return {
        event["id"]: assumed
        for event in events
        if "features" in event and event["id"] not in told and event["ts"] + 7 * DAY_MS <= now
    }


# Metrics


Pairs = list[tuple[Any, Any]]  # truth, and what was said


def accuracy(pairs: Pairs) -> float:
    return sum(y == said for y, said in pairs) / len(pairs)


def f1(pairs: Pairs, positive: Any = True) -> float:
    right = sum(y == said == positive for y, said in pairs)
    wrong = sum((y == positive) != (said == positive) for y, said in pairs)
    return 2 * right / (2 * right + wrong)


def macro_f1(pairs: Pairs) -> float:
    classes = {label for pair in pairs for label in pair}
    return sum(f1(pairs, label) for label in classes) / len(classes)


def roc_auc(pairs: Pairs) -> float:
    positive = [score for y, score in pairs if y]
    negative = [score for y, score in pairs if not y]
    statistic = mannwhitneyu(positive, negative).statistic
    return float(statistic) / (len(positive) * len(negative))


def log_loss(pairs: Pairs) -> float:
    """Of probabilities by label; River takes them for 1e-15 at least, and a label not known yet for 1."""
    return -sum(math.log(min(max(p.get(y, 1), 1e-15), 1 - 1e-15)) for y, p in pairs) / len(pairs)


def mae(pairs: Pairs) -> float:
    return math.fsum(abs(y - said) for y, said in pairs) / len(pairs)


def rmse(pairs: Pairs) -> float:
    return math.sqrt(math.fsum((y - said) ** 2 for y, said in pairs) / len(pairs))


def r2(pairs: Pairs) -> float:
    mean = math.fsum(y for y, _ in pairs) / len(pairs)
    residual = math.fsum((y - said) ** 2 for y, said in pairs)
    return 1 - residual / math.fsum((y - mean) ** 2 for y, _ in pairs)


def delays(events: list[Event]) -> list[int]:
    """From each transaction to its label, ms, in ascending order."""
    begun = {event["id"]: event["ts"] for event in events if "features" in event}
    return sorted(event["ts"] - begun[event["id"]] for event in events if "label" in event)


def lanes(events: Iterable[Event], name: str) -> Counter[str]:
    """How many transactions each value of a feature has."""
    return Counter(event["features"][name] for event in events if "features" in event)

"""What is measured: two streams of labelled transactions, five models, and the file of events.

Everything follows from a seed: no clock, no network.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from river import datasets, ensemble, forest, linear_model, naive_bayes, preprocessing, tree

Example = tuple[dict[str, Any], bool]

_FIRST_TS = 1_700_000_000_000
_GAP_MS = 60_000
_MOST_BEHIND = 200


def malicious_urls(count: int, seed: int, new_names: float = 1.35) -> Iterator[Example]:
    """Transactions with the shape of the malicious-URL data.

    Sparse: 20 numbers that every URL has and some 80 tokens of it, about 100 features a record. New
    tokens appear all the time, `new_names` a URL, 1.35 in the data (3.2 M names in 2.4 M URLs). A third
    of the URLs are malicious; each kind has tokens of its own besides common ones, and mostly recent
    ones, as campaigns come and go.

    Parameters
    ----------
    count : int
        How many transactions.
    seed : int
        Same count and seed, same stream; a longer one begins with the shorter.

    References
    ----------
    .. [1] Ma, Saul, Savage, Voelker (2009). Identifying suspicious URLs: an application of large-scale
       online learning. ICML.
    """
    rng = random.Random(seed)
    known = {"word": 2000, "good": 400, "bad": 400}
    for _ in range(count):
        malicious = rng.random() < 1 / 3
        features: dict[str, Any] = {}
        for place in range(20):
            mean = 0.5 if malicious and place % 4 == 0 else 0.3
            features[f"number_{place}"] = round(min(max(rng.gauss(mean, 0.15), 0.0), 1.0), 6)
        own = "bad" if malicious else "good"
        for _ in range(rng.randint(70, 90)):
            pool = own if rng.random() < 0.25 else "word"
            if rng.random() < new_names / 80:
                known[pool] += 1
                token = known[pool]
            elif pool == "word":
                token = 1 + int(known[pool] * rng.random() ** 3)
            else:
                token = known[pool] - int(400 * rng.random() ** 2)
            features[f"{pool}_{token}"] = 1
        yield features, malicious


def phishing(count: int, seed: int) -> Iterator[Example]:
    """River's Phishing data, 1,250 x 9, as often as needed; `seed` changes nothing in it."""
    yield from islice(cycle(datasets.Phishing()), count)


WORKLOADS: dict[str, Callable[[int, int], Iterator[Example]]] = {
    "urls": malicious_urls,
    "phishing": phishing,
}


def write_events(path: Path, examples: Iterator[Example], seed: int, prefix: str = "t") -> None:
    """Each transaction's features and, 1 to 200 transactions later, its label, as JSON lines.

    Transactions are a minute apart in event time, so that `retention` ends within a longer run and
    the job pays for that, too. Labels that would come after the last features are left out. An id is
    `prefix` and the transaction's number.
    """
    rng = random.Random(seed)
    labels: dict[int, list[tuple[str, bool]]] = defaultdict(list)
    with path.open("wb") as file:
        for number, (features, label) in enumerate(examples):
            ts = _FIRST_TS + number * _GAP_MS
            id = f"{prefix}{number}"
            file.write(_line({"id": id, "features": features, "ts": ts}))
            labels[number + rng.randint(1, _MOST_BEHIND)].append((id, label))
            for known, said in labels.pop(number, ()):
                file.write(_line({"id": known, "label": said, "ts": ts}))


def _line(event: dict[str, Any]) -> bytes:
    return msgspec.json.encode(event) + b"\n"


_HAT: dict[str, Any] = {
    "grace_period": 100,
    "delta": 1e-5,
    "leaf_prediction": "nb",
    "nb_threshold": 10,
    "seed": 0,
}

# For the loop: built by River's own constructors.
MODELS: dict[str, Callable[[], Any]] = {
    "LR": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    "HAT": lambda: tree.HoeffdingAdaptiveTreeClassifier(**_HAT),
    "SRP(HAT)": lambda: ensemble.SRPClassifier(
        tree.HoeffdingAdaptiveTreeClassifier(**_HAT), seed=42
    ),
    "SRP(NB)": lambda: ensemble.SRPClassifier(naive_bayes.BernoulliNB(), seed=42),
    "ARF": lambda: forest.ARFClassifier(leaf_prediction="mc", seed=42),
}

# For the job: the same, as a user writes them.
SPECS: dict[str, dict[str, Any]] = {
    "LR": {
        "pipeline": [
            {"class": "river.preprocessing.StandardScaler"},
            {"class": "river.linear_model.LogisticRegression"},
        ]
    },
    "HAT": {"class": "river.tree.HoeffdingAdaptiveTreeClassifier", "params": _HAT},
    "SRP(HAT)": {
        "class": "river.ensemble.SRPClassifier",
        "params": {
            "model": {"class": "river.tree.HoeffdingAdaptiveTreeClassifier", "params": _HAT},
            "seed": 42,
        },
    },
    "SRP(NB)": {
        "class": "river.ensemble.SRPClassifier",
        "params": {"model": {"class": "river.naive_bayes.BernoulliNB"}, "seed": 42},
    },
    "ARF": {
        "class": "river.forest.ARFClassifier",
        "params": {"leaf_prediction": "mc", "seed": 42},
    },
}


class Model(NamedTuple):
    """A model for the loop, and the same for the job."""

    make: Callable[[], Any]
    spec: dict[str, Any]


# What is too large to be written in no time.
LARGE: dict[str, Model] = {
    "linear": Model(
        linear_model.LogisticRegression, {"class": "river.linear_model.LogisticRegression"}
    ),
    "forest": Model(
        lambda: forest.ARFClassifier(n_models=50, seed=42),
        {"class": "river.forest.ARFClassifier", "params": {"n_models": 50, "seed": 42}},
    ),
}

# On Kafka: Bananas.
KAFKA_MODELS: dict[str, Callable[[], Any]] = {
    "LR": MODELS["LR"],
    "ARF": lambda: forest.ARFClassifier(n_models=10, seed=42),
}
KAFKA_SPECS: dict[str, dict[str, Any]] = {
    "LR": SPECS["LR"],
    "ARF": {"class": "river.forest.ARFClassifier", "params": {"n_models": 10, "seed": 42}},
}

# Transactions for which the loop takes some 10 s on the machine of docs/performance.md.
COUNTS: dict[str, dict[str, int]] = {
    "urls": {"LR": 50_000, "HAT": 5_000, "SRP(HAT)": 1_500, "SRP(NB)": 3_000, "ARF": 20_000},
    "phishing": {"LR": 200_000, "HAT": 80_000, "SRP(HAT)": 3_000, "SRP(NB)": 5_000, "ARF": 30_000},
}

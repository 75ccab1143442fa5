"""Models that misbehave on purpose; a module of its own, as pickles name it."""

from typing import Any

from river import base


class Moody(base.Classifier):
    """Says how often it has learned True, and obeys what its features tell it to do.

    `poison`: raises while learning, after it has changed. `break`: raises while predicting. `nan`,
    `inf`: answers with that. What it says depends on all that ever changed it.

    Parameters
    ----------
    restless : bool
        Being asked changes it, too, even if it then raises.
    """

    def __init__(self, restless: bool = False) -> None:
        self.restless = restless
        self.learned = 0
        self.learned_true = 0
        self.asked = 0

    def learn_one(self, x: dict[str, Any], y: Any) -> None:
        self.learned += 1
        if "poison" in x:
            raise ArithmeticError(f"poisoned by {x['poison']}")
        self.learned_true += y is True

    def predict_proba_one(self, x: dict[str, Any]) -> dict[Any, float]:
        if self.restless:
            self.asked += 1
        if "break" in x:
            raise LookupError(f"broken by {x['break']}")
        if "nan" in x:
            return {True: float("nan")}
        if "inf" in x:
            return {True: float("inf")}
        p = (1 + self.learned_true + self.asked / 7) / (2 + self.learned + self.asked / 3)
        return {True: p, False: 1 - p}


class Sure(base.Classifier):
    """As sure as its features say: the label -> probability of them; counts what it learns."""

    def __init__(self) -> None:
        self.learned: list[str] = []

    def learn_one(self, x: dict[str, Any], y: Any) -> None:
        self.learned.append(f"{y}")

    def predict_proba_one(self, x: dict[str, Any]) -> dict[Any, float]:
        return dict(x)


class Numbers(base.Regressor):
    """Answers with its feature `say`: 1e999 written by JSON is none, so `say` may be a text."""

    def learn_one(self, x: dict[str, Any], y: Any) -> None:
        pass

    def predict_one(self, x: dict[str, Any]) -> float:
        return float(x["say"])


class Scores(base.AnomalyDetector):
    """Scores with its feature `say`."""

    def learn_one(self, x: dict[str, Any]) -> None:
        pass

    def score_one(self, x: dict[str, Any]) -> float:
        return float(x["say"])

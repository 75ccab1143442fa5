"""A model beside the champion on the same transactions: is the difference real?"""

import math
from typing import Any, Final

from events.messages import Versus
from models.metrics import Pair
from models.tasks import TaskName
from operators.observing import as_number

# Champions that a model is compared with at a time: labels of transactions from before a promotion
# come long after it.
MOST_CHAMPIONS: Final = 8

# The interval is one for many evaluations; before so many it is none.
LEAST: Final = 100


def loss(pair: Pair, task: TaskName) -> float | None:
    """How wrong an answer was: 0 or 1 of a classifier, the absolute error of a regression.

    None where there was no answer, where the error is no number to reckon with, and of anomaly scores,
    which no single label proves wrong.

    >>> loss(Pair(True, False), "classification"), loss(Pair(3.0, 2.5), "regression")
    (1.0, 0.5)
    """
    label, prediction = pair.label, pair.prediction
    if prediction is None or task == "anomaly":
        return None
    if task == "classification":
        return float(prediction != label)
    if not isinstance(label, (int, float)):
        return None
    try:
        return as_number(abs(label - prediction))
    except OverflowError:
        return None


class Comparisons:
    """A model's comparison with each of the last champions; told of is that with the newest.

    The newest is the one that was champion for the transaction with the highest time.
    """

    def __init__(self, confidence: float, tight_at: int) -> None:
        self._confidence = confidence
        self._tight_at = tight_at
        self.by_champion: dict[str, Comparison] = {}
        self._until: dict[str, int] = {}

    def update(self, champion: str, time: int, difference: float) -> None:
        """This model's loss less the champion's, about a transaction of that time in ms."""
        found = self.by_champion.get(champion)
        if found is None:
            found = self.by_champion[champion] = Comparison(self._confidence, self._tight_at)
        found.update(difference)
        self._until[champion] = max(time, self._until.get(champion, time))
        if len(self.by_champion) > MOST_CHAMPIONS:
            oldest = min(self._until, key=self._until.__getitem__)
            del self.by_champion[oldest], self._until[oldest]

    def correct(self, champion: str, before: float, difference: float) -> None:
        """Of a transaction that was counted before, with another truth."""
        found = self.by_champion.get(champion)
        if found is not None:
            found.revert(before)
            found.update(difference)

    def get(self) -> Versus | None:
        """With the newest champion; None before the first transaction."""
        if not self._until:
            return None
        newest = max(self._until, key=self._until.__getitem__)
        return self.by_champion[newest].get(newest)


class Comparison:
    """Differences of loss between two models, transaction by transaction.

    The interval is an asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas:
    "Time-uniform central limit theory and asymptotic confidence sequences", arXiv:2103.06476, theorem
    2.2): it may be looked at after every transaction, and stopped at, and still leaves out the truth
    with a probability of 1 - confidence only. It takes the differences for independent.

    Parameters
    ----------
    confidence
        Of the interval, between 0 and 1.
    tight_at
        The number of transactions for which it is narrowest.
    """

    def __init__(self, confidence: float, tight_at: int) -> None:
        self._alpha = 1 - confidence
        wide = -2 * math.log(self._alpha)
        self._rho2 = (wide + math.log(wide + 1)) / tight_at
        self.n = self.wins = self.losses = 0
        self.total = self.squares = 0.0

    def update(self, difference: float) -> None:
        """This model's loss less the champion's."""
        self._add(difference, 1)

    def revert(self, difference: float) -> None:
        """As if that transaction had not been."""
        self._add(difference, -1)

    def _add(self, difference: float, times: int) -> None:
        self.n += times
        self.wins += times * (difference < 0)
        self.losses += times * (difference > 0)
        self.total += times * difference
        self.squares += times * difference * difference

    def get(self, champion: str) -> Versus | None:
        """What is known; None before the first transaction."""
        if self.n <= 0:
            return None
        mean = self.total / self.n
        low = high = None
        verdict: Any = "open"
        if self.n >= LEAST:
            half = self._half_width(mean)
            low, high = mean - half, mean + half
            verdict = "better" if high < 0 else "worse" if low > 0 else "open"
        return Versus(champion, self.n, self.wins, self.losses, mean, low, high, verdict)

    def _half_width(self, mean: float) -> float:
        n, rho2 = self.n, self._rho2
        variance = max(self.squares / n - mean * mean, 0.0)
        spread = n * rho2 + 1
        return math.sqrt(
            variance * 2 * spread / (n * n * rho2) * math.log(math.sqrt(spread) / self._alpha)
        )

"""Features that are missing, new, out of range or of another type than those that came first."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

# A stream that makes up names must not fill the memory.
MOST_NAMES: Final = 10_000

# A record has so many names of a kind, the most frequent.
MOST_TOLD: Final = 100

# Of a feature that has had more than one type.
_ANY: Final = "any"

KINDS: Final = ("missing", "new", "out_of_range", "other_type")


class Known(NamedTuple):
    """A feature as the reference has it: the type, how often it was there, and a number's range."""

    kind: str
    times: int
    low: float
    high: float


class Quality:
    """Counts what differs from a reference, the first transactions.

    Parameters
    ----------
    reference
        How many transactions make it.
    """

    def __init__(self, reference: int) -> None:
        self._size = reference
        self.known: dict[str, Known] = {}
        self.of_reference = 0
        self._all_known = True
        self._always: tuple[str, ...] = ()
        self._begin()

    def _begin(self) -> None:
        self.n = 0
        self.odd: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}

    def update(self, features: Mapping[str, Any]) -> None:
        """One more transaction."""
        if self.of_reference < self._size:
            self.of_reference += 1
            for name, value in features.items():
                self._learn(name, value)
            if self.of_reference == self._size:
                self._always = tuple(
                    n for n, known in self.known.items() if known.times == self._size
                )
            return
        self.n += 1
        for name, value in features.items():
            known = self.known.get(name)
            if known is None:
                if self._all_known:
                    self._count("new", name)
            elif known.kind not in (_ANY, _kind(value)):
                self._count("other_type", name)
            elif known.kind == "number" and not known.low <= value <= known.high:
                self._count("out_of_range", name)
        for name in self._always:
            if name not in features:
                self._count("missing", name)

    def _learn(self, name: str, value: Any) -> None:
        kind, known = _kind(value), self.known.get(name)
        number = value if kind == "number" else 0.0
        if known is None:
            if len(self.known) < MOST_NAMES:
                self.known[name] = Known(kind, 1, number, number)
            else:
                # Of names that are not known it cannot be said whether they are new.
                self._all_known = False
            return
        kept = known.kind if known.kind == kind else _ANY
        low, high = min(known.low, number), max(known.high, number)
        self.known[name] = Known(kept, known.times + 1, low, high)

    def _count(self, kind: str, name: str) -> None:
        counter = self.odd[kind]
        if name in counter or len(counter) < MOST_NAMES:
            counter[name] += 1

    def take(self) -> tuple[int, dict[str, dict[str, int]]]:
        """How many transactions there were since this was asked last, and what was odd about them."""
        n = self.n
        odd = {kind: dict(counter.most_common(MOST_TOLD)) for kind, counter in self.odd.items()}
        self._begin()
        return n, odd


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "text" if isinstance(value, str) else "number"

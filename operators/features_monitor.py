"""What a monitor knows of the features of all transactions: drift, and data quality."""

from typing import Final

from events.features import decode_features
from events.messages import DataQuality, FreshData
from operators.data_quality import KINDS, MOST_TOLD, Quality
from operators.drifts import Seen
from operators.monitor_settings import MonitorSettings
from operators.observing import BEFORE_ALL_TIME, Features, as_number
from operators.telling import Tell, Teller, watched

# Of fewer transactions, at the end of the input, shares say nothing.
LEAST: Final = 100


class FeaturesMonitor:
    """One monitor's view of the features of all transactions."""

    def __init__(self, settings: MonitorSettings, key: str, tell: Tell) -> None:
        self._settings = settings
        self.teller = Teller(settings.name, key, tell)
        quality = settings.data_quality
        self.quality = Quality(quality.reference) if quality else None
        self.watched = watched((w for w in settings.drift if w.on == "feature"), key)
        self.alarmed: dict[str, list[str]] = {kind: [] for kind in KINDS}
        self.clock = BEFORE_ALL_TIME
        self.first: Seen | None = None
        self.last: Seen | None = None

    def features(self, seen: Features) -> None:
        """A transaction arrived."""
        features = decode_features(bytes(seen.features))
        at = Seen(0.0, seen.transaction, seen.time, None)
        for settings, drift in self.watched:
            value = as_number(features.get(settings.feature or ""))
            if value is not None:
                change = drift.update(at._replace(value=value))
                if change is not None:
                    self.teller.change(settings, change, at)
        self.clock = max(self.clock, seen.time)
        if self.quality is None:
            return
        self.quality.update(features)
        if self.quality.n:
            self.first, self.last = self.first or at, at
        if self.quality.n >= self._settings.every:
            self.tell()

    def tell(self) -> None:
        """Say what was odd since it was said last; alarming are features that were not before."""
        if self.quality is None or self.first is None or self.last is None:
            return
        n, odd = self.quality.take()
        reference = self.quality.of_reference
        record = DataQuality(self._settings.name, self.clock, n, reference, **odd)
        self.teller.tell("metrics", record)
        if n >= min(self._settings.every, LEAST):
            fresh = FreshData(self.first.id, self.first.time, self.last.time, n)
            self._alarm(n, odd, self.last, fresh)
        self.first = None

    def _alarm(self, n: int, odd: dict[str, dict[str, int]], at: Seen, fresh: FreshData) -> None:
        quality = self._settings.data_quality
        assert quality is not None, "there is a reference"
        for kind, names in odd.items():
            shares = {name: count / n for name, count in names.items()}
            now = [name for name, share in shares.items() if share > quality.share]
            before = self.alarmed[kind]
            said = f"{kind.replace('_', ' ')} in {{:.1%}} of {n} transactions"
            for name in now:
                if name not in before:
                    more = {"feature": name, "before": 0.0, "after": shares[name], "fresh": fresh}
                    self.teller.alert("data_quality", said.format(shares[name]), at, **more)
            # Of a feature beyond those that are told of nothing is known.
            unknown = len(names) == MOST_TOLD
            for name in before:
                if name in names or not unknown:
                    if name not in now:
                        share = shares.get(name, 0.0)
                        detail = said.format(share)
                        self.teller.alert("recovered", detail, at, feature=name, after=share)
                else:
                    now.append(name)
            self.alarmed[kind] = now

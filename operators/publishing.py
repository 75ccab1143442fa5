"""When the learner publishes a version, and what of it; what it does when it falls behind.

Plain Python; the Flink function around it is operators/trainer.py.
"""

import contextlib
import pickle
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

from msgspec import Struct

from events.features import decode_features
from events.messages import PublishedManifest
from models import tasks
from models.purity import Purity
from models.tasks import Asker
from operators.live import LiveModel
from state import published, snapshots, views
from state.signing import SigningKey

# So many of the last examples a view must answer as its model does before it goes out.
_COMPARED: Final = 64
# Of a model that new names change, so many are compared with new names, too.
_NEW_NAMES: Final = 8

OnLag = Literal["go_on", "sample", "skip_oldest"]


class PublishSettings(Struct, frozen=True):
    """How one learner publishes; times in ms.

    Attributes
    ----------
    job : str
        The job's name, which stands in every manifest.
    every, interval_ms : int
        A version after so many examples, or so long after the one before it, if anything was learned.
    part_bytes : int
        Most bytes of a model in one record, before Base64.
    max_lag_ms : int or None
        How long ago a record may have been queued before `on_lag` decides; None: however long.
    on_lag : str
        `go_on` learns all. `skip_oldest` learns nothing that is older. `sample` learns the share
        `sample` of it, chosen by id.
    signing_key_file : str
        Opened where the learner runs.
    nice : int or "idle"
        How far the learner stands back from others on its machine, as `nice` has it: 0 to 19. Idle: it
        runs where nobody else wants to.
    background_nice : int
        See `operators.standing_back.Background`.
    """

    job: str
    signing_key_file: str
    every: int
    interval_ms: int
    part_bytes: int
    max_lag_ms: int | None
    on_lag: OnLag
    sample: float
    nice: int | Literal["idle"] = 0
    background_nice: int = 0


class Publisher:
    """What has been published of one model, and what comes next.

    Parameters
    ----------
    kept : dict or None
        What `plain` gave before a restart.

    Attributes
    ----------
    views, whole : int
        Versions that were published as a view, and those that had to be whole.
    """

    def __init__(
        self, settings: PublishSettings, key: SigningKey, kept: dict[str, Any] | None
    ) -> None:
        self._settings = settings
        self._key = key
        kept = kept or {}
        self._number: int = kept.get("number", 0)
        self._created: int = kept.get("created", -1)
        self._head: bytes | None = kept.get("head")
        self._n: int = kept.get("n", 0)
        self.learned_to: int = kept.get("learned_to", -1)
        self.skipped: int = kept.get("skipped", 0)
        self._last: deque[bytes] = deque(maxlen=_COMPARED)
        self.views = 0
        self.whole = 0

    def plain(self) -> dict[str, Any]:
        """What outlives this process."""
        return {
            "number": self._number,
            "created": self._created,
            "head": self._head,
            "n": self._n,
            "learned_to": self.learned_to,
            "skipped": self.skipped,
        }

    def learns(self, id: str, queued: int, now: int) -> bool:
        """Whether a record that was queued at a time is still worth learning; if not it is counted."""
        settings = self._settings
        behind = settings.max_lag_ms is not None and now - queued > settings.max_lag_ms
        if not behind or settings.on_lag == "go_on":
            return True
        if settings.on_lag == "sample" and zlib.crc32(id.encode()) < settings.sample * 2**32:
            return True
        self.skipped += 1
        return False

    def saw(self, offset: int, features: bytes | None) -> None:
        """A record of the learn queue was handled."""
        self.learned_to = offset
        if features is not None:
            self._last.append(features)

    def due(self, live: LiveModel, now: int) -> bool:
        """Whether it is time for the next version."""
        if self._head is None:
            return True
        if live.head == self._head:
            return False
        settings = self._settings
        return (
            abs(live.n - self._n) >= settings.every or now >= self._created + settings.interval_ms
        )

    def wake(self, live: LiveModel, now: int) -> int | None:
        """When to look again, if nothing else happens; None where all is published."""
        if live.head == self._head:
            return None
        return max(self._created + self._settings.interval_ms, now + 1)

    def publish(self, live: LiveModel, now: int) -> list[str]:
        """The records of the model as it is now."""
        pieces, view = self._pieces(live)
        parts = published.split(pieces, self._settings.part_bytes)
        # A reader takes the newest, whatever clocks say.
        self._created = max(now, self._created + 1)
        manifest = PublishedManifest(
            job=self._settings.job,
            model=live.settings.name,
            version=live.version,
            head=live.head.hex(),
            n=live.n,
            created=self._created,
            learned_to=self.learned_to,
            view=view,
            label_type=live.label_type,
            names=sorted(live.names),
            environment=snapshots.environment(),
            pieces=[len(piece) for piece in pieces],
            parts=published.digests(parts),
        )
        made = published.records(manifest, parts, self._number, self._key)
        self._number += 1
        self._head, self._n = live.head, live.n
        self.views += view
        self.whole += not view
        return made

    def _pieces(self, live: LiveModel) -> tuple[list[bytes], bool]:
        """The view, if it says the same as the model of the last examples; else the whole model."""
        purity = live.settings.purity
        requests = [decode_features(features) for features in self._last]
        if requests and purity is not Purity.ALWAYS:
            with contextlib.suppress(Exception):  # one that cannot be made, or asked, is none
                cut = views.pieces(live.model)
                if purity is Purity.PURE or (purity is Purity.FIRST and live.n > 0):
                    ask = live.ask
                else:
                    # To ask a model that being asked changes would be to change it.
                    copy = pickle.loads(snapshots.pickle_model(live.model))
                    ask = live.task.asker(copy)
                    requests += _with_new_names(requests[-_NEW_NAMES:])
                if same_answers(ask, live, cut, requests):
                    return cut, True
        return [snapshots.pickle_model(live.model)], False


def same_answers(
    ask: Asker, live: LiveModel, cut: list[bytes], requests: Iterable[dict[str, Any]]
) -> bool:
    """Whether a view of a model says of each request just what `ask` does."""
    loading = views.Loading(cut)
    while loading.step():
        pass
    ask_view = live.task.asker(loading.model)
    return all(tasks.same(ask(dict(x)), ask_view(dict(x))) for x in requests)


def _with_new_names(requests: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Requests as no example was: names that come first or last, are missing, or in another order."""
    for place, x in enumerate(requests):
        yield {f"new {place}": 0.5, **x}
        yield {**x, f"new {place}": "text"}
        yield dict(reversed(x.items()))
        yield dict(list(x.items())[1:])
    yield {}

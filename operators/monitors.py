"""All monitors of a job, for what stands under one key."""

import logging
import pickle
from collections.abc import Container, Iterable

import msgspec

from events.messages import Metrics
from models.tasks import TaskName
from operators import monitor_state
from operators.features_monitor import FeaturesMonitor
from operators.monitor_settings import MonitorSettings
from operators.monitoring import ModelMonitor
from operators.observing import (
    BEFORE_ALL_TIME,
    Features,
    Observation,
    Predicted,
    Retired,
    model_and_role,
    read,
)
from operators.telling import Tell, nowhere

logger = logging.getLogger(__name__)


# Of what `kept` returns.
_FORMAT = 1


class Monitors:
    """All monitors' views of what stands under one key: a model in a role, or the features.

    Parameters
    ----------
    kept
        What `kept` has returned before, and the observations since, in order.
    """

    def __init__(
        self,
        settings: tuple[MonitorSettings, ...],
        retention_ms: int,
        key: str,
        tell: Tell,
        kept: bytes | None = None,
        since: Iterable[str] = (),
    ) -> None:
        self._settings = settings
        self._retention_ms = retention_ms
        self._key = key
        self._tell: Tell = nowhere
        # The highest time of a transaction so far.
        self._reached = BEFORE_ALL_TIME
        # Until when transactions are not counted, where a monitor begins in the middle of the stream: it
        # has not heard all that was said of them.
        self._begun: dict[str, int] = {}
        self.views: dict[str, ModelMonitor | FeaturesMonitor] = {}
        anew = set() if kept is None else self._restore(kept)
        for text in since:
            self._observe(read(text), anew)
        self._begun.update(dict.fromkeys(anew, self._reached))
        self._tell = tell
        for view in self.views.values():
            view.teller.tell = tell

    def _restore(self, kept: bytes) -> set[str]:
        """Names of those that begin anew: one that is new, was changed, or cannot be read."""
        written_as, self._reached, self._begun, stored = pickle.loads(kept)
        anew = set()
        for settings in self._settings:
            was, pickled = stored.get(settings.name, (None, None))
            why = None
            if was is not None and not _same(was, settings):
                why = "it was changed"
            elif was is not None and written_as != _FORMAT:
                why = "another release has kept it"
            elif pickled is not None:
                try:
                    view = monitor_state.loads(pickled)
                except (
                    Exception
                ) as error:  # whatever pickle raises of what another River has written
                    why = f"it cannot be read: {error!r}"
                else:
                    if isinstance(view, ModelMonitor):
                        view.retention_ms = self._retention_ms
                    self.views[settings.name] = view
            if why is not None:
                logger.warning("monitor %r of %s begins anew: %s", settings.name, self._key, why)
            if why is not None or was is None:
                anew.add(settings.name)
        return anew

    def kept(self) -> bytes:
        """All that is known, as bytes."""
        views = {name: monitor_state.dumps(view) for name, view in self.views.items()}
        stored = {
            settings.name: (_text(settings), views.get(settings.name))
            for settings in self._settings
        }
        return pickle.dumps((_FORMAT, self._reached, self._begun, stored))

    def retire(self) -> None:
        """The model is no more: say what is known, and forget all but until when it was."""
        self.tell()
        self.views.clear()
        self._begun = {settings.name: self._reached for settings in self._settings}

    def observe(self, seen: Observation) -> None:
        """One observation."""
        self._observe(seen, frozenset())

    def _observe(self, seen: Observation, deaf: Container[str]) -> None:
        """By all but those of these names."""
        model, _ = model_and_role(self._key)
        if isinstance(seen, Predicted):
            self._reached = max(self._reached, seen.time)
        for settings in self._settings:
            if settings.name in deaf:
                continue
            if isinstance(seen, Features):
                if settings.looks_at_features:
                    self._features_view(settings).features(seen)
            elif settings.watches(model) and not isinstance(seen, Retired):
                view = self._model_view(settings, seen.task)
                if isinstance(seen, Predicted):
                    view.predicted(seen)
                else:
                    view.evaluated(seen)

    def tell(self) -> None:
        """Say what is known now."""
        for view in self.views.values():
            view.tell()

    def now(self) -> list[Metrics]:
        """What is known of the model, by each monitor that watches it, without saying it."""
        views = self.views.values()
        return [record for view in views if isinstance(view, ModelMonitor) for record in view.now()]

    def _model_view(self, settings: MonitorSettings, task: TaskName) -> ModelMonitor:
        view = self.views.get(settings.name)
        if not isinstance(view, ModelMonitor):
            begun = self._begun.get(settings.name, BEFORE_ALL_TIME)
            view = ModelMonitor(settings, self._retention_ms, self._key, task, self._tell, begun)
            self.views[settings.name] = view
        return view

    def _features_view(self, settings: MonitorSettings) -> FeaturesMonitor:
        view = self.views.get(settings.name)
        if not isinstance(view, FeaturesMonitor):
            view = FeaturesMonitor(settings, self._key, self._tell)
            self.views[settings.name] = view
        return view


def _text(settings: MonitorSettings) -> bytes:
    return msgspec.json.encode(settings)


def _same(was: bytes, settings: MonitorSettings) -> bool:
    """Whether a monitor is configured as it was; keys that an older release did not know are left out."""
    try:
        return msgspec.json.decode(was, type=MonitorSettings) == settings
    except msgspec.MsgspecError:
        return False

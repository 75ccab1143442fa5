"""Answers from the newest published versions: which there are, how they are loaded, what they say.

Plain Python; the Flink function around it is operators/predictor.py. Loading goes on in a thread of
its own, a piece at a time with a pause after each, so that a prediction waits for one piece at most.
"""

import gc
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType

from events.features import decode_features, input_digest
from events.letters import dead_letter
from events.messages import Prediction, PublishedManifest
from events.reasons import Reason, Stage
from models import tasks
from models.purity import Purity, changes
from models.tasks import Answer, Asker
from operators.items import Request
from operators.live import ModelSettings
from operators.recent import Recent, Waits
from state import views
from state.published import Assembler, Complete
from state.signing import TrustedKeys

logger = logging.getLogger(__name__)

# Where a text of `Serving.answer` goes.
PREDICTIONS: Final = "predictions"
DEAD_LETTERS: Final = "dead_letters"
SAID: Final = "said"
Addressed = tuple[Literal["predictions", "dead_letters", "said"], str]

# Of the time, what loading may take; the rest is everybody else's.
_SHARE: Final = 0.2
_LEAST_PAUSE_S: Final = 0.000_2
_LONGEST_PAUSE_S: Final = 0.05
# Characters of records that wait to be looked at.
_MOST_WAITING: Final = 32 << 20


class Said(Struct, frozen=True):
    """What one model said of a transaction; without a version it had nothing to say.

    `learned_to` and `label_type` are the version's, see `PublishedManifest`.
    """

    model: str
    version: str | None = None
    learned_to: int = -1
    label_type: Literal["bool", "int", "str", "number"] | None = None
    prediction: Any = None
    probabilities: dict[str, float] | None = None
    score: float | None = None


class AllSaid(Struct, frozen=True):
    """What all models said of a transaction; its time, where a monitor wants to know of it."""

    id: str
    said: list[Said]
    time: int | None = None


class Replaced(Exception):
    """The version that was to be asked has just been let go of."""


class Loaded:
    """A version that can be asked, by one thread, while another may let go of it."""

    def __init__(self, settings: ModelSettings, complete: Complete) -> None:
        self.manifest: PublishedManifest = complete.manifest
        self._settings = settings
        self._pieces = complete.pieces
        self._names = set(complete.manifest.names)
        self._loading = views.Loading(complete.pieces)
        self._ask: Asker | None = None

    def step(self) -> bool:
        """Load the next piece; False after the last one."""
        if self._loading.step():
            return True
        self._bind()
        if self._stays:
            self._pieces = []
        return False

    def unload(self) -> Iterator[None]:
        """Let go of it, a piece a step: what many objects take to vanish is a pause, too."""
        self._ask = None
        while self._loading.loaded:
            self._loading.loaded.pop()
            yield

    def ask(self, x: dict[str, Any]) -> Answer:
        """What this version says; it stays what it is, even where being asked changes a model.

        Raises
        ------
        Replaced
            A newer one is there, and this one is gone.
        Exception
            Whatever the model raises.
        """
        ask = self._ask
        if ask is None:
            raise Replaced
        try:
            return ask(dict(x))
        finally:
            if self._changed_by(x):
                self._loading = views.Loading(self._pieces)
                while self._loading.step():
                    pass
                self._bind()

    def _bind(self) -> None:
        self._ask = tasks.task_for(self._settings.task).asker(self._loading.model)

    def _changed_by(self, x: dict[str, Any]) -> bool:
        return not self._stays and changes(self._settings.purity, self._names, x)

    @property
    def _stays(self) -> bool:
        """Whether no request can change it: what the first one would draw, an example has drawn."""
        purity = self._settings.purity
        return purity is Purity.PURE or (purity is Purity.FIRST and self.manifest.n > 0)


class Loader:
    """Puts sets together, loads the newest of each model, and lets go of the one before.

    Parameters
    ----------
    swap : callable
        Takes a version that is loaded, and returns the one that it replaces.

    Attributes
    ----------
    longest_ns : int
        The longest time for which anything here held the interpreter.
    skipped : int
        Sets that were replaced by a newer one before they were loaded.
    failed : int
        Sets that could not be loaded.
    """

    def __init__(
        self,
        models: list[ModelSettings],
        assembler: Assembler,
        swap: Callable[[Loaded], Loaded | None],
    ) -> None:
        self._models = {settings.name: settings for settings in models}
        self._assembler = assembler
        self._swap = swap
        self._records: deque[str] = deque()
        self._size = 0
        self._waiting: dict[str, Complete] = {}
        self._changed = threading.Condition()
        self._assembling = threading.Lock()
        self._ended = False
        self._thread: threading.Thread | None = None
        self.longest_ns = 0
        self.skipped = 0
        self.failed = 0

    def start(self) -> None:
        """From now on sets are loaded as they come."""
        self._thread = threading.Thread(target=self._run, name="versions", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End, with what is being loaded left as it is."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def offer(self, record: str) -> None:
        """The next record of the versions topic."""
        with self._changed:
            self._records.append(record)
            self._size += len(record)
            self._changed.notify()
        # Who starts reads more than the thread can keep up with: then the reader waits for it.
        if self._size > _MOST_WAITING:
            self._assemble()

    def _assemble(self) -> None:
        """Look at every record that waits; a set that is older than another is forgotten."""
        with self._assembling:
            while self._records:
                with self._changed:
                    record = self._records.popleft()
                    self._size -= len(record)
                complete = self._timed(partial(self._assembler.take, record), rest=False)
                if complete is not None:
                    model = complete.manifest.model
                    with self._changed:
                        self.skipped += self._waiting.pop(model, None) is not None
                        self._waiting[model] = complete

    def load_next(self) -> bool:
        """Load what has waited longest; False where nothing waits."""
        self._assemble()
        with self._changed:
            if not self._waiting:
                return False
            complete = self._waiting.pop(next(iter(self._waiting)))
        loaded = Loaded(self._models[complete.manifest.model], complete)
        # A collection would look at all that is loaded, at once.
        gc.disable()
        try:
            while self._timed(loaded.step):
                if self._ended:
                    return False
        except Exception as error:
            # A model of another River, say: the version before it goes on answering.
            self.failed += 1
            logger.error("version %s cannot be loaded: %r", complete.manifest.version, error)
            return True
        finally:
            gc.enable()
        gc.freeze()
        before = self._swap(loaded)
        if before is not None:
            unloading = before.unload()
            while self._timed(lambda: next(unloading, _END)) is not _END:
                pass
        return True

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._records and not self._waiting and not self._ended:
                    self._changed.wait()
                if self._ended:
                    return
            self.load_next()

    def _timed(self, step: Callable[[], Any], rest: bool = True) -> Any:
        """Do a step, and leave the interpreter to others: for a while, unless there is no `rest`."""
        begun = time.perf_counter_ns()
        done = step()
        took = time.perf_counter_ns() - begun
        self.longest_ns = max(self.longest_ns, took)
        if rest and self._thread is not None:
            pause = took / 1e9 * (1 - _SHARE) / _SHARE
            time.sleep(min(max(pause, _LEAST_PAUSE_S), _LONGEST_PAUSE_S))
        return done


_END: Final = object()


class ServingSettings(NamedTuple):
    """What predictors are told.

    Attributes
    ----------
    hold_limit : int
        How many requests wait where a model has no version.
    background_nice : int
        See `operators.standing_back.Background`.
    """

    job: str
    models: list[ModelSettings]
    trusted: tuple[str, ...]
    hold_limit: int
    predictions: bool
    evaluations: bool
    dead_letters: bool
    raw_bytes: int
    monitored: bool = False
    background_nice: int = 0


class Serving:
    """The models of a job as they were published last.

    Attributes
    ----------
    current : dict
        Model -> the version that is asked.
    """

    def __init__(self, settings: ServingSettings) -> None:
        self._settings = settings
        names = [model.name for model in settings.models]
        self.assembler = Assembler(settings.job, names, TrustedKeys(settings.trusted))
        self.loader = Loader(settings.models, self.assembler, self._swapped)
        self.current: dict[str, Loaded] = {}
        self.predictions = 0
        self.predicting = Recent()
        self.waits = Waits()
        self.swaps = 0
        self.dead_letters: dict[Reason, int] = dict.fromkeys(Reason, 0)

    def take(self, text: str) -> None:
        """A record of the versions topic."""
        self.loader.offer(text)

    @property
    def ready(self) -> bool:
        """Whether every model has a version."""
        return len(self.current) == len(self._settings.models)

    @property
    def oldest_created(self) -> int:
        """When the oldest of the versions that are asked was made, ms since the epoch; 0 before one."""
        return min((each.manifest.created for each in self.current.values()), default=0)

    def answer(self, asked: Request) -> list[Addressed]:
        """Ask every model that has a version; for the others the request is a dead letter."""
        digest = input_digest(asked.id, asked.features)
        out: list[Addressed] = []
        said: list[Said] = []
        for model in self._settings.models:
            loaded = self.current.get(model.name)
            if loaded is None:
                detail = "no version of it has been published, and enough requests wait for one"
                self._dead(Reason.NO_MODEL, detail, model, asked, out)
                said.append(Said(model.name))
            else:
                said.append(self._ask(loaded, model, asked, digest, out))
        self.waits.answered(asked)
        if self._settings.evaluations:
            time = asked.time if self._settings.monitored else None
            out.append((SAID, _encode(AllSaid(asked.id, said, time))))
        return out

    def _ask(
        self,
        loaded: Loaded,
        model: ModelSettings,
        asked: Request,
        digest: str,
        out: list[Addressed],
    ) -> Said:
        error: str | UnsetType = UNSET
        manifest = loaded.manifest
        x = decode_features(asked.features)
        begun = time.perf_counter_ns()
        try:
            answer = loaded.ask(x)
        except Replaced:
            return self._ask(self.current[model.name], model, asked, digest, out)
        except Exception as failure:
            answer, error = _NO_ANSWER, f"{type(failure).__name__}: {failure}"
            self._dead(Reason.PREDICT_FAILED, error, model, asked, out)
        else:
            if not tasks.finite(answer):
                error = f"the model answered {answer}"
                answer = _NO_ANSWER
                self._dead(Reason.PREDICTION_NOT_FINITE, error, model, asked, out)
        self.predicting.add(time.perf_counter_ns() - begun)
        prediction, probabilities, score = tasks.in_label_type(answer, manifest.label_type)
        self.predictions += 1
        if self._settings.predictions:
            record = Prediction(
                asked.id,
                model.name,
                None,
                manifest.version,
                model.role == "champion",
                prediction,
                asked.time,
                time.time_ns() // 1_000_000,
                digest,
                probabilities if model.task == "classification" else UNSET,
                score if model.task == "anomaly" else UNSET,
                error,
            )
            out.append((PREDICTIONS, _encode(record)))
        return Said(
            model.name,
            manifest.version,
            manifest.learned_to,
            manifest.label_type,
            prediction,
            probabilities,
            score,
        )

    def _swapped(self, loaded: Loaded) -> Loaded | None:
        name = loaded.manifest.model
        before = self.current.get(name)
        self.current[name] = loaded
        self.swaps += 1
        return before

    def _dead(
        self,
        reason: Reason,
        detail: str,
        model: ModelSettings,
        asked: Request,
        out: list[Addressed],
    ) -> None:
        self.dead_letters[reason] += 1
        if not self._settings.dead_letters:
            return
        event = {"id": asked.id, "features": msgspec.Raw(asked.features), "ts": asked.time}
        letter = dead_letter(
            Stage.PREDICT,
            reason,
            detail,
            source=asked.input,
            position=asked.position,
            id=asked.id,
            raw=msgspec.json.encode(event),
            limit=self._settings.raw_bytes,
            model=model.name,
        )
        out.append((DEAD_LETTERS, letter))


_NO_ANSWER = Answer(None, None, None)


def _encode(record: Struct) -> str:
    return msgspec.json.encode(record).decode()

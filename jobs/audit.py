"""`riverrun audit`: every prediction made again, by the version that it names.

Versions are rebuilt from the learn log in one pass (`operators.replaying`), features come from the
inputs, and each prediction is compared with what the rebuilt version says: floats with ==.
"""

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec import UNSET, Struct

from events.features import decode_features
from events.messages import Prediction
from jobs import audit_checks, meanwhile, reading_inputs, reading_outputs
from jobs.audit_index import Features, Numbers, Predictions, first_equal, sorted_hashes
from jobs.beginnings import KnownBeginnings, opened
from jobs.config import Config
from jobs.errors import Failure
from jobs.job_keys import trusted_keys
from jobs.learn_logs import LearnLog
from jobs.lines import Lines
from jobs.settings import FileInput, KafkaInput, NamedInput, StoredSink
from models.tasks import LabelType, in_label_type
from operators.collecting import seldom_collecting
from operators.live import LiveModel
from operators.replaying import Done, Outcome, Own, Replay, Standing, asked, copied
from state.artifacts import Artifact
from state.chains import Chain
from state.learnlog import Entry
from state.snapshots import environment
from state.versions import parse_version, place_of

Progress = Callable[[str, int], None]
Part = Literal["all", "first", "rest"]
# So many predictions are judged by two processes. Both learn all again, or as far as they judge: with this share
# the one that stops earlier takes as long, where asking costs as much as learning.
_WORTH_TWO = 1_000
_FIRST = 2 / 3


class Verdict(StrEnum):
    """What is said of a prediction, or of a transaction that has none."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNKNOWN_VERSION = "unknown version"
    ABORTED = "aborted attempt (fork)"
    MISSING = "missing prediction"
    NO_FEATURES = "features missing"
    DOUBLED = "doubled"
    ENVIRONMENT = "environment differs"
    ERASED = "erased"
    BROKEN = "broken chain"


# What an audit may say of a job in which nothing is wrong.
SOUND = frozenset({Verdict.EQUAL, Verdict.ABORTED, Verdict.ERASED})


class Problem(Struct, frozen=True, omit_defaults=True):
    """Something that is not as it should be; `position` is `file:line` or `topic-partition-offset`."""

    verdict: Verdict
    detail: str
    position: str | None = None
    id: str | None = None
    model: str | None = None
    version: str | None = None


class Audit(Struct, frozen=True):
    """What an audit found.

    Attributes
    ----------
    verdicts : dict
        Verdict -> how many.
    skipped : int
        Predictions before the version at which the audit was told to begin.
    entries, chains, forks, repeated, erased : int
        Of the learn log: records walked, chains, attempts that were given up, records that it holds
        once more, records whose contents were replaced by their digest.
    """

    job: str
    sound: bool
    verdicts: dict[Verdict, int]
    skipped: int
    entries: int
    chains: int
    forks: int
    repeated: int
    erased: int
    environment: dict[str, str]
    problems: list[Problem]


class _Findings(Struct):
    """What is said of predictions; `aborted` are places of those made by attempts that were given up."""

    verdicts: Counter[Verdict]
    problems: list[Problem]
    skipped: int = 0
    equals: int = 0
    aborted: set[int] = msgspec.field(default_factory=set)

    def add(self, other: "_Findings", at: int) -> None:
        """What was found elsewhere, its problems put in here; what both found of the chains counts once."""
        broken = {problem for problem in other.problems if problem.verdict is Verdict.BROKEN}
        more = [problem for problem in self.problems[at:] if problem not in broken]
        self.verdicts.update(other.verdicts)
        self.verdicts[Verdict.BROKEN] -= len(self.problems) - at - len(more)
        self.problems[at:] = [*other.problems, *more]
        self.skipped += other.skipped
        self.equals += other.equals
        self.aborted |= other.aborted


class Sources(Struct, frozen=True):
    """Where the parts of an audit are; what is left out is as the configuration says."""

    features: tuple[NamedInput, ...]
    predictions: StoredSink
    learn_logs: tuple[StoredSink, ...]


def sources(
    config: Config,
    *,
    features: str | None = None,
    predictions: str | None = None,
    learn_logs: Iterable[str] = (),
) -> Sources:
    """Where an audit of this configuration reads; each argument is a path or a topic instead.

    Raises
    ------
    Failure
        The configuration does not say, or what was given is not there.
    """
    inputs = tuple(input for input in config.inputs() if input.name != "control")
    if features is not None:
        like = next((i.source for i in inputs if isinstance(i.source, KafkaInput)), None)
        found = reading_outputs.named(features, "features", like)
        inputs = (NamedInput("features", reading_inputs.as_input(found)),)
    said = reading_outputs.recorded(config, "predictions")
    if predictions is not None:
        said = reading_outputs.named(predictions, "predictions", said)
    if said is None:
        raise Failure("there are no [predictions] in the configuration: name them, --predictions")
    if not inputs:
        raise Failure("there are no [features] in the configuration: name them, --features")
    return Sources(inputs, said, learn_log_sinks(config, learn_logs))


def learn_log_sinks(config: Config, named: Iterable[str] = ()) -> tuple[StoredSink, ...]:
    """The learn logs of these names, or else the configuration's.

    Raises
    ------
    Failure
        As `sources`.
    """
    log = reading_outputs.recorded(config, "learn_log")
    found = tuple(reading_outputs.named(name, "learn_log", log) for name in named)
    if found or log is not None:
        return found or (log,)  # type: ignore[return-value]
    raise Failure("there is no [learn_log] in the configuration: name one, --learn-log")


def audit(
    config: Config,
    *,
    id: str | None = None,
    artifacts: Iterable[Path] = (),
    since: Iterable[str] = (),
    where: Sources | None = None,
    model: Any = None,
    progress: Progress | None = None,
) -> Audit:
    """Make every prediction again, or those of one transaction.

    Parameters
    ----------
    artifacts
        Versions to start at instead of the beginnings of their chains; where the configuration trusts
        keys, one of them must have signed each.
    since
        Versions; what was predicted before them in their chains is left out.
    model : River estimator, optional
        Stands for the spec of the one model that has none.
    progress
        Told what is being done and how many records of it are.

    Raises
    ------
    Failure
        Something cannot be read, an artifact is not to be trusted, a version is not in the log.
    """
    told = progress or (lambda phase, count: None)
    where = where or sources(config)
    opened_ = [opened(path, trusted_keys(config)) for path in artifacts]
    # First of all: of what the job reads from now on there need be no predictions.
    read = audit_checks.read_so_far(config, where.features)
    with (
        seldom_collecting(),
        Lines() as logged,
        Lines() as said,
        _reading_features(config, where.features, id, told) as read_features,
    ):
        log = LearnLog(logged, where.learn_logs, lambda n: told("reading the learn log", n))
        predictions = Predictions(said)
        records = reading_outputs.into(said, "predictions", where.predictions)
        predictions.read(records, id, lambda n: told("reading predictions", n))
        features = read_features()
        with features.lines:
            auditor = _Auditor(config, log, predictions, features, opened_, since, model)
            return auditor.audit(where, read, told)


@contextmanager
def _reading_features(
    config: Config, inputs: tuple[NamedInput, ...], id: str | None, told: Progress
) -> Iterator[Callable[[], Features]]:
    """Gives a function that gives them; files are read meanwhile, where that is possible."""

    def read(progress: Callable[[int], None]) -> Features:
        features = Features(Lines(), config.decoder())
        for part in reading_inputs.parts(inputs):
            accepts = reading_inputs.taken(config)
            features.read(part(features.lines), id, accepts, progress)
        return features

    if meanwhile.possible() and all(isinstance(input.source, FileInput) for input in inputs):
        with meanwhile.meanwhile(partial(read, lambda n: None)) as features:
            yield features
    else:
        yield partial(read, lambda n: told("reading features", n))


class _Auditor:
    """Watches a walk and judges the predictions of each version."""

    def __init__(
        self,
        config: Config,
        log: LearnLog,
        predictions: Predictions,
        features: Features,
        artifacts: list[Artifact],
        since: Iterable[str],
        model: Any,
    ) -> None:
        self._config = config
        self._log = log
        self._predictions = predictions
        self._features = features
        self._since = [*(artifact.manifest.version for artifact in artifacts), *since]
        self._beginnings = KnownBeginnings(
            config,
            log.chains,
            starts=[a for a in artifacts if log.number_of(a.manifest.version) is not None],
            artifacts=artifacts,
            model=model,
        )
        self._part: Part = "all"
        self._found = _Findings(Counter(), [])
        self._feature_of = _one_by_one(features.first_of(predictions.transactions))

    def audit(self, where: Sources, read: audit_checks.ReadSoFar, told: Progress) -> Audit:
        for number, why in self._log.unreadable:
            position = self._log.lines.position(number)
            self._problem(Verdict.BROKEN, why, position=position)
        for number, why in self._predictions.unreadable:
            self._problem(Verdict.DIFFERENT, why, position=self._predictions.lines.position(number))
        self._require_known()
        walked = self._walk(lambda n: told("learning again", n))
        self._at_beginnings()
        told("comparing transactions", 0)
        self._whole(where, read)
        counts = Counter({Verdict.EQUAL: self._found.equals}) + self._found.verdicts
        verdicts = {verdict: counts[verdict] for verdict in Verdict if counts[verdict]}
        return Audit(
            self._config.job.name,
            SOUND.issuperset(verdicts),
            verdicts,
            self._found.skipped,
            *walked,
            environment(),
            self._found.problems,
        )

    def _walk(self, progress: Callable[[int], None]) -> Done:
        """Learn all again, and judge; the first predictions in a second process, where that is worth it."""
        if len(self._predictions) < _WORTH_TWO or not meanwhile.possible():
            return self._replay("all", progress)
        told = len(self._found.problems)
        with meanwhile.meanwhile(self._first) as first:
            walked = self._replay("rest", progress)
            self._found.add(first(), told)
        return walked

    def _first(self) -> _Findings:
        """What is said of the first predictions; for itself, so that it can be said again."""
        auditor = copy(self)
        auditor._found = _Findings(Counter(), [])
        auditor._replay("first", None)
        return auditor._found

    def _replay(self, part: Part, progress: Callable[[int], None] | None) -> Done:
        self._part = part
        walk = Replay(self._log, self._beginnings, self, starts=self._since, progress=progress)
        return walk.run()

    def _require_known(self) -> None:
        for version in self._since:
            try:
                named = parse_version(version)
            except ValueError as error:
                raise Failure(str(error)) from None
            chain = Chain(named.model, named.lane)
            if self._log.number_of(version) is None and not self._beginnings.of(chain, version):
                raise Failure(f"{version} is not in the learn log")

    # As a watcher of the walk

    def begin(self, repeated: Mapping[int, int]) -> None:
        """Put the predictions in the order of the log."""
        at = first_equal(*sorted_hashes(self._log.names), self._predictions.versions)
        for number, stands_for in repeated.items():
            at[at == number] = stands_for
        order = np.argsort(at, kind="stable")
        begins = np.searchsorted(at[order], np.arange(len(self._log.lines) + 1))
        self._order = _one_by_one(order)
        self._of_beginnings = self._order[: int(begins[0])]
        # Whoever judges the first predictions has no others, and the other way round.
        cut = begins[np.searchsorted(begins, begins[0] + _FIRST * (begins[-1] - begins[0]))]
        if self._part == "first":
            begins = np.minimum(begins, cut)
        elif self._part == "rest":
            begins = np.maximum(begins, cut)
        self._asked = np.diff(begins) > 0
        self._begins = _one_by_one(begins)

    def last(self, numbers: "array[int]") -> int:
        asked_ = np.nonzero(self._asked[np.frombuffer(numbers, dtype=np.int64)])[0]
        return int(asked_[-1]) + 1 if len(asked_) else 0

    def at(self, number: int, standing: Standing, own: Own | None) -> None:
        begin, end = self._begins[number], self._begins[number + 1]
        if begin != end:
            self._judge(self._order[begin:end], standing, own)

    def learns(self, live: LiveModel, entry: Entry) -> None:
        """Nothing is asked of what is only learned."""

    def broken(self, number: int, version: str, detail: str) -> None:
        position = self._log.lines.position(number)
        self._problem(Verdict.BROKEN, detail, position=position, version=version)

    # Predictions

    def _at_beginnings(self) -> None:
        """Predictions by versions that no entry leads to: those at which chains begin."""
        by_version: dict[tuple[str, str | None, str], list[int]] = {}
        for place in self._of_beginnings:
            said = self._read(place)
            if said is not None:
                by_version.setdefault((said.model, said.lane, said.version), []).append(place)
        quiet = {parse_version(version)[:2] for version in self._since}
        for (model, lane, version), places in by_version.items():
            chain = self._log.chains.find(model, lane) or Chain(model, lane)
            beginning = self._beginnings.of(chain, version)
            try:
                standing = Standing(version, None, beginning and beginning.live())
            except Exception:  # the walk has told it, where the log has anything of this chain
                standing = Standing(version, None, None)
            standing.quiet = (model, lane) in quiet and version not in self._since
            here = environment()
            if beginning is not None and beginning.environment is not None:
                standing.foreign = beginning.environment != here
            elif chain.environments:
                standing.foreign = chain.environments[0][1] == _shown(here)
            self._judge(places, standing, None)

    def _read(self, place: int) -> Prediction | None:
        try:
            return _read_prediction(self._predictions[place])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            detail = f"it is no prediction: {error}"
            position = self._predictions.position(place)
            self._problem(Verdict.DIFFERENT, detail, position=position)
            return None

    def _judge(self, places: Iterable[int], standing: Standing, own: Own | None) -> None:
        """Compare the predictions of a version, the one that changed it last."""
        live, last = standing.live, []
        for place in places:
            if standing.quiet:
                self._found.skipped += 1
                continue
            said = self._read(place)
            if said is None:
                continue
            if standing.aborted:
                self._found.aborted.add(place)
            text = self._text(place, said)
            if text is None:
                continue
            if said.version != standing.version:
                self._say(Verdict.UNKNOWN_VERSION, "no record leads to it", place, said)
            elif live is None:
                self._say_lost(standing, place, said)
            elif said.model != live.settings.name or said.lane != live.lane:
                self._say_misnamed(place, said)
            elif own is not None and _is_own(own, said, text):
                last.append((place, said))
            else:
                features = decode_features(text)
                # To be asked changes it, and the job that was asked took that back, or asked a copy.
                asks = copied(live) if live.request_changes(features) else live
                if _at_once_equal(said, asks, features):
                    self._equal(standing)
                else:
                    # Asked again, as one that is not changed by it says the same.
                    asks = copied(live) if asks is not live else live
                    self._compare(place, said, standing, asked(asks, features))
        for place, said in last:
            assert own is not None, "they are the ones it is about"
            self._compare(place, said, standing, own.outcome())

    def _say_misnamed(self, place: int, said: Prediction) -> None:
        detail = f"it is no version of model {said.model!r}, lane {said.lane!r}"
        self._say(Verdict.UNKNOWN_VERSION, detail, place, said)

    def _say_lost(self, standing: Standing, place: int, said: Prediction) -> None:
        if not said.version.startswith(f"{place_of(said.model, said.lane)}@"):
            self._say_misnamed(place, said)
            return
        if standing.lost == "erased":
            self._found.verdicts[Verdict.ERASED] += 1
            return
        detail = "the version cannot be made again: what it begins at, or an entry, is missing"
        self._say(Verdict.UNKNOWN_VERSION, detail, place, said)

    def _text(self, place: int, said: Prediction) -> bytes | None:
        """The text of the features that were predicted on; None where it is not found, which is told."""
        features = self._features
        first = self._feature_of[place]
        if first >= 0:
            text = features.text(first, said.id, said.input)
            if text is not None:
                return text
            for other in features.of_transaction(hash((said.id, said.event_time))):
                text = features.text(other, said.id, said.input)
                if text is not None:
                    return text
            detail = f"input: {said.input} is not the digest of its features"
            self._say(Verdict.DIFFERENT, detail, place, said)
        elif said.input in features.erased:
            self._found.verdicts[Verdict.ERASED] += 1
        elif any(features.text(n, said.id, said.input) for n in features.of_id(hash(said.id))):
            detail = f"event_time: {said.event_time} is not that of its features"
            self._say(Verdict.DIFFERENT, detail, place, said)
        else:
            detail = "no features of this transaction were found"
            self._say(Verdict.NO_FEATURES, detail, place, said)
        return None

    def _equal(self, standing: Standing) -> None:
        if standing.aborted:
            self._found.verdicts[Verdict.ABORTED] += 1
        else:
            self._found.equals += 1

    def _compare(self, place: int, said: Prediction, standing: Standing, found: Outcome) -> None:
        assert standing.live is not None, "it was asked"
        different = _different(said, found, standing.live)
        if different is None:
            self._equal(standing)
        elif standing.foreign:
            self._say(Verdict.ENVIRONMENT, different, place, said)
        else:
            self._say(Verdict.DIFFERENT, different, place, said)

    def _say(self, verdict: Verdict, detail: str, place: int, said: Prediction) -> None:
        position = self._predictions.position(place)
        self._problem(verdict, detail, position, said.id, said.model, said.version)

    def _problem(
        self,
        verdict: Verdict,
        detail: str,
        position: str | None = None,
        id: str | None = None,
        model: str | None = None,
        version: str | None = None,
    ) -> None:
        self._found.verdicts[verdict] += 1
        self._found.problems.append(Problem(verdict, detail, position, id, model, version))

    # Transactions

    def _whole(self, where: Sources, read: audit_checks.ReadSoFar) -> None:
        """What is wrong with transactions as wholes: predictions missing, doubled, not one serving."""
        aborted = np.zeros(len(self._predictions), dtype=bool)
        aborted[list(self._found.aborted)] = True
        always = audit_checks.always_there(self._config, self._log.chains, self._predictions)
        detail = "these features have no prediction"
        for id, position, model in audit_checks.missing(
            self._config, self._features, self._predictions, always, read
        ):
            self._problem(Verdict.MISSING, detail, position, id, model)
        again = where.predictions.delivery == "at_least_once"
        for place in audit_checks.doubled(self._predictions, aborted, again):
            said = self._read(place)
            if said is not None:
                self._say(Verdict.DOUBLED, "its model has predicted it before", place, said)
        for place, serving in audit_checks.not_one_serving(
            self._predictions, aborted, self._log.chains, len(always), again
        ):
            said = self._read(place)
            if said is not None:
                detail = f"serving: {serving} of the transaction's predictions, instead of one"
                self._say(Verdict.DIFFERENT, detail, place, said)


def _one_by_one(numbers: Numbers) -> "array[int]":
    """As an array of Python's: one number at a time is read faster from it than from one of numpy's."""
    return array("q", numbers.astype(np.int64).tobytes())


_read_prediction = msgspec.json.Decoder(Prediction).decode
_LABEL_TYPES: tuple[LabelType, ...] = ("bool", "int", "str", "number")
# Where an object is in memory is another place each time.
_ADDRESS = re.compile(r"0x[0-9a-f]+")


def _is_own(own: Own, said: Prediction, text: bytes) -> bool:
    entry = own.entry
    return said.id == entry.id and said.reemit is UNSET and bytes(entry.features) == text


def _at_once_equal(said: Prediction, live: LiveModel, features: dict[str, Any]) -> bool:
    """Whether a model says this; what is usual, with no word of what differs."""
    if said.error is not UNSET:
        return False
    try:
        answer = live.ask(features)
    except Exception:  # the same again when it is looked at more closely
        return False
    prediction, probabilities, score = in_label_type(answer, live.label_type)
    task = live.settings.task
    # What is no finite number is not equal to any.
    return (
        said.prediction == prediction
        and isinstance(said.prediction, bool) == isinstance(prediction, bool)
        and said.probabilities == (probabilities if task == "classification" else UNSET)
        and said.score == (score if task == "anomaly" else UNSET)
    )


def _different(said: Prediction, found: Outcome, live: LiveModel) -> str | None:
    """What of a prediction is not what the version says; None if all is."""
    task, label_type = live.settings.task, live.label_type
    different = _differences(said, found, task, label_type)
    if different and label_type is None:
        # A version of before the first label, that was pinned behind it.
        for later in _LABEL_TYPES:
            if not _differences(said, found, task, later):
                return None
    return "; ".join(different) or None


def _differences(
    said: Prediction, found: Outcome, task: str, label_type: LabelType | None
) -> list[str]:
    prediction, probabilities, score = in_label_type(found.answer, label_type)
    expected: dict[str, Any] = {
        "prediction": prediction,
        "probabilities": probabilities if task == "classification" else UNSET,
        "score": score if task == "anomaly" else UNSET,
        "error": UNSET if found.error is None else _ADDRESS.sub("0x", found.error),
    }
    different = []
    for name, value in expected.items():
        given = getattr(said, name)
        if name == "error" and isinstance(given, str):
            given = _ADDRESS.sub("0x", given)
        # As JSON has them: true is not 1.
        same = given == value and isinstance(given, bool) == isinstance(value, bool)
        if not same:
            different.append(f"{name}: {_told(given)}, and it says {_told(value)}")
    return different


def _told(value: Any) -> str:
    return "nothing" if value is UNSET else repr(value)


def _shown(env: dict[str, str]) -> str:
    return msgspec.json.encode(env).decode()

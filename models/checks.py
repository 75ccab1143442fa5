"""What riverrun needs of a model, as checks that run over every model.

The checks of River's own suite are about learning well; these are about being run by a job: saved and
restored, asked in between, given features that are missing or of another type, replayed.
"""

import functools
import pickle
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from models.purity import Purity, names_in, probe
from models.rehearsal import Example, Wishes, examples, wishes_of
from models.tasks import Answer, Features, Task, finite, label_key, last_step, same

COUNT = 120
HALF = COUNT // 2
UNSEEN_NAMES = 400
# FFMClassifier, the most of River's models, takes 1,400.
MOST_BYTES_PER_UNSEEN_NAME = 4_000


class Subject(NamedTuple):
    """A model under test.

    Attributes
    ----------
    fresh : callable
        Makes a copy of the model as it was given.
    clone : callable
        Makes a model anew with the same parameters.
    purity : Purity
        What it is declared to be.
    """

    fresh: Callable[[], Any]
    clone: Callable[[], Any]
    task: Task
    purity: Purity
    rows: list[Example]


Check = Callable[[Subject], None]


def yield_checks(
    estimator: Any, task: Task, purity: Purity = Purity.PURE
) -> Iterator[Callable[[], None]]:
    """The checks for a model, each a function without arguments that raises `AssertionError`.

    Parameters
    ----------
    estimator : River estimator
        Not used up: the checks work on copies.
    purity : Purity
        What is known of it; a model that is not as pure as that fails.

    Examples
    --------
    >>> from models.tasks import task_for
    >>> from river.naive_bayes import GaussianNB
    >>> for check in yield_checks(GaussianNB(), task_for("classification")):
    ...     check()
    """
    data = pickle.dumps(estimator)
    subject = Subject(
        functools.partial(pickle.loads, data),
        estimator.clone,
        task,
        purity,
        examples(labelled(estimator, task), COUNT, (("late", HALF),)),
    )
    for check in CHECKS:
        bound = functools.partial(check, subject)
        yield functools.update_wrapper(bound, check)


def labelled(estimator: Any, task: Task) -> Wishes:
    """What the model wants of its examples, with three classes named in words if it takes any."""
    wishes = wishes_of(estimator)
    if task.name != "classification" or wishes.labels or not last_step(estimator)._multiclass:
        return wishes
    return wishes._replace(labels=["fraud", "ok", "unsure"])


def check_answers_are_rivers(subject: Subject) -> None:
    """The task's answer is what River's own methods say of the same model."""
    model, plain = subject.fresh(), subject.fresh()
    ask, teach = subject.task.asker(model), subject.task.teacher(model)
    teach_plain = subject.task.teacher(plain)
    for row in subject.rows:
        _equal(ask(row.x), _as_river_says(plain, subject.task, row.x), "the task answers otherwise")
        y = row.y(subject.task.name)
        teach(row.x, y, None)
        teach_plain(row.x, y, None)


def _as_river_says(model: Any, task: Task, x: Features) -> Answer:
    if task.name == "anomaly":
        score = model.score_one(x)
        last = last_step(model)
        return Answer(last.classify(score) if hasattr(last, "classify") else None, None, score)
    prediction = model.predict_one(x)
    if task.name == "regression":
        return Answer(prediction, None, None)
    try:
        return Answer(prediction, model.predict_proba_one(x), None)
    except NotImplementedError:
        return Answer(prediction, None, None)


def check_restored_model_predicts_the_same(subject: Subject) -> None:
    """A model that was pickled and read again goes on exactly as the one that was not."""
    model = subject.fresh()
    _run(model, subject.task, subject.rows[:HALF])
    twin = pickle.loads(pickle.dumps(model))
    rest = subject.rows[HALF:]
    _equal(_run(twin, subject.task, rest), _run(model, subject.task, rest), "restored, it differs")


def check_same_seed_same_predictions(subject: Subject) -> None:
    """Two models with the same parameters say the same."""
    first, second = (_run(subject.clone(), subject.task, subject.rows) for _ in range(2))
    _equal(first, second, "made again with the same parameters, it differs")


def check_purity_is_as_declared(subject: Subject) -> None:
    """Requests change the model no more than its purity says."""
    found = probe(subject.fresh, subject.task)
    _that(found is subject.purity, f"requests: {found.name} instead of {subject.purity.name}")


def check_features_are_left_alone(subject: Subject) -> None:
    """Neither asking nor teaching changes the features or their order: other models get them too."""
    model = subject.fresh()
    ask, teach = subject.task.asker(model), subject.task.teacher(model)
    for row in subject.rows:
        x = dict(row.x)
        ask(x)
        _equal(list(x.items()), list(row.x.items()), "asking changed the features")
        teach(x, row.y(subject.task.name), None)
        _equal(list(x.items()), list(row.x.items()), "teaching changed the features")


def check_answers_are_json(subject: Subject) -> None:
    """Every answer to an ordinary request is finite and can be written as JSON."""
    for answer in _run(subject.fresh(), subject.task, subject.rows):
        if not isinstance(answer, Answer) or not finite(answer):
            raise AssertionError(f"no finite answer: {answer}")
        prediction, probabilities, score = answer
        _that(type(prediction) in (bool, int, float, str, type(None)), f"not JSON: {answer}")
        numbers = [*(probabilities or {}).values(), 0.0 if score is None else score]
        _that(all(type(number) in (int, float) for number in numbers), f"not JSON: {answer}")
        _that(len(set(map(label_key, probabilities or {}))) == len(probabilities or {}), "same key")


def check_odd_requests_leave_no_trace(subject: Subject) -> None:
    """Asked with features that are missing, huge, boolean or text, it answers or raises; that is all.

    Later answers are those of a model that was never asked.
    """
    model, twin = subject.fresh(), subject.fresh()
    ask = subject.task.asker(model)
    first, rest = subject.rows[:HALF], subject.rows[HALF:]
    _run(model, subject.task, first)
    _run(twin, subject.task, first)
    known = {name for row in first for name in names_in(row.x)}
    for row in first:
        for x in _odd(row.x):
            if subject.purity in (Purity.PURE, Purity.FIRST) or known.issuperset(names_in(x)):
                _attempt(ask, x)
    _equal(
        _run(model, subject.task, rest),
        _run(twin, subject.task, rest),
        "odd requests left a trace",
    )


def check_odd_examples_teach_the_same_each_time(subject: Subject) -> None:
    """Taught with such features it learns or raises, the same each time: a log can be replayed."""
    results = []
    for _ in range(2):
        model = subject.fresh()
        teach = subject.task.teacher(model)
        results.append(
            [
                _attempt(teach, x, row.y(subject.task.name), None)
                for row in subject.rows[:HALF]
                for x in _odd(row.x)
            ]
            + _run(model, subject.task, subject.rows[HALF:])
        )
    _equal(results[0], results[1], "taught with odd features twice, it differs")


def check_unseen_names_cost_little(subject: Subject) -> None:
    """Each name that a model is asked about, and never taught, adds a bounded amount to its size."""
    cost = bytes_per_unseen_name(subject.fresh(), subject.task, subject.rows)
    _that(
        cost <= MOST_BYTES_PER_UNSEEN_NAME,
        f"{cost:.0f} bytes for each unseen name, at most {MOST_BYTES_PER_UNSEEN_NAME} are sound",
    )


CHECKS: tuple[Check, ...] = (
    check_answers_are_rivers,
    check_restored_model_predicts_the_same,
    check_same_seed_same_predictions,
    check_purity_is_as_declared,
    check_features_are_left_alone,
    check_answers_are_json,
    check_odd_requests_leave_no_trace,
    check_odd_examples_teach_the_same_each_time,
    check_unseen_names_cost_little,
)


def bytes_per_unseen_name(model: Any, task: Task, rows: list[Example]) -> float:
    """By how much a model's pickle grows with each name that it is only asked about.

    docs/models.md has the numbers of River's models; a stream with ever new names needs a schema or a
    model at 0.
    """
    _run(model, task, rows[:HALF])
    ask = task.asker(model)
    before = len(pickle.dumps(model))
    for index in range(UNSEEN_NAMES):
        _attempt(ask, {**rows[0].x, f"unseen{index}": 0.5})
    return (len(pickle.dumps(model)) - before) / UNSEEN_NAMES


def _odd(x: Features) -> Iterator[Features]:
    names = list(x)
    yield {}
    yield {names[0]: x[names[0]]}
    yield dict(list(x.items())[1:])
    yield dict.fromkeys(names, True)
    yield dict.fromkeys(names, "text")
    yield dict.fromkeys(names, 1e300)
    yield dict.fromkeys(names, -(10**15))


def _run(model: Any, task: Task, rows: list[Example]) -> list[Answer | str]:
    """What the model says of each example before it learns from it."""
    ask, teach = task.asker(model), task.teacher(model)
    said = []
    for row in rows:
        said.append(_attempt(ask, row.x))
        _attempt(teach, row.x, row.y(task.name), None)
    return said


def _attempt(call: Callable[..., Any], *args: Any) -> Any:
    try:
        return call(*args)
    except Exception as error:
        return type(error).__name__


def _equal(one: Any, other: Any, otherwise: str) -> None:
    _that(same(one, other), f"{otherwise}: {one} is not {other}"[:500])


def _that(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)

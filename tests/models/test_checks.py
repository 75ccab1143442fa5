"""The conformance checks over the zoo, and a mutant for each check that it must reject."""

import random
import warnings
from decimal import Decimal

import pytest
from river import base, naive_bayes

from models import checks
from models.checks import CHECKS, yield_checks
from models.purity import Purity
from models.tasks import Answer, Classification, Regression, task_for
from tests.models.zoo import ZOO

CASES = [
    pytest.param(check, id=f"{name}:{check.__name__}")
    for name, known in ZOO.items()
    for check in yield_checks(known.model, task_for(known.task), known.purity)
]


@pytest.mark.parametrize("check", CASES)
def test_model(check):
    with warnings.catch_warnings():
        # Taught 1e300, numpy says that it overflows.
        warnings.simplefilter("ignore", RuntimeWarning)
        check()


class Mean(base.Regressor):
    """Says the mean of the labels so far; each mutant does one thing wrong."""

    def __init__(self):
        self.sum = 0.0
        self.count = 0

    def learn_one(self, x, y):
        self.sum += y
        self.count += 1

    def predict_one(self, x):
        return self.sum / self.count if self.count else 0.0


class Forgetful(Mean):
    def __getstate__(self):
        return {**vars(self), "count": self.count // 2}


class Unseeded(Mean):
    def __init__(self):
        super().__init__()
        self.sum = random.random()


class Peeking(Mean):
    def predict_one(self, x):
        self.count += 1
        return super().predict_one(x)


class Tidy(Mean):
    """Sorts the features that it is given."""

    def learn_one(self, x, y):
        late = x.pop("a", None)
        super().learn_one(x, y)
        if late is not None:
            x["a"] = late


class Greedy(Mean):
    def predict_one(self, x):
        x.pop("a", None)
        return super().predict_one(x)


class Undefined(Mean):
    def predict_one(self, x):
        return super().predict_one(x) if self.count % 10 else float("nan")


class Exact(Mean):
    def predict_one(self, x):
        return Decimal(super().predict_one(x))


class Touchy(Mean):
    """Raises at text, and is not the same afterwards."""

    def predict_one(self, x):
        if any(isinstance(value, str) for value in x.values()):
            self.sum += 1
            raise TypeError("text")
        return super().predict_one(x)


class Moody(Mean):
    """What it learns of an example without features depends on what else ran in this process."""

    taught = 0

    def learn_one(self, x, y):
        if not x:
            Moody.taught += 1
            y += Moody.taught
        super().learn_one(x, y)


class Hoarding(Mean):
    """Keeps a row of numbers for each name that it is asked about."""

    def __init__(self):
        super().__init__()
        self.rows = {}

    def predict_one(self, x):
        for name in x:
            self.rows.setdefault(name, [random.random() for _ in range(1000)])
        return super().predict_one(x)


class Doubtful(Classification):
    """Says None where it is not sure, which River does not."""

    def asker(self, model):
        ask = super().asker(model)

        def asked(x):
            answer = ask(x)
            sure = max(answer.probabilities.values(), default=0) > 0.99
            return answer if sure else Answer(None, answer.probabilities, None)

        return asked


MUTANTS = [
    ("check_answers_are_rivers", naive_bayes.GaussianNB(), Doubtful()),
    ("check_restored_model_predicts_the_same", Forgetful(), Regression()),
    ("check_same_seed_same_predictions", Unseeded(), Regression()),
    ("check_purity_is_as_declared", Peeking(), Regression()),
    ("check_features_are_left_alone", Tidy(), Regression()),
    ("check_features_are_left_alone", Greedy(), Regression()),
    ("check_answers_are_json", Undefined(), Regression()),
    ("check_answers_are_json", Exact(), Regression()),
    ("check_odd_requests_leave_no_trace", Touchy(), Regression()),
    ("check_odd_examples_teach_the_same_each_time", Moody(), Regression()),
    ("check_unseen_names_cost_little", Hoarding(), Regression()),
]


@pytest.mark.parametrize(
    ("name", "mutant", "task"), MUTANTS, ids=[f"{m[0]}:{type(m[1]).__name__}" for m in MUTANTS]
)
def test_a_check_rejects_its_mutant(name, mutant, task):
    (check,) = (check for check in yield_checks(mutant, task) if check.__name__ == name)
    with pytest.raises(AssertionError):
        check()


def test_every_check_has_a_mutant():
    assert {mutant[0] for mutant in MUTANTS} == {check.__name__ for check in CHECKS}


def test_the_model_that_the_mutants_spoil_passes_every_check():
    for check in yield_checks(Mean(), Regression()):
        check()


def test_a_model_declared_less_pure_than_it_is_is_rejected_too():
    checked = {c.__name__: c for c in yield_checks(Mean(), Regression(), Purity.ALWAYS)}
    with pytest.raises(AssertionError, match="PURE instead of ALWAYS"):
        checked["check_purity_is_as_declared"]()


def test_the_growth_for_each_unseen_name_is_measured():
    rows = checks.examples(checks.wishes_of(Mean()), checks.COUNT)
    assert checks.bytes_per_unseen_name(Mean(), Regression(), rows) == 0
    # A thousand floats of 9 bytes, and the name.
    assert checks.bytes_per_unseen_name(Hoarding(), Regression(), rows) == pytest.approx(9030, 0.02)

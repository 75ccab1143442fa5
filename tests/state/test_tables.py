"""Large tables by column: what comes back is what went, whatever stands in them."""

import pickle
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import linear_model, optim, preprocessing
from river.utils import VectorDict

from state import tables

NAMES = [f"name {number}" for number in range(20_000)]
FLOATS = {name: number / 7 for number, name in enumerate(NAMES)}
INTS = {name: number**3 for number, name in enumerate(NAMES)}


def back(value):
    return pickle.loads(tables.dumps(value))


def kinds(table):
    return [(name, type(value), repr(value)) for name, value in table.items()]


@pytest.mark.parametrize(
    "entries",
    [
        FLOATS,
        INTS,
        {**FLOATS, "a": float("nan"), "b": float("-inf"), "c": -0.0},
        {**FLOATS, "one": 1},
        {**INTS, "one": True},
        {**INTS, "large": 2**63},
        {**FLOATS, "two\nlines": 1.0},
        {**FLOATS, "": 1.0, "\ud800": 2.0, "é😀\0": 3.0},
        {**FLOATS, 5: 1.0},
        {"few": 1.0},
        {},
    ],
    ids=lambda entries: str(list(entries)[-1:]),
)
@pytest.mark.parametrize("kind", ["defaultdict", "Counter", "VectorDict"])
def test_order_types_and_bits_are_kept(entries, kind):
    if kind == "VectorDict":
        made = VectorDict(entries)
    else:
        made = Counter(entries) if kind == "Counter" else defaultdict(float, entries)
    came = back(made)
    assert type(came) is type(made)
    assert kinds(came) == kinds(made)
    if kind == "defaultdict":
        assert came["new"] == 0.0


@given(st.dictionaries(st.text(), st.floats() | st.integers()))
def test_small_tables_are_pickle_s_own(entries):
    made = defaultdict(float, entries)
    assert tables.dumps(made) == pickle.dumps(made, pickle.HIGHEST_PROTOCOL)


def test_tables_with_the_same_names_share_them():
    first, second = back([defaultdict(float, FLOATS), Counter(INTS)])
    assert all(a is b for a, b in zip(first, second, strict=True))


def test_a_model_of_many_names_goes_on_as_the_one_that_was_never_pickled():
    def model():
        scaled = preprocessing.StandardScaler()
        return scaled | linear_model.LogisticRegression(optim.Adam(), l2=0.01)

    kept, pickled = model(), model()
    for begin in range(0, 20_000, 100):
        x = {name: FLOATS[name] for name in NAMES[begin : begin + 100]}
        for each in (kept, pickled):
            each.learn_one(x, begin % 300 == 0)
    pickled = back(pickled)
    size, usual = len(tables.dumps(kept)), len(pickle.dumps(kept, pickle.HIGHEST_PROTOCOL))
    assert size < usual
    for begin in range(50, 19_000, 700):
        x = {name: FLOATS[name] for name in NAMES[begin : begin + 130]}
        assert kept.predict_proba_one(x) == pickled.predict_proba_one(x)
        for each in (kept, pickled):
            each.learn_one(x, begin % 3 == 0)

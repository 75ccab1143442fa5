import copy
import datetime
import json
import pickle
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import (
    compose,
    datasets,
    ensemble,
    imblearn,
    linear_model,
    naive_bayes,
    optim,
    preprocessing,
    tree,
)

from models import allowlist, specs
from models.specs import Limits, SpecError, build, check, seed_for, stored

LR = {"class": "river.linear_model.LogisticRegression"}
SCALER = {"class": "river.preprocessing.StandardScaler"}
HAT = {"class": "river.tree.HoeffdingAdaptiveTreeClassifier"}


def lr(**params):
    return {**LR, "params": params}


def select(*names):
    return {"class": "river.compose.Select", "args": list(names)}


def probabilities(model, rows):
    said = []
    for x, y in rows:
        said.append(model.predict_proba_one(x))
        model.learn_one(x, y)
    return said


# What is made


def test_a_spec_makes_the_model_that_one_writes_in_python():
    spec = {
        "pipeline": [
            SCALER,
            lr(
                l2=0.001,
                optimizer={
                    "class": "river.optim.Adam",
                    "params": {
                        "lr": {"class": "river.optim.schedulers.InverseScaling", "args": [0.1]}
                    },
                },
                loss={"class": "river.optim.losses.Hinge"},
            ),
        ]
    }
    written = preprocessing.StandardScaler() | linear_model.LogisticRegression(
        optimizer=optim.Adam(lr=optim.schedulers.InverseScaling(0.1)),
        l2=0.001,
        loss=optim.losses.Hinge(),
    )
    rows = list(datasets.Phishing().take(300))
    assert check(spec) == []
    assert probabilities(build(spec, "m"), rows) == probabilities(written, rows)


def test_specs_stand_inside_lists_and_unions():
    spec = {
        "pipeline": [
            {"union": [{"pipeline": [select("age_of_domain"), SCALER]}, select("long_url")]},
            {
                "class": "river.ensemble.StackingClassifier",
                "args": [[LR, {"class": "river.naive_bayes.GaussianNB"}]],
                "params": {"meta_classifier": LR},
            },
        ]
    }
    written = compose.Pipeline(
        (compose.Select("age_of_domain") | preprocessing.StandardScaler())
        + compose.Select("long_url"),
        ensemble.StackingClassifier(
            [linear_model.LogisticRegression(), naive_bayes.GaussianNB()],
            meta_classifier=linear_model.LogisticRegression(),
        ),
    )
    rows = list(datasets.Phishing().take(200))
    assert check(spec) == []
    assert probabilities(build(spec, "m"), rows) == probabilities(written, rows)


def test_toml_and_json_say_the_same():
    text = """
    spec = { pipeline = [
        { class = "river.preprocessing.StandardScaler" },
        { class = "river.linear_model.LogisticRegression", params = { l2 = 0.0 } },
    ] }
    """
    spec = tomllib.loads(text)["spec"]
    assert spec == {"pipeline": [SCALER, lr(l2=0.0)]}
    assert stored(json.loads(json.dumps(spec)), "m") == stored(spec, "m") == spec


def test_the_guide_is_right():
    guide = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", guide, re.DOTALL)
    assert check(tomllib.loads(example)["spec"]) == []
    assert f"({len(allowlist.names())} in River 0.26.1)" in guide


def test_selected_features_keep_the_order_in_which_they_are_written():
    names = [f"feature {number}" for number in range(40)]
    model = build({"pipeline": [select(*names), LR]}, "m")
    x = dict.fromkeys(sorted(names), 1.0)
    assert list(model["Select"].transform_one(x)) == names
    assert list(pickle.loads(pickle.dumps(model))["Select"].transform_one(x)) == names


def test_keys_that_are_labels_become_labels():
    def sampler(**desired):
        params = {"classifier": LR, "desired_dist": desired, "seed": 1}
        return {"class": "river.imblearn.RandomUnderSampler", "params": params}

    spec = sampler(true=0.5, false=0.5)
    written = imblearn.RandomUnderSampler(
        linear_model.LogisticRegression(), desired_dist={True: 0.5, False: 0.5}, seed=1
    )
    rows = list(datasets.Phishing().take(200))
    assert check(spec) == []
    assert probabilities(build(spec, "m"), rows) == probabilities(written, rows)
    by_position = {
        "class": "river.imblearn.RandomUnderSampler",
        "args": [LR, {"3": 0.25, "0.5": 0.25, "ok": 0.25, "null": 0.25}],
    }
    assert list(build(by_position, "m").desired_dist) == [3, 0.5, "ok", "null"]
    assert check(sampler(fraud=0.5, ok=0.5)) == []


def test_an_object_without_a_class_name_is_plain_data():
    spec = {
        "pipeline": [{"class": "river.compose.Renamer", "args": [{"a": "b", "class": "c"}]}, LR]
    }
    assert check(spec) == [
        "pipeline[0].args[0].a: unknown key; nothing comes near it",
        "pipeline[0].args[0].class: unknown class 'c'; nothing comes near it",
    ]
    plain = {"class": "river.anomaly.HalfSpaceTrees", "params": {"limits": {"a": [0, 5]}}}
    assert check(plain) == []
    assert build(plain, "m").limits["a"] == [0, 5]


# Seeds


def test_a_seed_is_the_first_31_bits_of_a_digest_of_name_and_place():
    # printf 'riverrun-seed-v1\0fraud\0pipeline[1]' | sha256sum begins 8689ad69
    assert seed_for("fraud", "pipeline[1]") == 0x8689AD69 >> 1


def test_every_random_class_on_any_level_gets_a_seed_of_its_own():
    spec = {
        "pipeline": [
            {"class": "river.preprocessing.GaussianRandomProjector", "args": [5]},
            {
                "class": "river.ensemble.SRPClassifier",
                "params": {"model": HAT, "drift_detector": {"class": "river.drift.KSWIN"}},
            },
        ]
    }
    result = stored(spec, "fraud")
    projector, srp = result["pipeline"]
    assert projector["params"]["seed"] == seed_for("fraud", "pipeline[0]")
    assert srp["params"]["seed"] == seed_for("fraud", "pipeline[1]")
    inner = srp["params"]
    assert inner["model"]["params"]["seed"] == seed_for("fraud", "pipeline[1].params.model")
    detector = inner["drift_detector"]["params"]["seed"]
    assert detector == seed_for("fraud", "pipeline[1].params.drift_detector")
    assert len({projector["params"]["seed"], srp["params"]["seed"], detector}) == 3
    assert stored(spec, "other") != result


def test_a_seed_that_is_given_stays_and_null_is_none():
    assert stored({**HAT, "params": {"seed": 7}}, "m") == {**HAT, "params": {"seed": 7}}
    assert stored({**HAT, "params": {"seed": None}}, "m")["params"]["seed"] == seed_for("m", "")
    by_position = {"class": "river.preprocessing.GaussianRandomProjector", "args": [5, None]}
    assert stored(by_position, "m")["args"] == [5, seed_for("m", "")]
    by_position["args"][1] = 0
    assert stored(by_position, "m") == by_position


def test_a_class_without_randomness_gets_no_seed():
    assert stored({**LR, "params": {}, "args": []}, "m") == LR


def test_storing_is_a_copy_and_changes_nothing_the_second_time():
    spec = {"pipeline": [select("a", "b"), {**HAT, "params": {"grace_period": 50}}]}
    before = copy.deepcopy(spec)
    result = stored(spec, "m")
    assert spec == before
    assert stored(result, "m") == stored(result, "another name") == result
    result["pipeline"][0]["args"].append("c")
    assert spec == before


def test_two_builds_of_one_spec_say_the_same():
    spec = {"class": "river.forest.ARFClassifier", "params": {"n_models": 3}}
    rows = list(datasets.Phishing().take(150))
    first, second = build(spec, "m"), build(stored(spec, "m"), "m")
    assert probabilities(first, rows) == probabilities(second, rows)
    assert isinstance(build({**HAT, "params": {"seed": 3}}, "m"), tree.HoeffdingTreeClassifier)


# What is wrong


@pytest.mark.parametrize(
    ("spec", "problems"),
    [
        (
            {"pipeline": [SCALER, lr(l2=0.1, l3=0.1)]},
            [
                (
                    "pipeline[1].params.l3: unknown parameter of "
                    "river.linear_model.LogisticRegression; the nearest is 'l2'"
                )
            ],
        ),
        (
            lr(optimizer={"class": "river.optim.Adamm"}),
            [
                (
                    "params.optimizer.class: unknown class 'river.optim.Adamm'; "
                    "the nearest is 'river.optim.Adam'"
                )
            ],
        ),
        (
            {"union": [SCALER, {"class": "os.system", "args": ["true"]}]},
            ["union[1].class: unknown class 'os.system'; nothing comes near it"],
        ),
        (
            {**LR, "parms": {}},
            ["parms: unknown key; the nearest is 'params'"],
        ),
        (
            {"class": "river.multiclass.OneVsRestClassifier"},
            [
                (
                    "spec: river.multiclass.OneVsRestClassifier: "
                    "missing a required argument: 'classifier'"
                )
            ],
        ),
        (
            {"class": "river.optim.SGD", "args": [0.1, 0.2]},
            ["spec: river.optim.SGD: too many positional arguments"],
        ),
        (
            {
                "class": "river.multiclass.OneVsRestClassifier",
                "args": [LR],
                "params": {"classifier": LR},
            },
            [
                (
                    "spec: river.multiclass.OneVsRestClassifier: "
                    "multiple values for argument 'classifier'"
                )
            ],
        ),
        (
            {"class": "river.ensemble.BaggingClassifier", "params": {"model": LR, "n_models": 1}},
            [
                (
                    "spec: river.ensemble.BaggingClassifier: ValueError: "
                    "At least 2 models are expected, only 1 were passed"
                )
            ],
        ),
        (
            {"class": "river.feature_extraction.BagOfWords", "params": {"tokenizer": "str.split"}},
            ["params.tokenizer: takes a Python function or type, which a spec cannot hold"],
        ),
        (
            {"class": "river.compose.FuncTransformer", "args": ["print"]},
            [
                (
                    "class: river.compose.FuncTransformer may not be named in a spec: "
                    "its 'func' is a Python function"
                )
            ],
        ),
        ({"class": "river.optim.SGD"}, ["spec: SGD is no model, only a part of one"]),
        (
            {"pipeline": [LR, SCALER, {"class": "river.stats.Mean"}]},
            [
                "pipeline[0]: LogisticRegression transforms no features",
                "pipeline[2]: Mean is no model, only a part of one",
            ],
        ),
        ({"union": [SCALER, LR]}, ["union[1]: LogisticRegression transforms no features"]),
        ({"pipeline": []}, ["pipeline: a list of at least one spec"]),
        (
            {"pipeline": [LR], "union": [SCALER]},
            ["spec: pipeline stands alone, not with union"],
        ),
        (
            {**LR, "params": [], "args": {}},
            [
                "params: an object of parameters by name",
                "args: a list of arguments by position",
            ],
        ),
        (
            lr(l2=float("nan"), l1=datetime.date(2024, 1, 1)),
            [
                "params.l2: nan is not JSON",
                (
                    "params.l1: a date is not JSON: "
                    "numbers, strings, booleans, null, lists and objects are"
                ),
            ],
        ),
        (
            {"class": "river.compose.Renamer", "args": [{1: "a"}]},
            ["args[0]: the key 1 is not a string"],
        ),
        *(
            (nothing, ["spec: a spec has the key class (a string), pipeline or union (lists)"])
            for nothing in (None, [], {}, "river.optim.SGD", 3, {"class": 3}, {"pipeline": "x"})
        ),
    ],
)
def test_each_mistake_is_a_sentence_with_its_place(spec, problems):
    assert check(spec) == problems
    with pytest.raises(SpecError) as caught:
        build(spec, "m")
    assert caught.value.problems == problems


def test_all_mistakes_are_found_at_once():
    spec = {"pipeline": [{"class": "river.preprocessing.Scaler"}, lr(l3=1, l4=2), {"clas": "x"}]}
    assert [problem.partition(":")[0] for problem in check(spec)] == [
        "pipeline[0].class",
        "pipeline[1].params.l3",
        "pipeline[1].params.l4",
        "pipeline[2]",
    ]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (lr(optimizer=0.1), "AttributeError: 'float' object has no attribute 'look_ahead'"),
        (lr(l2="0.1"), "TypeError"),
        (lr(optimizer={"class": "river.optim.Adam", "params": {"lr": "0.1"}}), "AttributeError"),
        ({**HAT, "params": {"grace_period": "100"}}, "TypeError"),
        (
            {
                "class": "river.neighbors.KNNClassifier",
                "params": {"engine": {"class": "river.stats.Mean"}},
            },
            "AttributeError",
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_found_by_trying(spec, words):
    (problem,) = check({"pipeline": [SCALER, spec]})
    assert words in problem
    assert problem.startswith(("spec: ", "pipeline[1]: "))
    assert "\n" not in problem


@pytest.mark.filterwarnings("ignore:Passing an instance:DeprecationWarning")  # a spec has no types
def test_a_model_that_names_its_features_passes_the_trial():
    mean = {"class": "river.utils.Rolling", "args": [{"class": "river.stats.Mean"}, 10]}
    spec = {
        "pipeline": [
            {
                "union": [
                    {"class": "river.feature_extraction.Agg", "args": ["amount", ["card"], mean]},
                    {"class": "river.feature_extraction.TFIDF", "params": {"on": "purpose"}},
                ]
            },
            LR,
        ]
    }
    assert check(spec) == []


# Limits


def nested(levels):
    value = 1.0
    for _ in range(levels):
        value = [value]
    return value


def test_depth_is_limited():
    def spec(levels):
        return {"class": "river.compose.Select", "args": [nested(levels)]}

    # The spec itself is the first level.
    assert not [p for p in check(spec(15)) if "nested" in p]
    (problem,) = check(spec(16))
    assert problem.endswith("nested deeper than 16")
    assert check({"pipeline": [SCALER, LR]}, Limits(depth=1)) == [
        "pipeline[0]: nested deeper than 1"
    ]


def test_a_list_that_contains_itself_is_refused():
    endless = []
    endless.append(endless)
    (problem,) = check({"class": "river.compose.Select", "args": [endless]})
    assert problem.endswith("nested deeper than 16")


def test_the_number_of_nodes_is_limited():
    scalers = {"pipeline": [SCALER] * 998 + [LR]}
    assert check(scalers) == []
    scalers["pipeline"].append(LR)
    assert check(scalers) == [
        "pipeline[999]: more than 1000 specs, objects and lists",
    ]
    shared = [1]
    for _ in range(14):
        shared = [shared, shared]
    (problem,) = check({"class": "river.compose.Select", "args": [shared]})
    assert problem.endswith("more than 1000 specs, objects and lists")


def test_the_size_as_json_is_limited():
    spec = {"class": "river.compose.Prefixer", "args": ["x" * 200]}
    size = len(json.dumps(spec, separators=(",", ":")))
    assert check(spec, Limits(size=size)) == []
    assert check(spec, Limits(size=size - 1)) == [f"spec: {size} bytes as JSON, at most {size - 1}"]
    assert check({"class": "river.compose.Prefixer", "args": ["x" * 100_000]})


def test_text_that_is_not_unicode_is_refused():
    (problem,) = check({"class": "river.compose.Prefixer", "args": ["\ud800"]})
    assert problem.startswith("spec: cannot be written as JSON")
    problems = check({"class": "\ud800", "params": {"\ud800": 1}})
    assert all(problem.encode() for problem in problems)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.sampled_from(["river.optim.SGD", "river.linear_model.PAClassifier", "river.stats.Mean"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["class", "params", "args", "pipeline", "union", "C", "lr"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(anything)
def test_whatever_is_read_is_judged_and_never_raises(value):
    problems = check(value)
    assert all(isinstance(problem, str) and "\n" not in problem for problem in problems)
    if not problems:
        assert stored(stored(value, "m"), "m") == stored(value, "m")
        build(value, "m")


def test_only_classes_of_the_allowlist_are_ever_called(monkeypatch):
    called = []
    original = specs._Maker._call

    def noting(self, cls, args, params, name, path):
        called.append(name)
        return original(self, cls, args, params, name, path)

    monkeypatch.setattr(specs._Maker, "_call", noting)
    spec = {"pipeline": [SCALER, lr(optimizer={"class": "subprocess.Popen", "args": [["true"]]})]}
    assert check(spec)
    assert called == []
    build({"pipeline": [SCALER, LR]}, "m")
    assert called == [SCALER["class"], LR["class"], "pipeline"]


small = st.none() | st.booleans() | st.integers(-2, 20) | st.floats(-2, 20) | st.text(max_size=3)


@st.composite
def any_class(draw):
    """A class of the allowlist with some of its parameters, of whatever type."""
    allowed = allowlist.find(draw(st.sampled_from(allowlist.names())))
    names = [name for name, p in allowed.parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    values = small | st.lists(small, max_size=2) | st.sampled_from([LR, SCALER, HAT])
    params = draw(st.dictionaries(st.sampled_from(names), values, max_size=3)) if names else {}
    return {"class": allowed.name, "params": params}


@pytest.mark.filterwarnings("ignore:Passing an instance:DeprecationWarning")
@settings(max_examples=300, deadline=None)
@given(any_class())
def test_no_constructor_and_no_trial_can_raise(spec):
    problems = check({"pipeline": [SCALER, spec]})
    assert all(isinstance(problem, str) and "\n" not in problem for problem in problems)

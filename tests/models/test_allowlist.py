import ast
import importlib
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from river import base, feature_extraction

from models import allowlist


@pytest.mark.parametrize(
    "name",
    [
        "river.anomaly.HalfSpaceTrees",
        "river.bandit.EpsilonGreedy",
        "river.compose.Select",
        "river.compose.TransformerProduct",
        "river.drift.ADWIN",
        "river.drift.binary.DDM",
        "river.ensemble.SRPClassifier",
        "river.facto.FMClassifier",
        "river.feature_extraction.Agg",
        "river.forest.ARFClassifier",
        "river.imblearn.RandomUnderSampler",
        "river.linear_model.LogisticRegression",
        "river.metrics.ROCAUC",
        "river.multiclass.OneVsRestClassifier",
        "river.naive_bayes.GaussianNB",
        "river.neighbors.SWINN",
        "river.optim.Adam",
        "river.optim.initializers.Normal",
        "river.optim.losses.Huber",
        "river.optim.schedulers.InverseScaling",
        "river.preprocessing.StandardScaler",
        "river.proba.Beta",
        "river.rules.AMRules",
        "river.stats.EWMean",
        "river.stats.Link",
        "river.tree.HoeffdingAdaptiveTreeClassifier",
        "river.tree.splitter.GaussianSplitter",
        "river.utils.Rolling",
    ],
)
def test_models_and_their_parts_may_be_named(name):
    module, _, last = name.rpartition(".")
    assert allowlist.find(name).cls is getattr(importlib.import_module(module), last)
    assert name in allowlist.names()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("river.compose.FuncTransformer", "'func' is a Python function"),
        ("river.compose.TargetTransformRegressor", "'func' is a Python function"),
        ("river.compose.SelectType", "it takes Python types"),
        ("river.compose.Pipeline", "write {pipeline = [...]}"),
        ("river.compose.TransformerUnion", "write {union = [...]}"),
        ("river.compat.SKL2RiverClassifier", "river.compat holds no parts of models"),
        ("river.datasets.Phishing", "river.datasets holds no parts of models"),
        ("river.stream.Cache", "river.stream holds no parts of models"),
        ("river.utils.TimeRolling", "river.utils holds no parts of models"),
        ("river.base.Estimator", "river.base holds no parts of models"),
        ("river.sketch.Counter", "neither a model nor a part of one"),
        ("river.optim.Optimizer", "neither a model nor a part of one"),
        ("river.feature_extraction.RandomTreesEmbedding", "does not survive being saved"),
    ],
)
def test_what_may_not_be_named_says_why(name, reason):
    with pytest.raises(LookupError, match="may not be named in a spec") as caught:
        allowlist.find(name)
    assert reason in str(caught.value)
    assert name not in allowlist.names()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("river.linear_model.LogisticRegresion", "river.linear_model.LogisticRegression"),
        ("linear_model.PAClassifier", "river.linear_model.PAClassifier"),
        ("ARFClassifier", "river.forest.ARFClassifier"),
        ("river.naive_bayes.HoeffdingTreeClassifier", "river.tree.HoeffdingTreeClassifier"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name, nearest):
    with pytest.raises(LookupError, match="unknown class") as caught:
        allowlist.find(name)
    assert str(caught.value).endswith(f"the nearest is {nearest!r}")


def test_the_path_of_definition_is_answered_with_the_public_one():
    with pytest.raises(
        LookupError, match="public name only: river.linear_model.LogisticRegression"
    ):
        allowlist.find("river.linear_model.log_reg.LogisticRegression")


def test_nothing_is_imported_because_a_name_mentions_it():
    for name in ("antigravity.fly", "river.checks.check_estimator", "this"):
        with pytest.raises(LookupError):
            allowlist.find(name)
    assert "antigravity" not in sys.modules
    assert "this" not in sys.modules


def public_classes():
    """Public classes of River as its own modules list them, found without our walk."""
    pending = ["river." + info for info in ("anomaly", "drift", "drift.binary", "metrics", "optim")]
    pending += [
        "river." + info for info in ("optim.losses", "optim.initializers", "stats", "proba")
    ]
    pending += ["river." + info for info in ("optim.schedulers", "tree.splitter", "bandit")]
    for name in pending:
        module = importlib.import_module(name)
        for attribute in module.__all__:
            value = getattr(module, attribute, None)
            if inspect.isclass(value) and not inspect.isabstract(value):
                yield f"{name}.{attribute}", value


@pytest.mark.parametrize(
    "kind",
    [
        "river.base.DriftDetector",
        "river.base.BinaryDriftDetector",
        "river.bandit.base.Policy",
        "river.metrics.base.MultiClassMetric",
        "river.metrics.base.BinaryMetric",
        "river.metrics.base.RegressionMetric",
        "river.optim.base.Initializer",
        "river.optim.losses.BinaryLoss",
        "river.optim.losses.MultiClassLoss",
        "river.optim.losses.RegressionLoss",
        "river.optim.base.Scheduler",
        "river.optim.base.Optimizer",
        "river.stats.base.Univariate",
        "river.stats.base.Bivariate",
        "river.tree.splitter.Splitter",
        "river.tree.splitter.Quantizer",
        "river.proba.base.Distribution",
    ],
)
def test_every_class_that_a_constructor_is_annotated_with_may_be_named(kind):
    module, _, last = kind.rpartition(".")
    family = getattr(importlib.import_module(module), last)
    found = [
        name for name, cls in public_classes() if issubclass(cls, family) and cls is not family
    ]
    assert found, "the family has members"
    assert set(found) <= set(allowlist.names())


def test_every_allowed_class_is_concrete_and_public():
    for name in allowlist.names():
        cls = allowlist.find(name).cls
        assert not inspect.isabstract(cls), name
        assert not any(part.startswith("_") for part in name.split(".")), name


def test_no_module_that_defines_an_allowed_class_evaluates_code_or_opens_anything():
    modules = {sys.modules[allowlist.find(name).cls.__module__] for name in allowlist.names()}
    dangerous = {"eval", "exec", "compile", "open", "__import__", "input", "breakpoint"}
    reaching = {"subprocess", "socket", "urllib", "shutil", "pickle", "importlib", "ctypes", "os"}
    for module in modules:
        source = module.__file__
        if source is None or not source.endswith(".py"):
            continue  # River's Rust half
        for node in ast.walk(ast.parse(Path(source).read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in dangerous, (source, node.lineno)
            if isinstance(node, ast.Import):
                assert not reaching & {alias.name.split(".")[0] for alias in node.names}, source
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                assert str(node.module).split(".")[0] not in reaching, source


def test_no_allowed_class_needs_a_python_function():
    for name in allowlist.names():
        allowed = allowlist.find(name)
        for parameter in allowed.callables:
            default = allowed.parameters[parameter].default
            assert default is not inspect.Parameter.empty, (name, parameter)
    bag = allowlist.find("river.feature_extraction.BagOfWords")
    assert bag.callables == {"preprocessor", "tokenizer"}
    assert allowlist.find("river.preprocessing.Binarizer").callables == {"dtype"}


def test_the_parameters_with_labels_as_keys_exist():
    for name, parameter in allowlist.LABEL_KEYED:
        assert parameter in allowlist.find(name).parameters


def test_random_trees_embedding_is_refused_because_a_restored_one_raises():
    embedding = feature_extraction.RandomTreesEmbedding(n_trees=2, height=2, seed=1)
    embedding.transform_one({"a": 0.5})
    restored = pickle.loads(pickle.dumps(embedding))
    with pytest.raises(KeyError):
        restored.transform_one({"a": 0.5})


def test_every_model_has_a_base_that_a_task_can_tell():
    models = [allowlist.find(name).cls for name in allowlist.names()]
    assert sum(issubclass(cls, base.Classifier) for cls in models) > 40
    assert sum(issubclass(cls, base.Regressor) for cls in models) > 25


def test_importing_the_package_imports_only_rivers_base():
    code = (
        "import sys, models.checks, models.specs;"
        "print([m for m in sys.modules if m.startswith('river.')"
        " and m.split('.')[1] not in ('base', '__version__')])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"

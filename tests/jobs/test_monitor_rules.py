"""`[[monitor]]` in the configuration: what it means, and one line for each mistake."""

import tomllib
from pathlib import Path

import pytest

from jobs.config import read_config
from operators.monitor_settings import DriftSettings, MonitorSettings, QualitySettings
from tests.jobs.test_config import DETECTOR, REGRESSOR, SMALLEST, config_of, problems_of

METRICS = """
[metrics]
connector = "file"
path = "out/metrics"
"""
NAMED = '[[monitor]]\nname = "q"\n'
# What a monitor stands in, which has no mistake.
BASE = SMALLEST + METRICS


def with_model(task: str, spec: str, lines: str = "") -> str:
    begin = SMALLEST[: SMALLEST.index("[[models]]")]
    model = f'[[models]]\nname = "m"\ntask = "{task}"\nspec = {spec}\n{lines}\n'
    return begin + model + METRICS


REGRESSION = with_model("regression", REGRESSOR)
ANOMALY = with_model("anomaly", DETECTOR)


def test_the_smallest_monitor_gets_every_default() -> None:
    [monitor] = config_of(BASE + NAMED).monitors
    assert monitor == MonitorSettings(
        name="q",
        models=(),
        metrics=(),
        positive=None,
        window=1000,
        event_window_ms=3_600_000,
        every=1000,
        threshold=0.5,
        confidence=0.95,
        drift=(),
        data_quality=None,
    )
    assert monitor.watches("m")
    assert not monitor.looks_at_features


FULL = """
[[monitor]]
name = "whole-1.a_b"
models = ["m"]
metrics = ["Accuracy", { class = "river.metrics.FBeta", params = { beta = 2 } }]
positive = "fraud"
window = 50
event_window = "2h"
every = 10
threshold = 0.9
confidence = 0.9
drift = [
    { on = "error", detector = "DDM", quiet = 5 },
    { on = "feature", feature = "amount", detector = "ADWIN", params = { delta = 0.1 } },
]
data_quality = { reference = 10, share = 0.5 }
[[monitor]]
name = "other"
models = []
"""


def test_every_key_means_what_it_says() -> None:
    config = config_of(BASE + FULL)
    whole, other = config.monitors
    assert whole == MonitorSettings(
        name="whole-1.a_b",
        models=("m",),
        metrics=("Accuracy", {"class": "river.metrics.FBeta", "params": {"beta": 2}}),
        positive="fraud",
        window=50,
        event_window_ms=7_200_000,
        every=10,
        threshold=0.9,
        confidence=0.9,
        drift=(
            DriftSettings("error", "DDM", quiet=5),
            DriftSettings("feature", "ADWIN", "amount", {"delta": 0.1}),
        ),
        data_quality=QualitySettings(10, 0.5),
    )
    assert whole.looks_at_features
    assert not whole.watches("x")
    assert other.watches("x")


def test_a_monitor_that_is_shown_can_be_read_again() -> None:
    config = config_of(BASE + FULL)
    again = read_config(tomllib.loads(config.to_public_toml()), Path("/base"), {})
    assert again == config


@pytest.mark.parametrize(
    ("base", "lines", "said"),
    [
        (
            BASE,
            'metrics = ["Acuracy"]',
            (
                "metrics.0 is no metric of River: class: unknown class 'river.metrics.Acuracy'; "
                "the nearest is 'river.metrics.Accuracy'"
            ),
        ),
        (
            BASE,
            'metrics = ["Accuracy", "MAE"]',
            'metrics.1 does not fit: MAE measures regression, and a model has task = "classification"',
        ),
        (
            REGRESSION,
            'metrics = ["F1"]',
            'metrics.0 does not fit: F1 measures classification, and a model has task = "regression"',
        ),
        (
            ANOMALY,
            'metrics = ["ROCAUC", "Accuracy"]',
            (
                "metrics.1 does not fit: Accuracy takes predicted labels, and an anomaly detector gives "
                'scores, and a model has task = "anomaly"'
            ),
        ),
        (
            BASE,
            'metrics = ["ClassificationReport"]',
            (
                "metrics.0 does not fit: ClassificationReport is no number, and a model has "
                'task = "classification"'
            ),
        ),
        (
            BASE,
            'metrics = ["Accuracy", { class = "river.metrics.Accuracy" }]',
            'metrics.1 is "Accuracy" again; another is expected',
        ),
        (
            BASE,
            'metrics = ["FBeta"]',
            (
                "metrics.0 is no metric of River: spec: river.metrics.FBeta: missing a required "
                "argument: 'beta'"
            ),
        ),
        (
            BASE,
            f"metrics = [{REGRESSOR}]",
            "metrics.0 is no metric of River: LinearRegression is no metric",
        ),
        (BASE, 'models = ["m", "x"]', 'models has "x"; there are "m"'),
        (
            BASE,
            'event_window = "1s"',
            (
                'event_window is "1s"; at least "345600ms" is expected, as no more than 2000 are kept '
                "within [join] retention"
            ),
        ),
        (
            with_model(
                "classification", "{ class = 'river.naive_bayes.GaussianNB' }", 'labels="int"'
            ),
            'positive = "fraud"',
            'positive is "fraud"; "m" has labels = "int"',
        ),
        (
            BASE,
            'drift = [{ on = "feature", detector = "ADWIN" }]',
            'drift.0.feature is missing; on = "feature" needs the name of one',
        ),
        (
            BASE,
            'drift = [{ on = "error", detector = "ADWIN", feature = "a" }]',
            'drift.0.feature goes with on = "feature" only',
        ),
        (
            BASE + '[features.schema]\nunknown = "drop"\na = "number"\n',
            'drift = [{ on = "feature", detector = "ADWIN", feature = "b" }]',
            'drift.0.feature is "b", which [features.schema] lets through nowhere',
        ),
        (
            BASE,
            'drift = [{ on = "error", detector = "ADWIN", params = { dleta = 1 } }]',
            (
                "drift.0.params are refused: params.dleta: unknown parameter of river.drift.ADWIN; the "
                "nearest is 'delta'"
            ),
        ),
        (
            BASE,
            'drift = [{ on = "error", detector = "ADWIN" }, { on = "prediction", detector = "DDM" }]',
            (
                'drift.1.detector is "DDM", which takes right and wrong only; one of ADWIN, KSWIN, '
                "PageHinkley is expected"
            ),
        ),
        (
            REGRESSION,
            'drift = [{ on = "error", detector = "HDDMA" }]',
            (
                'drift.0.detector is "HDDMA", which takes right and wrong only; one of ADWIN, KSWIN, '
                "PageHinkley is expected"
            ),
        ),
        (
            ANOMALY,
            'drift = [{ on = "error", detector = "ADWIN" }]',
            'drift.0.on is "error"; "m" gives scores, which no label proves wrong',
        ),
        (
            BASE,
            'drift = [{ on = "error", detector = "Adwin" }]',
            (
                'drift.0.detector is "Adwin"; "ADWIN", "DDM", "EDDM", "FHDDM", "HDDMA", "HDDMW", '
                '"KSWIN" or "PageHinkley" is expected'
            ),
        ),
        (BASE, "window = 0", "window is 0; a whole number of at least 1 is expected"),
        (BASE, "confidence = 1", "confidence is 1; a number between 0 and 1 is expected"),
        (
            BASE,
            "data_quality = { share = 1 }",
            "data_quality.share is 1; a number from 0 below 1 is expected",
        ),
        (BASE, "drift = [3]", "drift.0 is 3; a table is expected"),
    ],
)
def test_a_mistake_is_one_line(base: str, lines: str, said: str) -> None:
    assert problems_of(base + NAMED + lines) == [f"[[monitor]] 1 {said}"]


def test_names_are_for_one_monitor_each() -> None:
    said = '[[monitor]] 2 name is "q", as is that of [[monitor]] 1; another is expected'
    assert problems_of(BASE + NAMED + NAMED) == [said]
    said = '[[monitor]] 1 name is "a b"; a name of letters, digits and _ . - is expected'
    assert problems_of(BASE + '[[monitor]]\nname = "a b"') == [said]


def test_a_monitor_writes_somewhere_and_only_monitors_write_metrics() -> None:
    said = "[[monitor]] 1 writes nowhere; [metrics], [alerts] or both are expected"
    assert problems_of(SMALLEST + NAMED) == [said]
    config_of(SMALLEST + METRICS.replace("metrics", "alerts") + NAMED)
    said = "[metrics] is written by monitors, and there is no [[monitor]]"
    assert problems_of(BASE) == [said]


def test_one_table_is_no_array_of_them() -> None:
    said = "[[monitor]] is a table; an array of tables is expected, each under [[monitor]]"
    assert problems_of(BASE + '[monitor]\nname = "q"') == [said]


def test_a_model_that_is_deployed_later_may_be_named() -> None:
    control = '\n[control]\nconnector = "file"\npath = "control.jsonl"\n'
    [monitor] = config_of(BASE + control + NAMED + 'models = ["later"]').monitors
    assert monitor.models == ("later",)


def test_metrics_for_one_model_need_not_fit_another() -> None:
    other = f'[[models]]\nname = "r"\nrole = "shadow"\ntask = "regression"\nspec = {REGRESSOR}\n'
    config_of(BASE + other + NAMED + 'metrics = ["MAE"]\nmodels = ["r"]')

"""Where real Flink and a real Prometheus show them is tested in tests/prometheus/test_metrics.py."""

from events.messages import Delays, Metrics, Versus
from operators.monitor_gauges import numbers_of

ABOUT = (("monitor", "q"), ("model", "m"), ("role", "challenger"))
WINDOW = (*ABOUT, ("scope", "window"))
ALL = (*ABOUT, ("scope", "all"))


def test_a_windows_numbers_are_its_metrics_and_how_many_they_are_of():
    metrics = {"Accuracy": 0.8125, "R2": -1.5, "F1": None, "ConfusionMatrix": {"true": {"true": 3}}}
    record = Metrics("q", "m", "challenger", "window", "m@1-aa", "t", 5, 16, metrics)
    assert numbers_of(record) == {
        (WINDOW, "evaluated"): 16,
        ((*WINDOW, ("metric", "Accuracy")), "millionths"): 812_500,
        ((*WINDOW, ("metric", "R2")), "millionths"): -1_500_000,
    }


def test_what_is_known_of_all_evaluations_has_counts_shares_delays_and_the_comparison():
    record = Metrics(
        "q", "m", "challenger", "all", "m@1-aa", "t", 5, 16, {},
        predicted=20, labelled=15, assumed=1, late=2, corrected=3, leaked=4,
        unlabelled=0.25, rate=None,
        delay_ms=Delays(10.4, 9.6, None, None, 30.0),
        versus=Versus("c", 12, 5, 4, -0.125, None, 0.5, "open"),
    )  # fmt: skip
    found = {name: value for (_, name), value in numbers_of(record).items()}
    assert found == {
        "evaluated": 16,
        "predicted": 20,
        "labelled": 15,
        "assumed": 1,
        "late": 2,
        "corrected": 3,
        "leaked": 4,
        "unlabelled_millionths": 250_000,
        "label_delay_ms_mean": 10,
        "label_delay_ms_p50": 10,
        "label_delay_ms_max": 30,
        "versus_n": 12,
        "versus_difference_millionths": -125_000,
        "versus_high_millionths": 500_000,
    }
    assert {labels for labels, name in numbers_of(record) if name != "evaluated"} == {ABOUT}

"""Where real Flink shows them is tested in tests/cluster/test_status.py, in both modes."""

import pytest
from pyflink.datastream import TimeDomain

from events.reasons import Reason
from operators.gauges import (
    BEFORE_MODELS,
    BY_MODELS,
    DELAY_MS,
    Gauges,
    add_reasons,
    dead_letters,
    in_ms,
    in_us,
)
from operators.recent import Recent


class Group:
    """Stands for a metrics group: keeps what it was given, by name and labels."""

    def __init__(self, parent=None, labels=()):
        self.gauges = parent.gauges if parent else {}
        self.numbers = parent.numbers if parent else {}
        self._labels = labels

    def add_group(self, name, value):
        return Group(self, (*self._labels, (name, value)))

    def gauge(self, name, function):
        self.gauges[self._named(name)] = function

    def distribution(self, name):
        number = self.numbers[self._named(name)] = Number()
        return number

    def _named(self, name):
        return (name, *self._labels) if self._labels else name


class Number:
    def __init__(self):
        self.given = []

    def update(self, number):
        self.given.append(number)


class ProcessContext:
    def __init__(self, group):
        self._group = group

    def get_metrics_group(self):
        return self._group


class ThreadContext(ProcessContext):
    def get_keyed_state_backend(self):
        raise AssertionError("only its presence counts")


class Timers:
    """Stands for the context of a record or timer, and its timer service."""

    def __init__(self, now=1000, domain=TimeDomain.EVENT_TIME):
        self._now, self._domain = now, domain
        self.registered = []

    def timer_service(self):
        return self

    def current_processing_time(self):
        return self._now

    def register_processing_time_timer(self, at):
        self.registered.append(at)

    def time_domain(self):
        return self._domain


def test_in_thread_mode_flink_has_no_function_to_call_and_is_given_what_changed():
    values = {"records": 0, "pending": 7}
    group = Group()
    gauges = Gauges(ThreadContext(group), {name: lambda n=name: values[n] for name in values})
    assert group.gauges == {}
    assert {name: number.given for name, number in group.numbers.items()} == {
        "records": [0],
        "pending": [7],
    }

    record = Timers()
    gauges.changing(record)
    values["records"] = 1
    gauges.changing(record)
    values["records"] = 2
    assert record.registered == [1000 + DELAY_MS]
    assert group.numbers["records"].given == [0]

    assert not gauges.woken(Timers(domain=TimeDomain.EVENT_TIME))
    assert gauges.woken(Timers(domain=TimeDomain.PROCESSING_TIME))
    assert group.numbers["records"].given == [0, 2]
    assert group.numbers["pending"].given == [7]

    later = Timers(now=5000)
    gauges.changing(later)
    assert later.registered == [5000 + DELAY_MS]


def test_a_timer_of_the_run_before_is_known_for_what_it_is():
    group = Group()
    gauges = Gauges(ThreadContext(group), {"records": lambda: 0})
    assert gauges.woken(Timers(domain=TimeDomain.PROCESSING_TIME))


def test_in_process_mode_the_worker_asks_the_functions_itself():
    group = Group()
    gauges = Gauges(ProcessContext(group), {"records": lambda: 5})
    assert group.numbers == {}
    assert group.gauges["records"]() == 5
    record = Timers()
    gauges.changing(record)
    assert record.registered == []


def test_percentiles_of_recent_values_are_shown_under_three_names():
    group, recent = Group(), Recent()
    gauges = Gauges(ThreadContext(group), {}, {"took_us": in_us(recent), "took_ms": in_ms(recent)})
    assert [number.given for number in group.numbers.values()] == [[0]] * 6
    for us in range(1, 101):
        recent.add(us * 1_000_000)
    gauges.show()
    assert {name: number.given[-1] for name, number in group.numbers.items()} == {
        "took_us_p50": 50_000,
        "took_us_p99": 99_000,
        "took_us_max": 100_000,
        "took_ms_p50": 50,
        "took_ms_p99": 99,
        "took_ms_max": 100,
    }
    gauges.show()
    assert group.numbers["took_us_max"].given == [0, 100_000]

    asked = Group()
    Gauges(ProcessContext(asked), {}, {"took_us": in_us(recent)})
    assert {name: function() for name, function in asked.gauges.items()} == {
        "took_us_p50": 50_000,
        "took_us_p99": 99_000,
        "took_us_max": 100_000,
    }


@pytest.mark.parametrize(
    ("context", "shown"), [(ThreadContext, "numbers"), (ProcessContext, "gauges")]
)
def test_what_appears_later_is_added_before_numbers_are_shown(context, shown):
    group, models = Group(), []

    def add_models():
        while models:
            gauges.add({"model": models.pop()}, {"learned": lambda: 7})

    gauges = Gauges(context(group), {}, before=add_models)
    models.append("m")
    record = Timers()
    gauges.changing(record)
    gauges.changing(record)
    assert record.registered == [1000 + DELAY_MS]
    assert getattr(group, shown) == {}
    assert gauges.woken(Timers(domain=TimeDomain.PROCESSING_TIME))
    [(name, number)] = getattr(group, shown).items()
    assert name == ("learned", ("model", "m"))
    assert (number.given if shown == "numbers" else [number()]) == [7]


def test_dead_letters_are_counted_together_and_by_reason_in_name_and_label():
    counts = dict.fromkeys(Reason, 0)
    group = Group()
    gauges = Gauges(ThreadContext(group), dead_letters(counts))
    add_reasons(gauges, counts, BEFORE_MODELS)
    counts[Reason.NOT_JSON] += 2
    counts[Reason.LATE_LABEL] += 1
    gauges.show()
    now = {name: number.given[-1] for name, number in group.numbers.items() if number.given[-1]}
    assert now == {
        "dead_letters": 3,
        "dead_letters_not_json": 2,
        "dead_letters_late_label": 1,
        ("dead_letters", ("reason", "not_json")): 2,
        ("dead_letters", ("reason", "late_label")): 1,
    }
    # Each has been 0 before it rose, and each reason is somebody's.
    assert group.numbers["dead_letters", ("reason", "bad_ts")].given == [0]
    assert {*BEFORE_MODELS, *BY_MODELS} == set(Reason)
    assert Reason.CONFLICTING_LABEL in BEFORE_MODELS
    assert Reason.PREDICT_FAILED in BY_MODELS

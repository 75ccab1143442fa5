"""Where real Flink shows them is tested in tests/cluster/test_status.py, in both modes."""

from pyflink.datastream import TimeDomain

from operators.gauges import DELAY_MS, Gauges


class Group:
    """Stands for a metrics group: keeps what it was given."""

    def __init__(self):
        self.gauges = {}
        self.numbers = {}

    def gauge(self, name, function):
        self.gauges[name] = function

    def distribution(self, name):
        self.numbers[name] = Number()
        return self.numbers[name]


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

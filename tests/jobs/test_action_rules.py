"""What is said of triggers and schedules that could do nothing, or not what they say."""

import pytest

from operators.action_settings import Schedule, Trigger
from tests.jobs.test_config import SPEC, config_of, problems_of

BASE = f"""
[job]
name = "fraud"
[features]
connector = "file"
path = "in.jsonl"
[control]
connector = "file"
path = "control"
watch = true
[metrics]
connector = "file"
path = "metrics"
[[models]]
name = "m"
task = "classification"
spec = {SPEC}
[[monitor]]
name = "quality"
drift = [{{ on = "error", detector = "ADWIN" }}]
"""


def trigger(lines: str = "", on: str = "drift", do: str = "freeze") -> str:
    return f'[[trigger]]\nname = "t"\non = "{on}"\ndo = "{do}"\n{lines}\n'


def schedule(lines: str = "", do: str = "publish") -> str:
    return f'[[schedule]]\nname = "s"\nevery = "1d"\ndo = "{do}"\nmodel = "m"\n{lines}\n'


def test_rules_are_read_with_their_defaults() -> None:
    config = config_of(BASE + trigger() + schedule('expires_after = "7d"', do="deploy"))
    assert config.triggers == (Trigger("t", "drift", "freeze"),)
    day = 86_400_000
    assert config.schedules == (Schedule("s", day, "deploy", "m", expires_after_ms=7 * day),)
    assert config_of(config.to_public_toml()) == config


def test_without_rules_nothing_is_written_to_the_control_stream() -> None:
    assert config_of(BASE).commands() is None
    commands = config_of(BASE + schedule()).commands()
    assert commands is not None
    assert commands.connector == "file"


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        (trigger(on="driftt"), "[[trigger]] 1 on is \"driftt\"; "),
        (trigger(do="delete"), "[[trigger]] 1 do is \"delete\"; "),
        (trigger('cooldown = "0ms"'), "[[trigger]] 1 cooldown is \"0ms\"; "),
        (trigger("at_most = 0"), "[[trigger]] 1 at_most is 0; "),
        (trigger() + trigger(), "[[trigger]] 2 name is \"t\", as is that of [[trigger]] 1"),
        (trigger('monitor = "other"'), "[[trigger]] 1 monitor is \"other\"; known are quality"),
        (trigger(on="data_quality"), '[[trigger]] 1 on is "data_quality", and no [[monitor]] has'),
        (trigger(on="better", do="rollback"), '[[trigger]] 1 do is "rollback", which needs'),
        (trigger('feature = "f"', on="better"), "[[trigger]] 1 feature goes with"),
        (trigger('deploy_as = "same"', do="deploy"), '[[trigger]] 1 deploy_as is "same"; '),
        (trigger('deploy_as = "{x}{n}"', do="deploy"), '[[trigger]] 1 deploy_as is "{x}{n}"; '),
        (trigger(f"spec = {SPEC}", do="deploy"), "[[trigger]] 1 task is missing"),
        (trigger(f"spec = {SPEC}"), '[[trigger]] 1 spec goes with do = "deploy" only'),
        (trigger('expires_after = "1d"'), "[[trigger]] 1 expires_after goes with do"),
        (
            trigger('task = "classification"\nspec = { class = "river.nothing" }', do="deploy"),
            "[[trigger]] 1 spec is wrong: ",
        ),
        (
            trigger(f'task = "regression"\nspec = {SPEC}', do="deploy"),
            "[[trigger]] 1 spec does not fit: ",
        ),
        (trigger('evry = "1d"'), "[[trigger]] 1 evry is no key of this section"),
        (schedule('every = "1ms"').replace('every = "1d"\n', ""), "[[schedule]] 1 every is"),
        (schedule(do="rollback"), '[[schedule]] 1 do is "rollback"; '),
        ("[trigger]\nname = 't'\n", "[[trigger]] is a table; an array of tables is expected"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_line(section: str, problem: str) -> None:
    [line] = problems_of(BASE + section)
    assert line.startswith(problem)


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("watch = true\n", "", "[control] watch is false; "),
        (
            '[control]\nconnector = "file"\npath = "control"\nwatch = true\n',
            "",
            "[[trigger]] 1 acts by control messages, and there is no [control]",
        ),
        (
            'connector = "file"\npath = "control"\nwatch = true\n',
            'connector = "kafka"\ntopics = ["a", "b"]\nbootstrap_servers = "k:9092"\n',
            "[control] topic is missing; ",
        ),
        (
            "[[models]]",
            '[security]\ntrusted_keys = ["k"]\nrequire_signatures = true\n[[models]]',
            "[security] signing_key_file is missing; ",
        ),
        ('drift = [{ on = "error", detector = "ADWIN" }]\n', "", '[[trigger]] 1 on is "drift", '),
    ],
)
def test_the_job_must_be_able_to_tell_itself(before: str, after: str, problem: str) -> None:
    text = BASE + trigger()
    assert before in text
    [line] = problems_of(text.replace(before, after, 1))
    assert line.startswith(problem)


def test_rules_follow_from_a_monitor() -> None:
    text = BASE[: BASE.index("[[monitor]]")].replace("[metrics]", "[alerts]")
    [line] = problems_of(text + trigger())
    assert line == "[[trigger]] 1 follows from what a monitor tells, and there is no [[monitor]]"

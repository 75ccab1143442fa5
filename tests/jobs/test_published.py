"""What published mode demands of a configuration, and what its two parts are."""

from pathlib import Path
from typing import Any

import pytest

from jobs.config import Config, ConfigError, read_config
from state.signing import SigningKey
from tests.jobs.flows import classifier

KAFKA = {"connector": "kafka", "bootstrap_servers": "a:1"}
OUTPUTS = ("predictions", "evaluations", "learn_log", "dead_letters", "versions", "learn_queue")


def document(**sections: Any) -> dict[str, Any]:
    usual = {
        "job": {"name": "job", "mode": "published"},
        "features": {**KAFKA, "topic": "features"},
        **{output: {**KAFKA, "topic": output} for output in OUTPUTS},
        "security": {"signing_key_file": "key.pem"},
        "models": [classifier()],
    }
    return {name: section for name, section in {**usual, **sections}.items() if section is not None}


def problems_of(**sections: Any) -> list[str]:
    with pytest.raises(ConfigError) as error:
        read_config(document(**sections), Path("/base"))
    return error.value.problems


def config(folder: Path = Path("/base"), **sections: Any) -> Config:
    return read_config(document(**sections), folder)


def test_the_sections_have_defaults_and_are_shown():
    read = config()
    assert (read.published.publish_every, read.published.publish_interval_ms) == (10_000, 5000)
    assert (read.published.max_lag_ms, read.published.on_lag) == (None, "go_on")
    shown = read.to_public_dict()
    assert shown["published"]["publish_interval"] == "5s"
    assert shown["learn_queue"] == {**KAFKA, "topic": "learn_queue", "delivery": "exactly_once"}
    assert read_config(shown, Path("/base")) == read


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        (
            {"job": {"name": "a", "mode": "published", "ordering": "event_time"}},
            '[job] ordering is "event_time"; mode = "published" knows "arrival" only',
        ),
        (
            {"job": {"name": "a", "mode": "published", "lane_by": "x"}},
            '[job] lane_by is "x"; mode = "published" has no lanes, leave it out',
        ),
        (
            {"job": {"name": "a", "mode": "published", "execution": "process"}},
            '[job] execution is "process"; mode = "published" needs "thread"',
        ),
        (
            {"features": {"connector": "file", "path": "in"}},
            '[features] connector is "file"; mode = "published" needs "kafka"',
        ),
        (
            {"learn_queue": None},
            '[learn_queue] is missing; mode = "published" needs it, a Kafka topic',
        ),
        (
            {"versions": {"connector": "file", "path": "versions"}},
            '[versions] connector is "file"; mode = "published" needs "kafka"',
        ),
        (
            {"versions": {**KAFKA, "topic": "v", "delivery": "at_least_once"}},
            '[versions] delivery is "at_least_once"; mode = "published" needs "exactly_once"',
        ),
        (
            {"learn_queue": [{**KAFKA, "topic": "a"}, {**KAFKA, "topic": "b"}]},
            "[learn_queue] stands there 2 times; one is expected",
        ),
        (
            {"models": [classifier(reemit=True)]},
            '[[models]] 1 reemit is true; mode = "published" predicts apart from learning, leave it out',
        ),
        (
            {"control": {**KAFKA, "topic": "control"}},
            '[control] goes with mode = "live"; leave it out',
        ),
        (
            {"job": {"name": "a"}},
            '[learn_queue] goes with [job] mode = "published"; it is "live"',
        ),
    ],
)
def test_what_cannot_be_published_is_told(sections, problem):
    assert problems_of(**sections) == [problem]


def test_without_a_signing_key_it_says_why_one_is_needed():
    [problem] = problems_of(security=None)
    assert problem.startswith("[security] signing_key_file is missing; ")
    assert (
        "nothing read from a topic is unpickled unless the job's own key has signed it" in problem
    )


def test_each_part_has_a_name_and_state_of_its_own_and_writes_what_is_its():
    whole = config()
    assert whole.for_part(None) is whole
    predict, learn = whole.for_part("predict"), whole.for_part("learn")
    assert (predict.job.name, learn.job.name) == ("job-predict", "job-learn")
    assert (whole.base_name, predict.base_name, learn.base_name) == ("job", "job", "job")
    folders = {each.job.checkpoint_dir for each in (whole, predict, learn)}
    assert len(folders) == 3
    for part, outputs in ((predict, {"learn_log"}), (learn, {"predictions", "evaluations"})):
        assert {output for output in OUTPUTS if not part.sinks(output)} == outputs


def test_a_part_is_one_of_published_mode_only_and_both_write_dead_letters(tmp_path, riverrun):
    key = tmp_path / "key.pem"
    key.write_bytes(SigningKey.generate().pem())
    path = tmp_path / "job.toml"

    def submitted(**sections: Any) -> str:
        from jobs.toml_text import dump_toml

        path.write_text(dump_toml(document(**sections)))
        done = riverrun("submit", path, "--part", "learn")
        assert done.code == 1
        return done.err

    live = {"learn_queue": None, "versions": None, "job": {"name": "job"}}
    assert '--part learn goes with [job] mode = "published"' in submitted(**live)
    letters = {"connector": "file", "path": "letters"}
    assert "both parts write there: give it a topic" in submitted(dead_letters=letters)

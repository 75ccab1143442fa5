"""`riverrun bench`: a rate for each model alone and one for the job; nothing is asserted about speed."""

import json

import pytest

from jobs.bench import bench
from jobs.errors import Failure
from tests.jobs import alerting
from tests.jobs.flows import classifier, job, phishing, write
from tests.operators.receivers import receiving


def test_too_few_examples_are_no_measurement(tmp_path):
    write(tmp_path / "in.jsonl", phishing(90))
    config = job(tmp_path, inputs={"features": {"path": "in.jsonl"}}, models=[classifier()])
    with pytest.raises(Failure, match="90 examples with a label in the sample; 100 are needed"):
        list(bench(config))


@pytest.mark.cluster
@pytest.mark.usefixtures("flink")
def test_every_model_is_measured_alone_and_the_job_with_all(tmp_path, riverrun):
    write(tmp_path / "sample.jsonl", ["no json", *phishing(400)])
    write(tmp_path / "in.jsonl", [])
    bayes = classifier("bayes", {"class": "river.naive_bayes.GaussianNB"})
    with receiving() as server:
        config = job(
            tmp_path,
            inputs={"features": {"path": "in.jsonl"}},
            models=[classifier("lr"), bayes],
            **alerting.sections(server.url),
        )
        path = tmp_path / "job.toml"
        path.write_text(config.to_public_toml())
        told = riverrun("bench", path, "--sample", tmp_path / "sample.jsonl", "--json")
        assert server.got == []
    assert told.code == 0, told.err
    rates = [json.loads(line) for line in told.out.splitlines()]
    assert [(rate["model"], rate["what"]) for rate in rates] == [
        *(("lr", what) for what in ("learn", "predict", "both")),
        *(("bayes", what) for what in ("learn", "predict", "both")),
        (None, "job"),
    ]
    assert all(rate["per_s"] > 0 for rate in rates)
    # What the configuration names is not touched.
    assert not (tmp_path / "out").exists()

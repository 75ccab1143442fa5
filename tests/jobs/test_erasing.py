"""Erasing a transaction: every chain stays whole, and audits say so."""

import json
import os
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from jobs import cli
from jobs.audit import audit
from jobs.backtest import backtest
from jobs.config import Config, read_config
from jobs.erasing import Place, erase
from jobs.errors import Failure
from tests.jobs import flows
from tests.jobs.by_hand import HandMade, text_of
from tests.jobs.flows import LOGISTIC, classifier, write
from tests.jobs.test_audit import NB, logistic, rows, toml, verdicts
from tests.operators.loops import events, transactions

DOCS = Path(__file__).parents[2] / "docs"
MODELS = [classifier("m"), classifier("b", NB)]


def ran(folder: Path) -> Config:
    """Two models over 40 transactions, each output written to files."""
    write(folder / "in/events.jsonl", events(transactions("Phishing", 40)))
    config = flows.job(folder, inputs={"features": {"path": "in"}}, models=MODELS)
    backtest(config)
    return config


def by_hand(folder: Path, log: Path, specs: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """The program of docs/versions.md, over a log."""
    page = (DOCS / "versions.md").read_text()
    [program] = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (folder / "check.py").write_text(program)
    (folder / "specs.json").write_text(json.dumps(specs))
    command = [sys.executable, str(folder / "check.py"), str(folder / "specs.json"), str(log)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


SPECS = {"m": LOGISTIC, "b": NB}


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_contents_go_and_every_head_still_follows(tmp_path: Path) -> None:
    config = ran(tmp_path)
    log = tmp_path / "out/learn_log/part-0-0.jsonl"
    before = log.read_text().splitlines()
    places = [n for n, line in enumerate(before) if json.loads(line)["id"] == "t00020"]
    done = erase(config, "t00020")
    assert done.erased == [Place("learn_log", str(log), 2)]
    after = log.read_text().splitlines()
    assert [n for n, pair in enumerate(zip(before, after, strict=True)) if len(set(pair)) > 1] == (
        places
    )
    for number in places:
        was, is_ = json.loads(before[number]), json.loads(after[number])
        entry = before[number][: before[number].rindex(',"parent":')] + "}"
        nothing = dict.fromkeys(
            set(was) - {"kind", "model", "lane", "n", "parent", "version", "head"}
        )
        assert is_ == {**was, **nothing, "erased": sha256(entry.encode()).hexdigest()}
        assert "t00020" not in after[number]
    checked = by_hand(tmp_path, log, SPECS)
    assert checked.stdout == "80 entries, 2 chains: all follow\n"


def test_the_program_of_the_docs_finds_an_erased_record_that_was_changed(tmp_path: Path) -> None:
    config = ran(tmp_path)
    erase(config, "t00020")
    log = tmp_path / "out/learn_log/part-0-0.jsonl"
    text = log.read_text()
    place = text.index('"erased":"') + 12
    log.write_text(text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :])
    assert "the head does not follow" in by_hand(tmp_path, log, SPECS).stderr
    assert not audit(config).sound


def test_the_program_of_the_docs_follows_what_control_messages_did(tmp_path: Path) -> None:
    from river import naive_bayes

    job = HandMade()
    chain = job.chain("m", LOGISTIC, logistic())
    for id, x, y in rows(5):
        job.send(id, x)
        chain.learn(id, x, y)
    chain.rollback(list(chain.kept)[2])
    again = job.deploy("b", NB, naive_bayes.GaussianNB())
    again.control("retire")
    again = job.deploy("b", LOGISTIC, None, since=chain, version=chain.version, env={})
    again.learn("t0", {"a": 1.0}, True)
    job.write(tmp_path, [classifier("m")])
    checked = by_hand(tmp_path, tmp_path / "out/learn_log/part-0-0.jsonl", {"m": LOGISTIC})
    assert (checked.stdout, checked.stderr) == ("10 entries, 2 chains: all follow\n", "")


def test_an_audit_says_erased_of_what_cannot_be_made_again(tmp_path: Path) -> None:
    config = ran(tmp_path)
    log = tmp_path / "out/learn_log/part-0-0.jsonl"
    third = json.loads(log.read_text().splitlines()[4])["id"]
    erased = erase(config, third).erased[0].records
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    sound_until = {
        model: next(row["n"] for row in steps if row["model"] == model and "erased" in row)
        for model in ("m", "b")
    }
    made = [
        json.loads(line)
        for line in (tmp_path / "out/predictions/part-0-0.jsonl").read_text().splitlines()
    ]
    equal = sum(
        int(row["version"].split("@")[1].split("-")[0]) < sound_until[row["model"]] for row in made
    )
    found = audit(config)
    assert found.sound
    assert verdicts(found) == {"equal": equal, "erased": 80 - equal}
    assert found.erased == erased == 2
    assert 0 < equal < 80


def test_twice_is_once(tmp_path: Path) -> None:
    config = ran(tmp_path)
    first = erase(config, "t00020", everything=True)
    assert first.erased
    before = tree(tmp_path)
    again = erase(config, "t00020", everything=True)
    assert (again.erased, again.left) == ([], [])
    assert tree(tmp_path) == before


def test_where_else_it_stands_is_said(tmp_path: Path) -> None:
    config = ran(tmp_path)
    before = tree(tmp_path)
    done = erase(config, "t00020")
    assert [(place.what, place.records) for place in done.left] == [
        ("features", 2),
        ("predictions", 2),
        ("evaluations", 2),
    ]
    changed = {name for name, content in tree(tmp_path).items() if before[name] != content}
    assert changed == {"out/learn_log/part-0-0.jsonl"}


def test_everything_is_everywhere(tmp_path: Path) -> None:
    config = ran(tmp_path)
    before = tree(tmp_path)
    done = erase(config, "t00020", everything=True)
    assert done.left == []
    after = tree(tmp_path)
    for name, content in after.items():
        assert b"t00020" not in content, name
    # A job that goes on from a checkpoint has counted the bytes of its inputs.
    was, is_ = (files["in/events.jsonl"].splitlines() for files in (before, after))
    assert list(map(len, was)) == list(map(len, is_))
    assert sum(a != b for a, b in zip(was, is_, strict=True)) == 2
    found = audit(config)
    assert found.sound
    assert sum(found.verdicts.values()) == 78


def test_features_alone_are_erased_by_the_digest_that_predictions_name(tmp_path: Path) -> None:
    config = ran(tmp_path)
    predictions = tmp_path / "out/predictions/part-0-0.jsonl"
    kept = predictions.read_bytes()
    named = {row["input"] for row in map(json.loads, kept.splitlines()) if row["id"] == "t00020"}
    erase(config, "t00020", everything=True)
    lines = (tmp_path / "in/events.jsonl").read_text().splitlines()
    [digest] = [json.loads(line)["erased"] for line in lines if "erased" in line]
    assert {digest} == named
    predictions.write_bytes(kept)
    found = audit(config)
    assert found.sound
    assert sum(found.verdicts.values()) == 80


def test_part_files_keep_their_order(tmp_path: Path) -> None:
    """Which is told by their times."""
    config = ran(tmp_path)
    folder = tmp_path / "out/learn_log"
    lines = (folder / "part-0-0.jsonl").read_text().splitlines(keepends=True)
    for name, part, time in (("z", lines[:30], 1), ("a", lines[30:], 2)):
        path = folder / f"part-{name}-0.jsonl"
        path.write_text("".join(part))
        os.utime(path, (time, time))
    (folder / "part-0-0.jsonl").unlink()
    erase(config, "t00001")
    assert [path.stat().st_mtime for path in sorted(folder.iterdir())] == [2, 1]
    assert audit(config).sound


def test_a_label_type_and_a_letter_of_the_transaction_go_with_it(tmp_path: Path) -> None:
    bad = {"id": "bad", "features": {"a": {}}, "ts": flows.T0}
    write(tmp_path / "in/events.jsonl", [*events(transactions("Phishing", 5)), bad])
    config = flows.job(tmp_path, inputs={"features": {"path": "in"}}, models=MODELS)
    backtest(config)
    letters = tmp_path / "out/dead_letters/part-0-0.jsonl"
    assert len(letters.read_text().splitlines()) == 1
    done = erase(config, "bad", everything=True)
    assert {(place.what, place.records) for place in done.erased} == {
        ("features", 1),
        ("dead_letters", 1),
    }
    assert letters.read_text() == ""
    assert b"bad" not in (tmp_path / "in/events.jsonl").read_bytes()


def test_a_topic_is_not_rewritten(tmp_path: Path) -> None:
    topic = {"connector": "kafka", "topic": "log", "bootstrap_servers": "127.0.0.1:1"}
    config = read_config(
        {
            "job": {"name": "job"},
            "features": {"connector": "file", "path": "in"},
            "learn_log": topic,
            "models": MODELS,
        },
        tmp_path,
    )
    with pytest.raises(Failure, match=r"topic log, and nothing in a topic can be replaced.*--out"):
        erase(config, "t1")


def test_what_cannot_be_is_refused_before_anything_is_changed(tmp_path: Path) -> None:
    config = ran(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(Failure, match="--id is empty"):
        erase(config, "")
    with pytest.raises(Failure, match="--out is for a learn log that is in Kafka"):
        erase(config, "t00020", out=tmp_path / "x")
    log = tmp_path / "out/learn_log/part-0-0.jsonl"
    log.write_text(log.read_text() + text_of({"id": "t00020"}) + "\n")
    before = tree(tmp_path)
    with pytest.raises(Failure, match="what the learn log has of 't00020' is no record"):
        erase(config, "t00020")
    assert tree(tmp_path) == before


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = toml(tmp_path, ran(tmp_path))
    assert cli.main(["erase", str(path), "--id", "t00020"]) == 0
    said = capsys.readouterr()
    assert said.out == f"erased: 2 of learn_log, {tmp_path}/out/learn_log/part-0-0.jsonl\n"
    assert f"still there: 2 of features, {tmp_path}/in/events.jsonl" in said.err
    assert cli.main(["erase", str(path), "--id", "nobody", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"erased": [], "left": []}

"""What README.md and docs/quickstart.md show works, and their links lead somewhere."""

import json
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

from events.messages import Alert
from jobs.backtest import backtest
from jobs.config import load_config, read_config
from jobs.processes import free_port
from jobs.summary import summarize
from jobs.waiting import wait_until
from operators.posting import Receiver
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
ALERTS = (ROOT / "docs" / "alerts.md").read_text()
QUICKSTART = (ROOT / "docs" / "quickstart.md").read_text()
PAGES = [
    ROOT / "README.md",
    ROOT / "docs" / "quickstart.md",
    ROOT / "docs" / "alerts.md",
    *sorted((ROOT / "examples").rglob("README.md")),
]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run(python: str, folder: Path) -> None:
    (folder / "block.py").write_text(python)
    runpy.run_path(str(folder / "block.py"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_the_readme_shows_a_valid_configuration(tmp_path: Path) -> None:
    job, rules = blocks((ROOT / "README.md").read_text(), "toml")
    (tmp_path / "job.toml").write_text(job)
    assert [model.name for model in load_config(tmp_path / "job.toml").models] == ["phishing"]
    needed = """
        [control]
        connector = "file"
        path = "control"
        watch = true
        [metrics]
        connector = "file"
        path = "out/metrics"
    """
    (tmp_path / "job.toml").write_text(job + needed + rules)
    config = load_config(tmp_path / "job.toml")
    assert [trigger.name for trigger in config.triggers] == ["retrain", "win"]


def test_the_quickstart_goes_from_a_table_to_evaluations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its Python and its TOML, as they stand there."""
    monkeypatch.chdir(tmp_path)
    rows = [
        "id,amount,night,new_customer,label,at,known_at",
        *(
            f"t{n},{n}.5,{n % 2},0,{n % 3 % 2},{1735689600000 + n},{1735689600500 + n}"
            for n in range(30)
        ),
    ]
    (tmp_path / "shop.csv").write_text("\n".join(rows))
    make, read = blocks(QUICKSTART, "python")
    job, _artifact = blocks(QUICKSTART, "toml")
    run(make, tmp_path)
    (tmp_path / "shop" / "job.toml").write_text(job)
    config = load_config(Path("shop/job.toml"))
    backtest(config)
    run(read, tmp_path)
    [model] = summarize(config).models
    assert (model.predictions, model.labelled, model.delay_median_ms) == (30, 30, 500)
    assert float(capsys.readouterr().out) == model.metrics["accuracy"]


def test_the_quickstarts_way_to_begin_with_what_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    events, *_ = blocks(QUICKSTART, "json")
    job, artifact = blocks(QUICKSTART, "toml")
    (tmp_path / "shop" / "input").mkdir(parents=True)
    (tmp_path / "shop" / "input" / "events.jsonl").write_text(events)
    toml = tmp_path / "shop" / "job.toml"
    toml.write_text(job)
    backtest(load_config(toml), save=Path("fraud.rrv"))
    toml.write_text(job.split("[[models]]")[0] + artifact)
    backtest(load_config(toml), overwrite=True)
    [model] = summarize(load_config(toml)).models
    # One example before, and the same one again.
    assert (model.predictions, model.learned) == (2, 1)
    assert (model.version or "").startswith("fraud@2-")


def test_the_receiver_of_the_page_about_alerts_keeps_each_once(tmp_path: Path) -> None:
    [code] = blocks(ALERTS, "python")
    port = free_port()
    (tmp_path / "receiver.py").write_text(code.replace("8080", str(port)))
    alert = json.loads(blocks(ALERTS, "json")[0])
    receiver = Receiver(f"http://127.0.0.1:{port}/", {}, "fraud", 10.0)

    def post() -> bool:
        return receiver.post(alert["alert"], json.dumps(alert)).status == 204

    for _ in range(2):  # the second knows what the first has kept
        with subprocess.Popen(
            [sys.executable, "receiver.py"], cwd=tmp_path, stderr=subprocess.DEVNULL
        ) as running:
            try:
                wait_until(post, "the receiver to answer", timeout_s=PATIENCE_S)
                assert post()
            finally:
                running.kill()
    [line] = (tmp_path / "alerts.jsonl").read_text().splitlines()
    assert json.loads(line)["alert"] == alert


def test_the_alerts_and_sinks_of_the_page_are_what_it_says(tmp_path: Path) -> None:
    [example] = blocks(ALERTS, "json")
    assert set(json.loads(example)) <= set(Alert.__struct_fields__)
    msgspec.json.decode(example, type=Alert)
    [sinks] = blocks(ALERTS, "toml")
    smallest = re.search(
        r"```toml\n(.*?)```", (ROOT / "docs" / "configuration.md").read_text(), re.DOTALL
    )
    assert smallest
    document = tomllib.loads(smallest[1] + sinks)
    config = read_config(document, tmp_path, {"HOOK_TOKEN": "x"})
    assert [sink.connector for sink in config.alerts] == ["file", "webhook"]

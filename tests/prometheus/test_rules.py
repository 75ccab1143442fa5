"""What is shipped for Prometheus and Grafana, without a job."""

import json
import re
import subprocess
from pathlib import Path

from ruamel.yaml import YAML

from monitoring.grafana import make_dashboard
from tests.prometheus import debian
from tests.prometheus.documented import DOCS, OPERATOR, documented
from tests.prometheus.server import ROOT, RULES

FOLDER = RULES.parent


def promtool(*arguments: str, folder: Path = FOLDER) -> str:
    done = subprocess.run(
        [debian.program("promtool"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules() -> list[dict]:
    loaded = YAML(typ="safe").load(RULES)
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def test_the_configuration_is_one_of_prometheus():
    assert f"{len(rules())} rules found" in promtool("check", "config", "prometheus.yml")


def test_alerts_fire_where_they_should_and_are_silent_where_they_should_be():
    assert "SUCCESS" in promtool("test", "rules", "rules_test.yml")


def test_a_changed_threshold_is_noticed(tmp_path):
    """The unit tests are not green whatever the rules say."""
    for threshold in ("> 10000\n            and", ") / 1e6 > 0.05", ">= 3\n", "0.01 * sum"):
        text = RULES.read_text()
        assert threshold in text
        changed = re.sub(r"[0-9.]*[0-9](?=\D*$)", "99999999", threshold, count=1)
        (tmp_path / "rules.yml").write_text(text.replace(threshold, changed))
        (tmp_path / "rules_test.yml").write_text((FOLDER / "rules_test.yml").read_text())
        done = subprocess.run(
            [debian.program("promtool"), "test", "rules", "rules_test.yml"],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert done.returncode != 0, threshold


def test_each_alert_is_explained_has_a_severity_and_is_seen_to_fire():
    tests = YAML(typ="safe").load(FOLDER / "rules_test.yml")["tests"]
    fired = {
        case["alertname"]
        for test in tests
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    assert fired == set(names)
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"].keys() == {"summary", "description"}
        assert f"| `{rule['alert']}` |" in DOCS.read_text()


def test_alerts_and_dashboard_ask_for_documented_metrics_only():
    known = {each.name for each in documented()} | {f"{OPERATOR}pendingRecords"}
    asked = " ".join(rule["expr"] for rule in rules()) + make_dashboard.text()
    used = set(re.findall(rf"{OPERATOR}\w+", asked))
    assert used <= known
    assert len(used) > 30
    # Of the job manager's, the page has the ends of the names.
    for name in set(re.findall(r"flink_jobmanager_job(_\w+)", asked)):
        assert f"`{name}`" in DOCS.read_text() or f"job{name}`" in DOCS.read_text(), name


def test_units_stand_in_the_names():
    for each in documented():
        parts = each.name.split("_")
        if each.unit in ("us", "bytes", "millionths"):
            assert each.unit in parts, each
        if each.unit.startswith("ms"):
            assert "ms" in parts, each


def test_the_dashboard_is_the_one_that_is_made():
    assert make_dashboard.DASHBOARD.read_text() == make_dashboard.text()
    made = json.loads(make_dashboard.text())
    assert [each["name"] for each in made["templating"]["list"]] == [
        "datasource",
        "job",
        "model",
        "role",
        "metric",
    ]
    panels = made["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    # No two panels cover one another.
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        own = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & own
        assert at["x"] + at["w"] <= 24
        cells |= own


def test_compose_scrapes_what_it_starts():
    compose = YAML(typ="safe").load(ROOT / "docker" / "compose.yaml")
    port = compose["x-riverrun"]["environment"]["PROMETHEUS_PORT"]
    scraped = YAML(typ="safe").load(ROOT / "docker" / "prometheus.yml")["scrape_configs"]
    names = {
        name: sd["port"] for job in scraped for sd in job["dns_sd_configs"] for name in sd["names"]
    }
    assert names == {"jobmanager": port, "taskmanager": port}
    assert {"jobmanager", "taskmanager"} <= compose["services"].keys()
    assert compose["services"]["prometheus"]["profiles"] == ["monitoring"]
    promtool("check", "config", "--syntax-only", "prometheus.yml", folder=ROOT / "docker")

"""What README.md and docs/quickstart.md show works, and their links lead somewhere."""

import re
import runpy
from pathlib import Path

import pytest

from jobs.backtest import backtest
from jobs.config import load_config
from jobs.summary import summarize

ROOT = Path(__file__).parents[2]
QUICKSTART = (ROOT / "docs" / "quickstart.md").read_text()
PAGES = [
    ROOT / "README.md",
    ROOT / "docs" / "quickstart.md",
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
    [toml] = blocks((ROOT / "README.md").read_text(), "toml")
    (tmp_path / "job.toml").write_text(toml)
    assert [model.name for model in load_config(tmp_path / "job.toml").models] == ["phishing"]


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

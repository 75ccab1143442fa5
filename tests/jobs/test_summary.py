import io
import itertools
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from jobs.config import Config, load_config
from jobs.summary import RocAuc, Summary, print_summary, summarize

OUTPUTS = ("predictions", "evaluations", "learn_log", "dead_letters")

SPECS = {
    "classification": "river.naive_bayes.GaussianNB",
    "regression": "river.linear_model.LinearRegression",
    "anomaly": "river.anomaly.HalfSpaceTrees",
}


def configured(
    folder: Path,
    task: str = "classification",
    *,
    names: tuple[str, ...] = ("m",),
    outputs: tuple[str, ...] = OUTPUTS,
    job: str = "",
    model: str = "",
) -> Config:
    sections = [
        f'[job]\nname = "j"\n{job}',
        '[features]\nconnector = "file"\npath = "in.jsonl"',
        *(f'[{output}]\nconnector = "file"\npath = "out/{output}"' for output in outputs),
        *(
            f'[[models]]\nname = "{name}"\ntask = "{task}"\n{model}\n'
            f'spec = {{ class = "{SPECS[task]}" }}'
            for name in names
        ),
    ]
    path = folder / "job.toml"
    path.write_text("\n".join(sections))
    return load_config(path)


def write(folder: Path, output: str, records: list[dict[str, Any]], part: str = "part-0-0") -> None:
    place = folder / "out" / output
    place.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(record, separators=(",", ":")) + "\n" for record in records)
    (place / f"{part}.jsonl").write_text("".join(lines))


def evaluation(id: str, prediction: Any, label: Any, **fields: Any) -> dict[str, Any]:
    return {
        "id": id,
        "model": "m",
        "lane": None,
        "version": "m@0-aaaaaaaaaaaa",
        "prediction": prediction,
        "label": label,
        "event_time": 1000,
        "label_time": 1000 + fields.get("delay_ms", 0),
        "delay_ms": 0,
        "source": "label",
        "late": False,
        "leaked": False,
        **fields,
    }


def prediction(id: str, version: str = "m@0-aaaaaaaaaaaa", **fields: Any) -> dict[str, Any]:
    return {"id": id, "model": "m", "lane": None, "version": version, **fields}


def learned(version: str, kind: str = "example", **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "model": "m", "lane": None, "version": version, **fields}


def one(summary: Summary) -> Any:
    [model] = summary.models
    return model


def printed(summary: Summary) -> str:
    file = io.StringIO()
    print_summary(summary, Console(file=file, width=100, markup=False, highlight=False))
    return file.getvalue()


def words(summary: Summary) -> list[list[str]]:
    return [line.split() for line in printed(summary).splitlines()]


# Classification


def test_a_binary_model_has_accuracy_f1_roc_auc_and_log_loss(tmp_path: Path) -> None:
    config = configured(tmp_path)
    rows = [(True, True, 0.5), (False, True, 0.25), (True, False, 0.5), (False, False, 0.25)]
    write(
        tmp_path,
        "evaluations",
        [
            evaluation(str(place), said, label, probabilities={"false": 1 - p, "true": p})
            for place, (said, label, p) in enumerate(rows)
        ],
    )
    model = one(summarize(config))
    # One of each cell of the confusion matrix; the positives' 1/2 and 1/4 against the negatives' 1/2
    # and 1/4: one pair right, one wrong, two ties. The log losses are ln 2, 2 ln 2, ln 2, ln 4/3.
    assert model.scored == 4
    assert model.metrics == pytest.approx(
        {"accuracy": 0.5, "f1": 0.5, "roc_auc": 0.5, "log_loss": (6 * 0.69314718 - 1.09861229) / 4}
    )


def test_integer_labels_0_and_1_are_binary_too(tmp_path: Path) -> None:
    config = configured(tmp_path)
    write(
        tmp_path,
        "evaluations",
        [
            evaluation("a", 1, 1, probabilities={"0": 0.25, "1": 0.75}),
            evaluation("b", 0, 0, probabilities={"0": 0.75, "1": 0.25}),
        ],
    )
    expected = {"accuracy": 1.0, "f1": 1.0, "roc_auc": 1.0, "log_loss": 0.28768207}
    assert one(summarize(config)).metrics == pytest.approx(expected)


def test_string_labels_have_macro_f1_and_cross_entropy(tmp_path: Path) -> None:
    config = configured(tmp_path)
    even = {"a": 0.25, "b": 0.25, "c": 0.5}
    write(
        tmp_path,
        "evaluations",
        [
            evaluation("1", "a", "a", probabilities=even),
            evaluation("2", "a", "b", probabilities=even),
            evaluation("3", "c", "c", probabilities=even),
        ],
    )
    # F1 of a: 2/3, of b: 0, of c: 1; -ln of 1/4, 1/4 and 1/2.
    expected = {"accuracy": 2 / 3, "macro_f1": 5 / 9, "log_loss": 5 / 3 * 0.69314718}
    assert one(summarize(config)).metrics == pytest.approx(expected)


def test_a_model_that_knows_no_label_yet_is_left_out_of_metrics(tmp_path: Path) -> None:
    config = configured(tmp_path)
    write(
        tmp_path,
        "evaluations",
        [
            evaluation("1", None, True, probabilities={}),
            evaluation("2", True, True, probabilities={"true": 1.0}),
        ],
    )
    model = one(summarize(config))
    assert (model.labelled, model.scored, model.metrics["accuracy"]) == (2, 1, 1.0)


def test_a_model_without_probabilities_has_accuracy_and_f1_only(tmp_path: Path) -> None:
    config = configured(tmp_path)
    write(tmp_path, "evaluations", [evaluation("1", True, True, probabilities=None)])
    assert one(summarize(config)).metrics == {"accuracy": 1.0, "f1": 1.0}


def test_with_one_class_there_is_no_roc_auc(tmp_path: Path) -> None:
    config = configured(tmp_path)
    said = {"false": 0.5, "true": 0.5}
    write(tmp_path, "evaluations", [evaluation("1", False, False, probabilities=said)])
    summary = summarize(config)
    assert one(summary).metrics["roc_auc"] is None
    assert ["ROC", "AUC", "-"] in words(summary)


# Other tasks


def test_a_regressor_has_mae_rmse_and_r2(tmp_path: Path) -> None:
    config = configured(tmp_path, "regression")
    rows = [(1.0, 2), (2.0, 2), (6.0, 5)]
    write(tmp_path, "evaluations", [evaluation(str(y), said, y) for said, y in rows])
    # Errors 1, 0, 1; the labels' mean is 3, their squares about it 1, 1, 4.
    expected = {"mae": 2 / 3, "rmse": (2 / 3) ** 0.5, "r2": 1 - 2 / 6}
    assert one(summarize(config)).metrics == pytest.approx(expected)


def test_anomaly_scores_need_not_lie_between_0_and_1(tmp_path: Path) -> None:
    config = configured(tmp_path, "anomaly")
    rows = [(130.0, True), (120.0, False), (120.0, True), (-5.0, False)]
    write(
        tmp_path,
        "evaluations",
        [evaluation(str(n), None, y, score=score) for n, (score, y) in enumerate(rows)],
    )
    # Of four pairs three are right and one is a tie.
    assert one(summarize(config)).metrics == {"roc_auc": 3.5 / 4}


def test_with_learn_only_an_anomaly_is_any_other_label(tmp_path: Path) -> None:
    config = configured(tmp_path, "anomaly", model='learn_only = "normal"')
    rows = [(0.9, "worm"), (0.1, "normal"), (0.8, "probe"), (0.85, "normal")]
    write(tmp_path, "evaluations", [evaluation(y, None, y, score=score) for score, y in rows])
    assert one(summarize(config)).metrics == {"roc_auc": 3 / 4}


def test_anomaly_labels_that_are_neither_true_nor_false_are_not_scored(tmp_path: Path) -> None:
    config = configured(tmp_path, "anomaly")
    write(tmp_path, "evaluations", [evaluation("1", None, "worm", score=0.9)])
    model = one(summarize(config))
    assert (model.labelled, model.scored, model.metrics) == (1, 0, {})


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=30))
def test_roc_auc_is_the_share_of_pairs_told_apart(rows: list[tuple[bool, int]]) -> None:
    curve = RocAuc()
    for positive, score in rows:
        curve.update(positive, score / 7)
    pairs = itertools.product(
        [score for positive, score in rows if positive],
        [score for positive, score in rows if not positive],
    )
    told = [1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs]
    assert curve.get() == (pytest.approx(sum(told) / len(told)) if told else None)


# What counts


def test_a_corrected_transaction_counts_once_with_its_newest_label(tmp_path: Path) -> None:
    config = configured(tmp_path)
    write(tmp_path, "predictions", [prediction("a"), prediction("b")])
    write(
        tmp_path,
        "evaluations",
        [
            evaluation("a", True, False, source="assumed", delay_ms=700),
            evaluation("b", True, True, delay_ms=100),
            evaluation("a", True, False, source="correction", delay_ms=800),
            evaluation("a", True, True, source="correction", delay_ms=900),
        ],
    )
    model = one(summarize(config))
    assert (model.labelled, model.assumed, model.without_label) == (2, 0, 0.0)
    assert (model.scored, model.metrics["accuracy"]) == (2, 1.0)
    assert (model.delay_median_ms, model.delay_p95_ms) == (100, 900)


def test_an_id_used_again_is_another_transaction(tmp_path: Path) -> None:
    config = configured(tmp_path)
    write(
        tmp_path,
        "evaluations",
        [
            evaluation("a", True, True),
            evaluation("a", True, False, source="correction"),
            evaluation("a", True, True, event_time=9_000_000),
        ],
    )
    model = one(summarize(config))
    assert (model.labelled, model.metrics["accuracy"]) == (2, 0.5)


def test_an_id_that_looks_like_a_correction_is_none(tmp_path: Path) -> None:
    config = configured(tmp_path)
    odd = '","source":"correction","x":"'
    write(tmp_path, "evaluations", [evaluation(odd, True, True), evaluation(odd, True, False)])
    assert one(summarize(config)).labelled == 2


def test_assumed_labels_are_scored_and_have_no_delay(tmp_path: Path) -> None:
    config = configured(tmp_path)
    write(tmp_path, "predictions", [prediction(id) for id in "abcd"])
    write(
        tmp_path,
        "evaluations",
        [evaluation("a", True, True, delay_ms=5), evaluation("b", True, False, source="assumed")],
    )
    model = one(summarize(config))
    assert (model.labelled, model.assumed, model.without_label) == (1, 1, 0.5)
    assert (model.metrics["accuracy"], model.delay_median_ms, model.delay_p95_ms) == (0.5, 5, 5)


def test_an_evaluation_by_a_version_that_knew_the_label_is_not_scored(tmp_path: Path) -> None:
    config = configured(tmp_path)
    write(
        tmp_path,
        "evaluations",
        [evaluation("a", True, True, leaked=True), evaluation("b", True, False)],
    )
    model = one(summarize(config))
    assert (model.labelled, model.scored, model.metrics["accuracy"]) == (2, 1, 0.0)


def test_a_prediction_after_learning_is_no_second_one(tmp_path: Path) -> None:
    config = configured(tmp_path)
    write(tmp_path, "predictions", [prediction("a"), prediction("a", reemit=True)])
    assert one(summarize(config)).predictions == 1


def test_each_model_is_summed_up_by_itself(tmp_path: Path) -> None:
    config = configured(tmp_path, names=("m", "n"))
    write(tmp_path, "predictions", [prediction("a"), prediction("a", model="n")])
    write(
        tmp_path,
        "evaluations",
        [evaluation("a", True, True), evaluation("a", False, True, model="n")],
    )
    first, second = summarize(config).models
    assert [(m.name, m.role, m.metrics["accuracy"]) for m in (first, second)] == [
        ("m", "champion", 1.0),
        ("n", "challenger", 0.0),
    ]


def test_the_95th_percentile_is_the_least_delay_that_19_of_20_do_not_exceed(tmp_path: Path) -> None:
    config = configured(tmp_path)
    delays = [20, 3, 19, 1, 18, 2, 17, 4, 16, 5, 15, 6, 14, 7, 13, 8, 12, 9, 11, 10]
    write(
        tmp_path,
        "evaluations",
        [evaluation(str(delay), True, True, delay_ms=delay) for delay in delays],
    )
    model = one(summarize(config))
    assert (model.delay_median_ms, model.delay_p95_ms) == (10, 19)


# Versions, dead letters, outputs


def test_the_last_version_is_that_of_the_learn_log(tmp_path: Path) -> None:
    config = configured(tmp_path)
    write(tmp_path, "predictions", [prediction("a", "m@0-aaaaaaaaaaaa")])
    write(
        tmp_path,
        "learn_log",
        [
            learned("m@1-bbbbbbbbbbbb"),
            learned("m@1-cccccccccccc", "control"),
            learned("m@2-dddddddddddd"),
        ],
    )
    model = one(summarize(config))
    assert (model.learned, model.version) == (2, "m@2-dddddddddddd")


def test_without_a_learn_log_the_last_version_is_that_of_the_predictions(tmp_path: Path) -> None:
    config = configured(tmp_path, outputs=("predictions",))
    write(tmp_path, "predictions", [prediction("a"), prediction("b", "m@1-bbbbbbbbbbbb")])
    model = one(summarize(config))
    assert (model.learned, model.version) == (None, "m@1-bbbbbbbbbbbb")


def test_lanes_are_counted_and_have_no_one_last_version(tmp_path: Path) -> None:
    config = configured(tmp_path, job='lane_by = "shop"')
    write(tmp_path, "predictions", [prediction(str(n), lane="xyx"[n]) for n in range(3)])
    model = one(summarize(config))
    assert (model.predictions, model.lanes, model.version) == (3, 2, None)


def test_dead_letters_are_counted_by_reason_the_commonest_first(tmp_path: Path) -> None:
    config = configured(tmp_path)
    reasons = ["bad_ts", "not_json", "not_json"]
    write(tmp_path, "dead_letters", [{"reason": reason} for reason in reasons])
    summary = summarize(config)
    assert list((summary.dead_letters or {}).items()) == [("not_json", 2), ("bad_ts", 1)]
    assert "dead letters: 2 not_json, 1 bad_ts\n" in printed(summary)


def test_part_files_are_summed_up_and_unfinished_ones_left_out(tmp_path: Path) -> None:
    config = configured(tmp_path)
    write(tmp_path, "predictions", [prediction("a")], "part-0-0")
    write(tmp_path, "predictions", [prediction("b")], "part-0-1")
    write(tmp_path, "predictions", [prediction("c")], ".part-0-2.jsonl.inprogress.x")
    assert one(summarize(config)).predictions == 2


def test_before_anything_is_written_all_counts_are_zero(tmp_path: Path) -> None:
    summary = summarize(configured(tmp_path))
    model = one(summary)
    assert (model.predictions, model.learned, model.labelled, model.assumed) == (0, 0, 0, 0)
    assert (model.without_label, model.delay_median_ms, model.metrics) == (None, None, {})
    assert summary.dead_letters == {}
    assert "dead letters: none\n" in printed(summary)


def test_what_is_not_written_to_files_is_unknown(tmp_path: Path) -> None:
    summary = summarize(configured(tmp_path, outputs=()))
    model = one(summary)
    assert (model.predictions, model.learned, model.labelled, model.version) == (None,) * 4
    assert (summary.dead_letters, summary.outputs) == (None, {})
    assert "dead letters" not in printed(summary)


def test_a_summary_is_json(tmp_path: Path) -> None:
    config = configured(tmp_path)
    write(tmp_path, "evaluations", [evaluation("a", True, True, delay_ms=7)])
    summary = summarize(config)
    assert msgspec.json.decode(msgspec.json.encode(summary), type=Summary) == summary


def test_the_table_shows_every_model_and_where_the_outputs_lie(tmp_path: Path) -> None:
    config = configured(tmp_path, names=("m", "n"))
    write(tmp_path, "predictions", [prediction("a"), prediction("b"), prediction("a", model="n")])
    write(tmp_path, "evaluations", [evaluation("a", True, True, delay_ms=5_400_000)])
    lines = words(summarize(config))
    assert lines[0] == ["j", "m", "n"]
    assert ["predictions", "2", "1"] in lines
    assert ["label", "delay", "90.0", "min", "(p95", "90.0", "min)"] in lines
    assert ["accuracy", "100.00%"] in lines
    # A long path is broken where the line ends.
    shown = "".join(printed(summarize(config)).split())
    assert f"evaluations{tmp_path / 'out' / 'evaluations'}" in shown


def test_an_output_below_the_current_folder_is_shown_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = summarize(configured(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert ["predictions", "out/predictions"] in words(summary)

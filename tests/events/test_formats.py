"""docs/formats.md is what the code says, and the structs are what the design says."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from events import formats, messages
from events.reasons import Reason, Stage
from state.learnlog import Entry, encode_entry, entry_of_record, log_record

RECORDS = {
    messages.FeatureEvent: "id features ts",
    messages.LabelEvent: "id label ts weight",
    messages.LabelledEvent: "id features label ts weight",
    messages.Prediction: (
        "id model lane version serving prediction event_time predicted_at input "
        "probabilities score error reemit"
    ),
    messages.Evaluation: (
        "id model lane version prediction label event_time label_time delay_ms source late leaked "
        "probabilities score"
    ),
    messages.LearnLogRecord: (
        "kind model lane n id features label weight source event_time op seq parent version head "
        "erased"
    ),
    messages.DeadLetter: "stage source position id model reason detail raw at",
    messages.ControlPayload: (
        "job issuer seq op model task role spec artifact from_version version weights "
        "feed_from effective_at expires_at"
    ),
    messages.SignedControl: "payload key_id signature",
    messages.ControlAck: "issuer seq op model accepted reason version at",
    messages.Metrics: (
        "monitor model role scope version id clock n metrics begin end closed predicted labelled "
        "assumed late corrected leaked unlabelled rate delay_ms versus"
    ),
    messages.Delays: "mean p50 p90 p99 max",
    messages.Versus: "model n wins losses difference low high verdict",
    messages.DataQuality: ("monitor clock n of_reference missing new out_of_range other_type"),
    messages.Alert: (
        "alert kind model lane detail id event_time at monitor role on feature detector before "
        "after fresh usual_version"
    ),
    messages.FreshData: "id event_time until count",
    messages.QueuedRecord: (
        "kind id time features label weight label_time source late last input position "
        "replaces replaces_assumed"
    ),
    messages.PublishedVersion: "id manifest key_id signature",
    messages.PublishedManifest: (
        "job model version head n created learned_to view label_type names environment pieces parts"
    ),
    messages.PublishedPart: "id version created data",
}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_a_record_has_these_fields_in_this_order(record: type[msgspec.Struct]) -> None:
    assert " ".join(record.__struct_fields__) == RECORDS[record]


def test_the_page_in_docs_is_up_to_date() -> None:
    assert formats.main(["--check"]) == 0


def test_a_stale_page_is_found_and_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "formats.md"
    monkeypatch.setattr(formats, "PAGE", page)
    assert formats.main(["--check"]) == 1
    assert not page.exists()
    page.write_text(formats.page() + "\n")
    assert formats.main(["--check"]) == 1
    assert capsys.readouterr().err.count("is stale;") == 2
    assert formats.main([]) == 0
    assert formats.main(["--check"]) == 0


def test_every_meaning_is_used() -> None:
    used = {
        f"{record.__name__}.{field}" if f"{record.__name__}.{field}" in formats.MEANINGS else field
        for record in RECORDS
        for field in record.__struct_fields__
    }
    assert used == formats.MEANINGS.keys()


def test_the_page_has_every_stage_and_reason() -> None:
    page = formats.page()
    assert re.findall(r"^\| `(\w+)` \| [^|]+ \|$", page, re.MULTILINE) == list(Reason)
    assert "Stages: `decode`, `join`, `predict`, `learn`, `control`, `alert`." in page
    assert len(Stage) == 6


def schema_of(record: type[msgspec.Struct]) -> dict[str, Any]:
    schemas = map(json.loads, re.findall(r"```json\n(.*?)```", formats.page(), re.DOTALL))
    found = [schema for schema in schemas if schema["$ref"] == f"#/$defs/{record.__name__}"]
    assert len(found) == 1
    return found[0]["$defs"]


def test_a_schema_says_what_the_decoder_demands() -> None:
    schema = schema_of(messages.LabelEvent)["LabelEvent"]
    assert schema["required"] == ["id", "label", "ts"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["id"] == {"type": "string", "minLength": 1}
    assert schema["properties"]["ts"] == {
        "type": "integer",
        "minimum": -(2**63),
        "maximum": 2**63 - 1,
    }
    assert schema["properties"]["weight"]["anyOf"] == [
        {"type": "integer", "exclusiveMinimum": 0},
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "null"},
    ]
    label = schema["properties"]["label"]["anyOf"]
    assert [kind["type"] for kind in label] == ["boolean", "integer", "number", "string"]


def test_a_schema_lists_the_reasons() -> None:
    definitions = schema_of(messages.DeadLetter)
    assert definitions["Reason"]["enum"] == sorted(Reason)
    assert definitions["Stage"]["enum"] == sorted(Stage)


def test_the_learn_log_is_written_in_the_format() -> None:
    entry = encode_entry(
        Entry(
            "example", "m", "shop 7", 1, "t1", msgspec.Raw(b'{"b":1,"a":",\\"parent\\":"}'),
            True, 2.5, "label", 5,
        )
    )  # fmt: skip
    text = log_record(entry, "m/shop%207@0-000000000000", "m/shop%207@1-111111111111", b"\x11" * 32)
    assert [*json.loads(text), "erased"] == RECORDS[messages.LearnLogRecord].split()
    record = msgspec.json.decode(text, type=messages.LearnLogRecord)
    assert record.features == {"b": 1, "a": ',"parent":'}
    assert (record.n, record.weight, record.op, record.seq) == (1, 2.5, None, None)
    assert record.head == "11" * 32
    # as docs/formats.md says it
    end = text.rindex(',"parent":')
    assert text[:end].encode() + b"}" == entry == entry_of_record(text)

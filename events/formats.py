"""Writes docs/formats.md from the structs and closed lists: `python -m events.formats`.

With `--check` it writes nothing and ends with exit code 1 if the file is not what it would write.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct, inspect

from events import messages
from events.reasons import Reason, Stage

PAGE: Final = Path(__file__).parents[1] / "docs" / "formats.md"

# What a field means wherever it stands, and, under `Record.field`, where it means something else.
MEANINGS: Final = {
    "id": "The transaction's id, a string that is not empty.",
    "features": "Name -> value. Null is a missing feature and is left out. The order is part of the data.",
    "ts": "Time of the event.",
    "label": "The truth.",
    "weight": "Multiplies the example's influence, where the model takes a weight; left out or null: 1.",
    "model": "Name of the model.",
    "lane": "Value of the feature that `lane_by` names, as text; null without lanes.",
    "version": "The version that made the prediction.",
    "serving": "Whether the model is the champion.",
    "prediction": "A label (classification), a number (regression), or null where the model has no answer yet.",
    "event_time": "Time of the features.",
    "predicted_at": "Time at which the prediction was made, by the clock.",
    "input": (
        "What was predicted on: SHA-256 in hex of the id's UTF-8, a NUL byte and the features' compact "
        "JSON, nulls left out, in the order received."
    ),
    "probabilities": (
        "Classification only: label -> probability. `{}` from a model that knows no label yet; null from "
        "one that has no probabilities, or that failed."
    ),
    "score": "Anomaly only: the higher, the stranger. Null if the model failed.",
    "error": "Only if predicting failed: why. The prediction is null then.",
    "reemit": "Only on a prediction made anew after its label was learned (`reemit = true`): true.",
    "label_time": "Time of the label.",
    "delay_ms": "`label_time` - `event_time`, in milliseconds.",
    "source": (
        "`label`: the first true label. `assumed`: none came in time. `correction`: a true label after "
        "another or an assumed one."
    ),
    "late": "The label came later than `label_timeout` after the features.",
    "leaked": "The version had already learned this label; such an evaluation is left out of metrics.",
    "kind": (
        "`example`: it learned. `control`: an operation changed it. `environment`: it was restored under "
        "another Python, River, numpy or CPU. `request`: being asked changed it."
    ),
    "n": "Examples in this state of the model, this one included.",
    "op": "The operation.",
    "seq": "Rises with every message of an issuer.",
    "parent": "The version before.",
    "head": "Head of the chain after this entry, 64 hex digits.",
    "erased": (
        "Only where the contents were erased: SHA-256 of the entry's bytes, in hex. It stands before "
        "`parent`; what it stands for is null."
    ),
    "stage": "Where it was refused; see [stages](#stages-and-reasons).",
    "position": "Where it stands there: `file:line`, or `topic-partition-offset`.",
    "reason": "Why; see [reasons](#stages-and-reasons).",
    "detail": "Why, in a sentence with names and values.",
    "raw": (
        "Its text, cut at `[limits] raw_bytes`; `base64:` and Base64 where the bytes are not UTF-8; null "
        "if it had none."
    ),
    "at": "Time of the clock.",
    "job": "Name of the job.",
    "issuer": "Who says it.",
    "task": "`deploy`: what the model is asked.",
    "ControlPayload.role": "`deploy`: its role.",
    "spec": "`deploy`: the model, as in the configuration; or `artifact` or `from_version`.",
    "artifact": "`deploy`: a saved version.",
    "from_version": "`deploy`: a version of this job.",
    "feed_from": (
        "`deploy` of a spec: it learns at once what is retained of the champion's examples whose event time "
        "is this or later."
    ),
    "weights": "`split`: model -> share of the requests.",
    "effective_at": "From which event time on; left out: at once.",
    "expires_at": "Not to be accepted after this time of the clock.",
    "payload": "The exact JSON text of a control payload; what is signed.",
    "key_id": "Which key signed.",
    "signature": "Ed25519 over `riverrun-control-v1`, a NUL byte and the payload.",
    "accepted": "Whether it takes effect.",
    "LearnLogRecord.id": "The transaction; null where there is none.",
    "LearnLogRecord.features": "What was learned or asked, as the model was given it.",
    "LearnLogRecord.label": "What was learned; null where nothing was, or without a label.",
    "LearnLogRecord.weight": "Its weight; null: 1.",
    "LearnLogRecord.source": (
        "As in an evaluation, or `arrival`: an anomaly detector learned when it scored. Null where nothing "
        "was learned."
    ),
    "LearnLogRecord.op": (
        "`control`: the operation. `environment`: JSON text of the new versions. Null otherwise."
    ),
    "LearnLogRecord.seq": "`control`: the message's; null if no message asked for it.",
    "LearnLogRecord.version": "The version after.",
    "DeadLetter.id": "The transaction, where it can be read.",
    "DeadLetter.model": "The model that failed on it; null before it reached one.",
    "DeadLetter.source": (
        "The input that it came by: `features`, `labels` or `control`; null for an alert."
    ),
    "last": "No other label of the transaction can come.",
    "manifest": "What is signed.",
    "created": "When it was published; rises with every version that a model's learner publishes.",
    "learned_to": "Offset in the learn queue of the last record that it knows; -1 before the first.",
    "view": "Whether only what predicting needs was published, in pieces; else the whole model.",
    "label_type": "Type of the model's labels; null before the first.",
    "names": "Names that the model has met, where new ones change it.",
    "environment": "Under what it was made.",
    "pieces": "Bytes of each pickle, in order.",
    "parts": "SHA-256 of each part, in hex; they hold the pieces, one behind the other, compressed.",
    "data": "Some of the bytes, in Base64.",
    "QueuedRecord.kind": (
        "`example`: a label. `request`: for models that learn when a transaction arrives. `forget`: no "
        "label can come any more."
    ),
    "QueuedRecord.time": "Time of the features.",
    "QueuedRecord.features": "As the model is given them; null: nothing is to be learned.",
    "QueuedRecord.weight": "Its weight; null: 1.",
    "replaces": "The label that a correction takes the place of.",
    "replaces_assumed": "Whether that was assumed only.",
    "QueuedRecord.input": "The input that it came by.",
    "PublishedVersion.id": "`MODEL/SLOT`, the record's key; a model has two slots, written in turn.",
    "PublishedVersion.signature": "Ed25519 over `riverrun-published-v1`, a NUL byte and the manifest.",
    "PublishedManifest.version": "Its name.",
    "PublishedManifest.head": "Head of its chain, 64 hex digits.",
    "PublishedManifest.n": "Examples in this state.",
    "PublishedPart.id": "`MODEL/SLOT/NUMBER`, the record's key.",
    "PublishedPart.version": "The version that it is of.",
    "PublishedPart.created": "As in its manifest.",
    "alert": "Its own id: an alert that is delivered again has the same.",
    "monitor": "Name of the monitor.",
    "role": "The model's role when it predicted.",
    "on": "What changed.",
    "feature": "Name of the feature.",
    "detector": "River's class that noticed.",
    "before": "Mean before the change; of data quality the share of transactions before.",
    "after": "Mean, or share, since.",
    "fresh": "The data since the change, as far as it is remembered.",
    "usual_version": "The version that predicted last before the change.",
    "until": "Time of the last transaction.",
    "count": "How many values.",
    "mean": "Their mean.",
    "p50": "Median, an estimate.",
    "p90": "90th percentile, an estimate.",
    "p99": "99th percentile, an estimate.",
    "max": "The longest.",
    "wins": "Where this model's loss was the smaller.",
    "losses": "Where it was the larger.",
    "difference": "Mean of this model's loss less the champion's; below 0 this one is better.",
    "low": "Lower end of the interval; null before 100 transactions.",
    "high": "Its upper end.",
    "verdict": "`better`, `worse`: the whole interval lies on one side of 0.",
    "scope": "What the metrics are over.",
    "clock": "The highest time of transactions and labels so far.",
    "metrics": "Name of River's metric -> value; null where there is none yet.",
    "begin": "`event_time`: from this time of transactions on.",
    "end": "`event_time`: and before this.",
    "closed": "`event_time`: no label can come any more.",
    "predicted": "Transactions predicted.",
    "labelled": "Of these, those with a true label.",
    "assumed": "Those with an assumed label only.",
    "corrected": "Labels that took the place of another.",
    "unlabelled": "Share of the predictions without a true label.",
    "rate": "Anomaly only: share of the scores above the monitor's `threshold`.",
    "versus": "Beside the champion, on the same transactions.",
    "of_reference": "Transactions that the reference was made of.",
    "missing": "Feature -> transactions without it, though the reference always had it.",
    "new": "Feature -> transactions with it, though the reference never had it.",
    "out_of_range": "Feature -> transactions where it lay outside its range there.",
    "other_type": "Feature -> transactions where it had another type.",
    "Alert.kind": (
        "`suspended`, `failing`: a model kept failing. `drift`: something changed. `data_quality`: features "
        "are not what they were. `recovered`: one of these is over."
    ),
    "Alert.id": "The transaction at which it was noticed.",
    "Alert.model": "Null where it is about the data.",
    "Alert.event_time": "Time of that transaction.",
    "FreshData.id": "The first transaction of it.",
    "FreshData.event_time": "Time of that transaction.",
    "Versus.model": "The champion.",
    "Versus.n": "Transactions that both answered.",
    "Metrics.version": "The version last asked or evaluated.",
    "Metrics.id": "The transaction last predicted or evaluated.",
    "Metrics.n": "Evaluations that the metrics are of.",
    "Metrics.late": "Labels that came later than `label_timeout`.",
    "Metrics.leaked": "Labels that the version had already learned; no metric counts them.",
    "Metrics.delay_ms": "How long true labels took.",
    "DataQuality.n": "Transactions since the last such record.",
    "ControlPayload.version": "`rollback`, `pin`: the version.",
    "ControlAck.reason": "Why not; null if accepted.",
    "ControlAck.version": "The version that it led to; null with lanes, or if refused.",
}


class _Section(NamedTuple):
    title: str
    record: type[Struct]
    text: str = ""


_INPUTS: Final = (
    _Section("Feature event", messages.FeatureEvent),
    _Section("Label event", messages.LabelEvent),
    _Section("Both at once", messages.LabelledEvent),
)
_OUTPUTS: Final = (
    _Section("Prediction", messages.Prediction),
    _Section("Evaluation", messages.Evaluation),
    _Section(
        "Learn log",
        messages.LearnLogRecord,
        "Fields stand in this order. See [the chain](#the-chain) for what can be checked with it.",
    ),
    _Section("Dead letter", messages.DeadLetter),
)
_CONTROL: Final = (
    _Section("Control payload", messages.ControlPayload),
    _Section(
        "Signed control message",
        messages.SignedControl,
        "The same issuer, seq and payload again gets the first acknowledgement again; the same seq with "
        "another payload is refused as `seq_conflict`.",
    ),
    _Section("Control acknowledgement", messages.ControlAck),
)
_MONITORING: Final = (
    _Section("Metrics", messages.Metrics),
    _Section("Delays", messages.Delays),
    _Section("Beside the champion", messages.Versus),
    _Section("Data quality", messages.DataQuality),
    _Section("Alert", messages.Alert),
    _Section("Fresh data", messages.FreshData),
)
_PUBLISHED: Final = (
    _Section("Learn queue", messages.QueuedRecord, "The record's key is `id`."),
    _Section("Published version", messages.PublishedVersion),
    _Section("Manifest", messages.PublishedManifest, "A part counts only behind its manifest."),
    _Section("Part", messages.PublishedPart),
)

_INTRODUCTION: Final = """\
<!-- Made by `python -m events.formats` from events/messages.py and events/reasons.py: change those. -->

# Formats

Every record is one JSON object: a line of a file, or the value of a Kafka record, in UTF-8 without a byte order mark.
Times are integers, milliseconds since 1970-01-01 UTC.

**Numbers.** An integer stays an integer, whatever its size (up to 4,300 digits); a float is a 64-bit float, read and
written without loss, `-0.0` included. NaN and infinities are not JSON. `1` and `1.0` are different things to a model and
are kept apart; so are `true` and `1`.

**Names.** Where a name stands twice in an object, every value must be valid, and the last counts. Half a surrogate pair
(`"\\ud800"`) is not text and is refused.

**Order.** The order of features as received is part of the data: some models depend on it. It is never sorted.

**Unknown fields** make an input record a dead letter, unless `[events] allow_extra = true`; then they are ignored, but the
record must still be JSON, in UTF-8, and no deeper than `[limits] depth`. Outputs may get new fields in later releases.

**A label as the key of an object** (in `probabilities`) is a string as it is, any other label as its JSON text: `"true"`,
`"3"`, `"0.5"`. It is written in the type that the model's labels have.

What River answers is written as it is: None is null, and `{}` stays `{}`.

## Versions

A version is a model after exactly these entries of its log. Its name is `NAME@N-HEX`, with lanes `NAME/LANE@N-HEX`: the
model, the lane percent-encoded, the number N of examples in this state, and the first 12 of the 64 hex digits of its head.
A rollback sets N back, but what is learned from there on has other heads, hence other names.

## The chain

Each model (in each lane) has a chain of heads over its learn log:

- `head_0` is the SHA-256 of its genesis: the compact JSON of `{"lane": ..., "model": ..., "spec": ...}` with the keys of
  every object in it sorted. `spec` is the spec as stored, seeds filled in, or `{"pickle": ...}` with the SHA-256 of a
  pickled River object.
- An entry's bytes are the UTF-8 text of its learn log record up to, not including, the last `,"parent":`, closed with `}`.
- `head_k` is the SHA-256 of the 32 bytes of `head_(k-1)` followed by the 32 bytes of the SHA-256 of the entry's bytes.
- A record with `erased` has that SHA-256 there, in place of the contents that it was made of.

So the log alone, as text, proves its own order, and a version's name says which log it comes from. An attempt that was
given up after a failure can show in an at-least-once output as a fork: two entries with one parent, of which one goes on.
"""


def page() -> str:
    """The text of docs/formats.md."""
    parts = [_INTRODUCTION]
    for title, sections in (
        ("Input", _INPUTS),
        ("Output", _OUTPUTS),
        ("Control", _CONTROL),
        ("Monitoring", _MONITORING),
        ("Published mode", _PUBLISHED),
    ):
        parts.append(f"## {title}\n")
        parts += map(_section, sections)
    parts.append(_closed_lists())
    return "\n".join(parts)


def _section(section: _Section) -> str:
    info = inspect.type_info(section.record)
    assert isinstance(info, inspect.StructType)
    name = section.record.__name__
    rows = [
        f"| `{field.encode_name}` | {_words(field.type)} | {'yes' if field.required else 'no'} "
        f"| {MEANINGS.get(f'{name}.{field.name}') or MEANINGS[field.name]} |"
        for field in info.fields
    ]
    schema = json.dumps(msgspec.json.schema(section.record), indent=2, ensure_ascii=False)
    text = " ".join(
        [*" ".join((section.record.__doc__ or "").split()).split(), section.text]
    ).strip()
    return "\n".join(
        [
            f"### {section.title}\n",
            f"{text}\n",
            "| field | type | always there | meaning |",
            "|---|---|---|---|",
            *rows,
            "\n<details><summary>JSON Schema</summary>\n",
            f"```json\n{schema}\n```\n",
            "</details>\n",
        ]
    )


def _closed_lists() -> str:
    return "\n".join(
        [
            "## Stages and reasons\n",
            "Both lists are closed: a release that adds to one says so.\n",
            f"Stages: {', '.join(f'`{stage}`' for stage in Stage)}.\n",
            "| reason | meaning |",
            "|---|---|",
            *(f"| `{reason}` | {reason.description} |" for reason in Reason),
            "",
        ]
    )


def _words(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata():
            return _words(kind.type)
        case inspect.UnionType():
            *others, last = dict.fromkeys(map(_words, kind.types))
            return f"{', '.join(others)} or {last}" if others else last
        case inspect.NoneType():
            return "null"
        case inspect.BoolType():
            return "boolean"
        case inspect.IntType():
            return "integer"
        case inspect.FloatType():
            return "number"
        case inspect.StrType():
            return "string"
        case inspect.LiteralType():
            return ", ".join(f"`{value}`" for value in kind.values)
        case inspect.ListType():
            return f"array, each {_words(kind.item_type)}"
        case inspect.EnumType():
            return f"a {kind.cls.__name__.lower()}"
        case inspect.DictType() if isinstance(kind.value_type, inspect.AnyType):
            return "object"
        case inspect.DictType():
            return f"object ({_words(kind.value_type)})"
        case inspect.AnyType():
            return "any"
        case inspect.StructType():
            return "object"
        case _:
            raise TypeError(f"no words for {kind}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m events.formats", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the file is stale")
    check: Any = parser.parse_args(argv).check
    if not check:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(f"{PAGE} is stale; run `python -m events.formats`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

"""The closed lists of stages and reasons of a dead letter."""

from enum import StrEnum
from typing import Self


class Stage(StrEnum):
    """Where a record was refused."""

    DECODE = "decode"
    JOIN = "join"
    PREDICT = "predict"
    LEARN = "learn"
    CONTROL = "control"


class Reason(StrEnum):
    """Why a record was refused; the text after each is docs/formats.md's."""

    description: str

    def __new__(cls, value: str, description: str) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        return member

    NO_VALUE = "no_value", "the record has no value (a Kafka tombstone)"
    EMPTY = "empty", "the record is empty or white space"
    TOO_LARGE = "too_large", "the record has more bytes than `[limits] record_bytes`"
    NOT_UTF8 = "not_utf8", "the record is not UTF-8"
    NOT_JSON = "not_json", "the record is not JSON"
    NOT_FINITE = "not_finite", "a number is NaN or infinite, which JSON does not have"
    NOT_OBJECT = "not_object", "the record is JSON, but not an object"
    TOO_DEEP = "too_deep", "nested deeper than `[limits] depth`"
    UNKNOWN_FIELD = "unknown_field", "a field that no event has (`[events] allow_extra`)"
    BAD_FIELD = "bad_field", "a field is missing or of the wrong type"
    NO_EVENT = "no_event", "neither features nor a label"
    TOO_MANY_FEATURES = "too_many_features", "more features than `[limits] features`"
    NAME_TOO_LONG = "name_too_long", "an id or a feature name longer than `[limits] name_length`"
    SCHEMA = "schema", "the features break `[features.schema]`"
    MISSING_LANE = "missing_lane", "the features lack the one that `lane_by` names"
    BAD_TS = "bad_ts", "the time lies outside [`min_ts`, now + `max_future`]"
    OUT_OF_ORDER = (
        "out_of_order",
        "further behind its own partition's highest time than `max_out_of_orderness`",
    )
    KEY_MISMATCH = "key_mismatch", "the record's decoded id is not the key it was routed by"

    DUPLICATE_FEATURES = (
        "duplicate_features",
        "a second, different feature event of a transaction",
    )
    ORPHAN_LABEL = "orphan_label", "no features came for this label within `retention`"
    LATE_LABEL = "late_label", 'later than `label_timeout`, and `late_labels = "drop"`'
    CONFLICTING_LABEL = (
        "conflicting_label",
        'another label than the first, and `corrections = "ignore"`',
    )

    PREDICT_FAILED = "predict_failed", "the model raised while predicting"
    PREDICTION_NOT_FINITE = "prediction_not_finite", "the model answered NaN or an infinity"

    LEARN_FAILED = "learn_failed", "the model raised while learning"
    LABEL_TYPE = "label_type", "the label is not of the type of the model's labels"
    MODEL_FROZEN = "model_frozen", "the model failed too often and learns no more"

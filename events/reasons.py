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
    ALERT = "alert"


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

    NO_MODEL = "no_model", "there is no model to ask, and none came within `hold_limit`"

    WRONG_JOB = "wrong_job", "the control message is for another job"
    UNSIGNED = "unsigned", "not signed, and `require_signatures = true`"
    UNKNOWN_KEY = "unknown_key", "signed by a key that is not among `trusted_keys`"
    BAD_SIGNATURE = "bad_signature", "the signature is not one of this payload"
    WRONG_ISSUER = "wrong_issuer", "the key signs for another issuer"
    SEQ_CONFLICT = "seq_conflict", "another payload of this issuer had this `seq`"
    STALE_SEQ = "stale_seq", "`seq` is not above the issuer's last one"
    EXPIRED = "expired", "`expires_at` has passed"
    TOO_LATE = "too_late", "event time has passed `effective_at`"
    UNKNOWN_MODEL = "unknown_model", "no model of this name is deployed"
    ALREADY_DEPLOYED = "already_deployed", "a model of this name is deployed"
    UNKNOWN_VERSION = "unknown_version", "the version is not, or no longer, retained"
    BAD_SPEC = "bad_spec", "no model can be made of the spec, or it fails when tried"
    BAD_ARTIFACT = "bad_artifact", "the artifact cannot be read, or no trusted key has signed it"
    BAD_SPLIT = "bad_split", "the weights do not sum to 100, or name a model that may not serve"
    NOT_APPLICABLE = "not_applicable", "the model is not in a state for this operation"

    ALERT_REFUSED = "alert_refused", "the receiver of a webhook turned the alert down"
    ALERT_UNDELIVERED = (
        "alert_undelivered",
        "too many alerts waited for the receiver, or the input ended before it took this one",
    )

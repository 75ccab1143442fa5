"""What MLflow runs to load a version: this file is stored beside the artifact, and stands alone.

It needs MLflow, pandas and River; of this project nothing. MLflow runs it as it stands ("models from
code"), and calls `load_context` and `predict` of the object that is set as the model at its end.
"""

import base64
import hashlib
import json
import math
import pickle
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel
from river import base

READABLE_FORMATS = (1, 2)
SIGNED_FOR = b"riverrun-version-v1\0"

Row = dict[str, Any]
Said = dict[str, Any]


class Predicting:
    """One version of a model; it never learns, and no prediction changes what the next one says."""

    def load_context(self, context: Any) -> None:
        """Read the artifact, and check its digest before anything is unpickled.

        Where the model config has `trusted_keys`, entries as of `[security] trusted_keys`, one of them
        must have signed it.

        Raises
        ------
        ValueError
            It was changed, has a format that is not known, or no trusted key has signed it.
        """
        config = context.model_config or {}
        self._manifest, self._pickled = read(
            context.artifacts["version"], config.get("trusted_keys") or ()
        )
        self._model = pickle.loads(self._pickled)

    # MLflow would make a schema of a type of `model_input`, and warns where it cannot.
    def predict(  # type: ignore[no-untyped-def]
        self, context: Any, model_input, params: Any = None
    ) -> pd.DataFrame:
        """One row for each row of the input.

        Parameters
        ----------
        model_input : DataFrame or list of dict
            A feature is missing where the cell is None or NaN. Features are given to the model in the
            order of the columns, or of the dict.

        Returns
        -------
        DataFrame
            `prediction`, and `probabilities` (a dict, label -> probability) of a classifier, or
            `score` of an anomaly detector, in the index of the input.
        """
        index = model_input.index if isinstance(model_input, pd.DataFrame) else None
        said = [self._say(row) for row in rows(model_input)]
        columns = {
            "classification": ["prediction", "probabilities"],
            "regression": ["prediction"],
            "anomaly": ["prediction", "score"],
        }[self._manifest["task"]]
        found = {name: pd.Series([each[name] for each in said], index, object) for name in columns}
        return pd.DataFrame(found, index).infer_objects()

    def _say(self, row: Row) -> Said:
        if self._changed_by(row):
            return answer(pickle.loads(self._pickled), self._manifest, row)
        return answer(self._model, self._manifest, row)

    def _changed_by(self, row: Row) -> bool:
        """Whether being asked may change the model, which then is a copy for this row alone."""
        purity, names = self._manifest["purity"], set(self._manifest["names"])
        return purity != "pure" and (
            purity != "names" or not names or not names.issuperset(names_in(row))
        )


class Version(Predicting, PythonModel):
    """As MLflow takes it.

    MLflow wraps a `predict` that stands in the class itself in a conversion of its input by a schema,
    which would put columns in another order and make floats of integers.
    """


# Reading the artifact


def read(path: str, trusted: Iterable[str]) -> tuple[dict[str, Any], bytes]:
    """Manifest and pickled model of an artifact whose digest, and signature, were checked."""
    with zipfile.ZipFile(path) as archive:
        text, pickled = archive.read("manifest.json"), archive.read("model.pickle")
        signed = archive.read("signature.json") if "signature.json" in archive.namelist() else None
    manifest = json.loads(text)
    if manifest["format"] not in READABLE_FORMATS:
        raise ValueError(f"the artifact has format {manifest['format']}, which is not known here")
    if hashlib.sha256(pickled).hexdigest() != manifest["sha256"]:
        raise ValueError("the artifact was changed: its model is not the one its manifest names")
    keys = list(trusted)
    if keys and signed is None:
        raise ValueError("the artifact is not signed, and trusted_keys asks for it")
    if keys and signed is not None and not is_signed(text, json.loads(signed), keys):
        raise ValueError("the artifact is signed by none of trusted_keys")
    return manifest, pickled


def is_signed(text: bytes, signature: dict[str, str], keys: Iterable[str]) -> bool:
    """Whether one of these public keys, `BASE64` or `ISSUER:BASE64`, made the signature."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    for entry in keys:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(entry.rpartition(":")[2]))
        try:
            public.verify(base64.b64decode(signature["signature"]), SIGNED_FOR + text)
        except InvalidSignature:
            continue
        return True
    return False


# Rows


def rows(model_input: Any) -> Iterator[Row]:
    """The features of each row, as Python's own numbers, what is missing left out."""
    if isinstance(model_input, pd.DataFrame):
        names = list(model_input.columns)
        if len(set(names)) < len(names):
            raise ValueError(f"two columns have one name: {names}")
        # By column, so that an integer beside a float stays one.
        columns = [model_input[name].tolist() for name in names]
        for values in zip(*columns, strict=True) if names else ((),) * len(model_input):
            yield row_of(zip(names, values, strict=True))
    elif isinstance(model_input, list):
        for each in model_input:
            if not isinstance(each, dict):
                raise TypeError(f"a row is a {type(each).__name__}; a dict is expected")
            yield row_of(each.items())
    else:
        kind = type(model_input).__name__
        raise TypeError(f"the input is a {kind}; a DataFrame or a list of dicts is expected")


def row_of(cells: Iterable[tuple[Any, Any]]) -> Row:
    """The features of one row."""
    row = {}
    for name, cell in cells:
        value = cell.item() if type(cell).__module__ == "numpy" else cell
        if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
            continue
        if not isinstance(name, str) or not isinstance(value, (bool, int, float, str)):
            raise TypeError(
                f"feature {name!r} is {value!r}: a name that is a string, and a boolean, number or "
                "string, are expected"
            )
        row[name] = value
    return row


def names_in(row: Row) -> list[str]:
    """What the manifest calls the names of a row: a text is part of the name."""
    return [
        f"{len(name)}:{name}={value}" if isinstance(value, str) else f"{len(name)}:{name}"
        for name, value in row.items()
    ]


# Asking, as riverrun's job asks


def answer(model: Any, manifest: dict[str, Any], row: Row) -> Said:
    """What the model says of a row, labels in the type that they have in the data."""
    label_type = manifest["label_type"]
    if manifest["task"] == "regression":
        return {"prediction": as_label(plain(model.predict_one(row)), label_type)}
    last = last_step(model)
    if manifest["task"] == "anomaly":
        score = plain(model.score_one(row))
        decided = plain(last.classify(score)) if isinstance(last, base.AnomalyFilter) else None
        return {"prediction": decided, "score": score}
    prediction, probabilities = classify(model, last, row)
    if probabilities is not None:
        probabilities = {as_label(label, label_type): p for label, p in probabilities.items()}
    return {"prediction": as_label(prediction, label_type), "probabilities": probabilities}


def classify(model: Any, last: Any, row: Row) -> tuple[Any, dict[Any, float] | None]:
    """The label, and the probabilities of all labels where the model has them."""
    if type(last).predict_proba_one is base.Classifier.predict_proba_one:
        return plain(model.predict_one(row)), None
    ask: Callable[[Row], dict[Any, float]] = model.predict_proba_one
    if type(last).predict_one is base.Classifier.predict_one:
        # It would be asked for its probabilities again.
        said = {plain(label): plain(p) for label, p in ask(row).items()}
        return max(said, key=lambda label: said[label]) if said else None, said
    prediction = plain(model.predict_one(row))
    try:
        said = ask(row)
    except NotImplementedError:  # a wrapper around a classifier without probabilities
        return prediction, None
    return prediction, {plain(label): plain(p) for label, p in said.items()}


def last_step(model: Any) -> Any:
    """The model itself, or the last step of the pipeline that it is."""
    while hasattr(model, "_last_step"):
        model = model._last_step
    return model


def plain(value: Any) -> Any:
    """A numpy scalar as Python's number of the same value."""
    return value.item() if type(value).__module__ == "numpy" else value


def as_label(value: Any, label_type: str | None) -> Any:
    """In the type that labels have: binary models say False and True whatever they learned from."""
    if label_type == "bool":
        return value == 1 if isinstance(value, (int, float)) and value in (0, 1) else value
    if isinstance(value, bool) and label_type in ("int", "number"):
        return int(value) if label_type == "int" else float(value)
    return value


set_model(Version())

"""Loads models as anyone would, where nothing of this project is installed, and asks them.

python load.py URI ASKED.json, a list of {"model": URI, "rows": [dict...], "trusted": [entry...]?};
prints a list of what each says of its rows as dicts, as a DataFrame, and as dicts again, or its error.
"""

import importlib.util
import json
import sys

import mlflow
import pandas as pd


def shown(answers: pd.DataFrame) -> list:
    return [
        [list(cell.items()) if isinstance(cell, dict) else cell for cell in row]
        for row in answers.astype(object).values.tolist()
    ]


def table(rows: list) -> pd.DataFrame:
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names}
    # As a file would be read: integers as integers, a number that is missing as NaN.
    return pd.DataFrame(columns).infer_objects()


def ask(model: str, rows: list, trusted: list) -> dict:
    config = {"model_config": {"trusted_keys": trusted}} if trusted else {}
    try:
        loaded = mlflow.pyfunc.load_model(model, **config)
    except ValueError as error:
        return {"error": str(error)}
    first = loaded.predict(rows)
    return {
        "columns": list(first.columns),
        "dicts": shown(first),
        "table": shown(loaded.predict(table(rows))),
        "again": shown(loaded.predict(rows)),
    }


def main() -> None:
    for name in ("jobs", "state", "models", "operators", "pyflink"):
        assert importlib.util.find_spec(name) is None, name
    mlflow.set_tracking_uri(sys.argv[1])
    with open(sys.argv[2], encoding="utf-8") as file:
        asked = json.load(file)
    print(json.dumps([ask(each["model"], each["rows"], each.get("trusted", [])) for each in asked]))


if __name__ == "__main__":
    main()

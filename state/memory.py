"""The state of one lane in plain dicts: what a backtest runs on, and what tests look into."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any


class MemoryStore:
    """A `operators.learning.Store` that ends with the process."""

    def __init__(self) -> None:
        self._models: dict[str, dict[str, Any]] = {}
        self._failures: dict[str, tuple[int, tuple[int, ...], bool]] = {}
        self._snapshots: dict[str, list[bytes]] = {}
        self._logs: defaultdict[str, list[bytes]] = defaultdict(list)
        self._predictions: dict[str, list[tuple[Any, ...]]] = {}

    def models(self) -> dict[str, dict[str, Any]]:
        return dict(self._models)

    def put_model(self, name: str, meta: dict[str, Any]) -> None:
        self._models[name] = meta

    def failures(self, name: str) -> tuple[int, tuple[int, ...], bool] | None:
        return self._failures.get(name)

    def put_failures(self, name: str, failures: tuple[int, tuple[int, ...], bool]) -> None:
        self._failures[name] = failures

    def snapshot(self, name: str, chunks: int) -> Iterable[bytes]:
        return self._snapshots[name][:chunks]

    def put_snapshot(self, name: str, chunks: list[bytes], replaced: int) -> None:
        self._snapshots[name] = chunks

    def log(self, name: str) -> Iterable[bytes]:
        return list(self._logs[name])

    def append(self, name: str, entry: bytes) -> None:
        self._logs[name].append(entry)

    def clear_log(self, name: str) -> None:
        self._logs[name].clear()

    def predictions(self, id: str) -> list[tuple[Any, ...]] | None:
        return self._predictions.get(id)

    def put_predictions(self, id: str, said: list[tuple[Any, ...]]) -> None:
        self._predictions[id] = said

    def forget(self, id: str) -> None:
        self._predictions.pop(id, None)

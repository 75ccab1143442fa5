"""The state of one lane in plain dicts: what a backtest runs on, and what tests look into."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any


class MemoryStore:
    """A `operators.learning.Store` that ends with the process."""

    def __init__(self) -> None:
        self._models: dict[str, dict[str, Any]] = {}
        self._failures: dict[str, tuple[Any, ...]] = {}
        self._snapshots: dict[tuple[str, int], list[bytes]] = {}
        self._logs: defaultdict[tuple[str, int], list[bytes]] = defaultdict(list)
        self._record: dict[str, Any] = {}
        self._held: dict[int, tuple[Any, ...]] = {}
        self._predictions: dict[str, list[tuple[Any, ...]]] = {}

    def models(self) -> dict[str, dict[str, Any]]:
        return dict(self._models)

    def put_model(self, name: str, meta: dict[str, Any]) -> None:
        self._models[name] = meta

    def remove_model(self, name: str) -> None:
        del self._models[name]
        self._failures.pop(name, None)

    def failures(self, name: str) -> tuple[Any, ...] | None:
        return self._failures.get(name)

    def put_failures(self, name: str, failures: tuple[Any, ...]) -> None:
        self._failures[name] = failures

    def snapshot(self, name: str, chunks: int, generation: int = 0) -> Iterable[bytes]:
        return self._snapshots[name, generation][:chunks]

    def put_snapshot(
        self, name: str, chunks: list[bytes], replaced: int, generation: int = 0
    ) -> None:
        self._snapshots[name, generation] = chunks
        if not chunks:
            del self._snapshots[name, generation]

    def log(self, name: str, slot: int = 0) -> Iterable[bytes]:
        return list(self._logs[name, slot])

    def append(self, name: str, entry: bytes, slot: int = 0) -> None:
        self._logs[name, slot].append(entry)

    def clear_log(self, name: str, slot: int = 0) -> None:
        self._logs[name, slot].clear()

    def record(self) -> dict[str, Any]:
        return self._record

    def put_record(self, record: dict[str, Any]) -> None:
        self._record = record

    def held(self, place: int) -> tuple[Any, ...]:
        return self._held[place]

    def put_held(self, place: int, item: tuple[Any, ...]) -> None:
        self._held[place] = item

    def remove_held(self, place: int) -> None:
        del self._held[place]

    def predictions(self, id: str) -> list[tuple[Any, ...]] | None:
        return self._predictions.get(id)

    def put_predictions(self, id: str, said: list[tuple[Any, ...]]) -> None:
        self._predictions[id] = said

    def forget(self, id: str) -> None:
        self._predictions.pop(id, None)

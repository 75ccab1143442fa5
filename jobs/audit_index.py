"""Predictions and features by number, and which of them belong together: 50 bytes of memory a record.

What belongs together is found by Python's own hash of names and ids, 64 bits, sorted; whoever uses it
compares the records themselves.
"""

import re
from array import array
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
from msgspec import Raw, Struct
from numpy.typing import NDArray

from events.decode import Decoder
from events.features import encode_features, input_digest
from events.messages import Event
from jobs.lines import Lines

Numbers = NDArray[np.int64]
Progress = Callable[[int], None]
EVERY = 10_000  # records between two calls of a progress function


class _Said(Struct):
    id: str
    model: str
    version: str
    event_time: int
    serving: bool
    reemit: bool = False


class Predictions:
    """Predictions, read once.

    Attributes
    ----------
    versions, transactions : arrays of int64
        Hashes of the version that made each, and of its transaction, id and time.
    models : list of str
        Names; `model` has the place of each one's there.
    reemit, serving : arrays of bool
    unreadable : list of (int, str)
        Numbers of what is no prediction, and why.
    """

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.models: list[str] = []
        self.unreadable: list[tuple[int, str]] = []
        self._places: dict[str, int] = {}
        self._versions = array("q")
        self._transactions = array("q")
        self._flags = array("b")
        self._models = array("h")
        self._numbers = array("q")

    def read(
        self, records: Iterator[tuple[int, bytes]], id: str | None, progress: Progress
    ) -> None:
        """Take them in, or those of one transaction id."""
        decode = msgspec.json.Decoder(_Said).decode
        for number, record in records:
            try:
                said = decode(record)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                self.unreadable.append((number, f"it is no prediction: {error}"))
                continue
            if id is not None and said.id != id:
                continue
            place = self._places.get(said.model)
            if place is None:
                place = self._places[said.model] = len(self.models)
                self.models.append(said.model)
            self._numbers.append(number)
            self._versions.append(hash(said.version))
            self._transactions.append(hash((said.id, said.event_time)))
            self._models.append(place)
            self._flags.append(said.reemit + 2 * said.serving)
            if number % EVERY == 0:
                progress(number)
        self.numbers = _array(self._numbers, "q")
        self.versions = _array(self._versions, "q")
        self.transactions = _array(self._transactions, "q")
        self.model = _array(self._models, "h")
        flags = _array(self._flags, "b")
        self.reemit = (flags & 1).astype(bool)
        self.serving = (flags & 2).astype(bool)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, place: int) -> bytes:
        return self.lines[self._numbers[place]]

    def position(self, place: int) -> str:
        """Where a prediction stands."""
        return self.lines.position(self._numbers[place])


# Features, the digest of erased ones, or a name written in a way of its own.
_MAY_MATTER = re.compile(rb'"features"|"erased"|\\u').search


class _Sent(Struct):
    id: str
    ts: int
    features: Raw = Raw()


class _Erased(Struct):
    erased: str


class Features:
    """Feature events, read once.

    Attributes
    ----------
    transactions, ids : arrays of int64
        Hashes of each one's id and time, and of its id.
    erased : set of str
        Digests that stand for features.
    """

    def __init__(self, lines: Lines, decoder: Decoder) -> None:
        self.lines = lines
        self.erased: set[str] = set()
        self._decoder = decoder
        self._transactions = array("q")
        self._ids = array("q")
        self._numbers = array("q")
        self._by_id: tuple[Numbers, Numbers] | None = None
        self._by_transaction: tuple[Numbers, Numbers] | None = None

    def read(
        self,
        records: Iterator[tuple[int, bytes]],
        id: str | None,
        accepts: Callable[[int], bool] | None,
        progress: Progress,
    ) -> None:
        """Take in what one file, folder or partition holds, or what it holds of one transaction id.

        Parameters
        ----------
        accepts
            Whether a record of this time, in its place, was taken by the join; None: wherever it is.
        """
        decode = msgspec.json.Decoder(_Sent).decode
        number_of, transaction_of, id_of = (
            self._numbers.append,
            self._transactions.append,
            self._ids.append,
        )
        for number, record in records:
            if number % EVERY == 0:
                progress(number)
            # Labels need not be read, but where their times count.
            if accepts is None and not _MAY_MATTER(record):
                continue
            try:
                sent = decode(record)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self._note_erased(record)
                continue
            if accepts is not None and not accepts(sent.ts):
                continue
            if not sent.features or (id is not None and sent.id != id):
                continue
            number_of(number)
            transaction_of(hash((sent.id, sent.ts)))
            id_of(hash(sent.id))

    def _note_erased(self, record: bytes) -> None:
        try:
            self.erased.add(msgspec.json.decode(record, type=_Erased).erased)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return  # no record of a transaction, and none was made of it

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def transactions(self) -> Numbers:
        return _array(self._transactions, "q")

    @property
    def ids(self) -> Numbers:
        return _array(self._ids, "q")

    def position(self, place: int) -> str:
        """Where a feature event stands."""
        return self.lines.position(self._numbers[place])

    def event(self, place: int) -> Event | None:
        """What it means; None where the join was never given it, or it has no features."""
        decoded = self._decoder.decode(self.lines[self._numbers[place]])
        return decoded if isinstance(decoded, Event) and decoded.features is not None else None

    def of_transaction(self, hashed: int) -> Iterator[int]:
        """Feature events with this hash of id and time, as they were read."""
        if self._by_transaction is None:
            self._by_transaction = sorted_hashes(self.transactions)
        return _equal(*self._by_transaction, hashed)

    def of_id(self, hashed: int) -> Iterator[int]:
        """Feature events with this hash of their id, as they were read."""
        if self._by_id is None:
            self._by_id = sorted_hashes(self.ids)
        return _equal(*self._by_id, hashed)

    def first_of(self, transactions: Numbers) -> Numbers:
        """For each transaction its first feature event; -1 where there is none."""
        if self._by_transaction is None:
            self._by_transaction = sorted_hashes(self.transactions)
        return first_equal(*self._by_transaction, transactions)

    def text(self, place: int, id: str, digest: str) -> bytes | None:
        """The text that a model was given, where its digest is this one."""
        raw = self.lines[self._numbers[place]]
        # As it came, if it came as it is written here: that saves reading and writing it.
        text = bytes(_read_features(raw).features)
        if input_digest(id, text) == digest:
            return text
        event = self.event(place)
        if event is None or event.features is None:
            return None
        text = encode_features(event.features)
        return text if input_digest(id, text) == digest else None


class _Given(Struct):
    features: Raw = Raw()


_read_features = msgspec.json.Decoder(_Given).decode


def first_equal(hashes: Numbers, order: Numbers, wanted: Numbers) -> Numbers:
    """For each of `wanted` the first place with that hash, -1 for none; `hashes` and `order` are sorted."""
    if not len(hashes):
        return np.full(len(wanted), -1, dtype=np.int64)
    at = np.searchsorted(hashes, wanted)
    at[at == len(hashes)] = 0
    return np.where(hashes[at] == wanted, order[at], -1)


def sorted_hashes(hashes: Numbers) -> tuple[Numbers, Numbers]:
    """In rising order, and the place of each; equal ones as they were."""
    order = np.argsort(hashes, kind="stable")
    return hashes[order], order


_sorted = sorted_hashes


def _equal(hashes: Numbers, order: Numbers, wanted: int) -> Iterator[int]:
    begin, end = (
        np.searchsorted(hashes, [wanted, wanted], "left")[0],
        np.searchsorted(hashes, wanted, "right"),
    )
    return map(int, order[begin:end])


def _array(values: "array[int]", kind: str) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.frombuffer(values, dtype=kind) if values else np.array([], kind)
    return found

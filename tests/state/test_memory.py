"""The store in plain dicts, as Lane uses a store."""

import pickle

from state.memory import MemoryStore


def test_what_is_put_is_there_and_nothing_else() -> None:
    store = MemoryStore()
    assert store.models() == {}
    assert store.failures("m") is None
    assert list(store.log("m")) == []
    assert store.predictions("t") is None
    store.put_model("m", {"n": 1})
    store.put_failures("m", (1, (7,), False))
    store.put_predictions("t", [("m", "v", True, None, None)])
    assert store.models() == {"m": {"n": 1}}
    assert store.failures("m") == (1, (7,), False)
    assert store.predictions("t") == [("m", "v", True, None, None)]
    store.forget("t")
    store.forget("never known")
    assert store.predictions("t") is None


def test_entries_come_back_in_their_order_until_they_are_cleared() -> None:
    store = MemoryStore()
    for entry in (b"1", b"2", b"3"):
        store.append("m", entry)
    store.append("other", b"x")
    seen = store.log("m")
    store.clear_log("m")
    assert list(seen) == [b"1", b"2", b"3"], "a replay is not cut short by a snapshot behind it"
    assert list(store.log("m")) == []
    assert list(store.log("other")) == [b"x"]


def test_a_snapshot_replaces_the_one_before() -> None:
    store = MemoryStore()
    store.put_snapshot("m", [b"a", b"b", b"c"], 0)
    assert list(store.snapshot("m", 3)) == [b"a", b"b", b"c"]
    store.put_snapshot("m", [b"d"], 3)
    assert list(store.snapshot("m", 1)) == [b"d"]


def test_models_can_be_gone_through_while_one_is_put() -> None:
    store = MemoryStore()
    store.put_model("a", {})
    for name in store.models():
        store.put_model(name + "b", {})
    assert set(store.models()) == {"a", "ab"}


def test_it_can_be_pickled() -> None:
    store = MemoryStore()
    store.append("m", b"1")
    store.put_model("m", {"n": 1})
    again = pickle.loads(pickle.dumps(store))
    again.append("m", b"2")
    assert list(again.log("m")) == [b"1", b"2"]
    assert list(store.log("m")) == [b"1"]

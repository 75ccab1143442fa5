"""Sets of published versions: only what is whole, newest and signed by a trusted key comes out."""

import base64
import json
import random
import zlib
from hashlib import sha256

import pytest

from events.messages import PublishedManifest
from state import published
from state.published import Assembler
from state.signing import SigningKey, TrustedKeys

KEY = SigningKey.generate()
OTHER = SigningKey.generate()
PIECES = [b"first", b"", b"the second, which is longer"]


def manifest(created: int, *, job="job", model="m", parts=None, pieces=PIECES, **more):
    parts = published.split(pieces, 10) if parts is None else parts
    fields = {
        "job": job,
        "model": model,
        "version": f"{model}@{created}-0123456789ab",
        "head": "00" * 32,
        "n": created,
        "created": created,
        "learned_to": 7,
        "view": True,
        "label_type": "bool",
        "names": [],
        "environment": {},
        "pieces": [len(piece) for piece in pieces],
        "parts": [sha256(part).hexdigest() for part in parts],
        **more,
    }
    return PublishedManifest(**fields), parts


def a_set(created: int, number: int = 0, key: SigningKey = KEY, **more) -> list[str]:
    return published.records(*manifest(created, **more), number, key)


def assembler(**more) -> Assembler:
    settings = {"job": "job", "models": ["m", "o"], "trusted": TrustedKeys([KEY.public])}
    return Assembler(**{**settings, **more})


def taken(reader: Assembler, records: list[str]) -> list[int]:
    """When the sets that came out were created."""
    found = [reader.take(record) for record in records]
    return [complete.manifest.created for complete in found if complete is not None]


def test_a_set_comes_out_as_it_went_in_with_its_last_part():
    records = a_set(5)
    reader = assembler()
    *before, last = [reader.take(record) for record in records]
    assert before == [None] * (len(records) - 1)
    assert last.pieces == PIECES
    assert (last.manifest.version, last.manifest.learned_to) == ("m@5-0123456789ab", 7)
    assert reader.refused == 0


def test_records_are_json_under_keys_that_compaction_replaces_two_sets_later():
    keys = [[json.loads(record)["id"] for record in a_set(5 + n, n)] for n in range(3)]
    count = len(manifest(5)[1])
    assert count > 2
    assert keys[0] == ["m/0", *(f"m/0/{place}" for place in range(count))]
    assert keys[1] == ["m/1", *(f"m/1/{place}" for place in range(count))]
    assert keys[2] == keys[0]
    parts = [json.loads(record)["data"] for record in a_set(5)[1:]]
    assert zlib.decompress(b"".join(map(base64.b64decode, parts))) == b"".join(PIECES)


@pytest.mark.parametrize("part_bytes", [1, 3, 31, 32, 33, 1000])
def test_parts_fit_the_limit_and_lose_nothing(part_bytes):
    parts = published.split([bytes(range(32)), b"", b"32"], part_bytes)
    assert zlib.decompress(b"".join(parts)) == bytes(range(32)) + b"32"
    assert max(map(len, parts)) <= part_bytes


def test_a_model_of_no_bytes_has_a_part():
    assert taken(assembler(), a_set(5, pieces=[b""])) == [5]


def test_parts_may_come_in_any_order_behind_their_manifest():
    first, *parts = a_set(5)
    for seed in range(20):
        random.Random(seed).shuffle(parts)
        reader = assembler()
        assert taken(reader, [first, *parts, *parts]) == [5]


def test_a_set_that_is_not_whole_never_comes_out_and_the_one_before_it_stays():
    older, newer = a_set(5, 0), a_set(6, 1)
    for missing in range(1, len(newer)):
        torn = [*newer[:missing], *newer[missing + 1 :]]
        assert taken(assembler(), [*older, *torn]) == [5]
    # Without its manifest, whatever comes behind it is nothing.
    assert taken(assembler(), [*older, *newer[1:]]) == [5]


def test_what_compaction_leaves_of_older_sets_does_not_disturb():
    sets = [a_set(created, created) for created in range(4, 12)]
    # Of all but the last two sets some records are gone.
    for seed in range(50):
        rng = random.Random(seed)
        left = [[r for r in records if rng.random() < 0.5] for records in sets[:-2]]
        topic = [record for records in (*left, *sets[-2:]) for record in records]
        assert taken(assembler(), topic)[-1] == 11


def test_a_reader_never_goes_back_to_an_older_set():
    reader = assembler()
    assert taken(reader, [*a_set(6, 1), *a_set(5, 0), *a_set(6, 1), *a_set(7, 0)]) == [6, 7]


def test_each_model_has_sets_of_its_own():
    other = a_set(3, model="o")
    mixed = [record for pair in zip(a_set(5), other, strict=True) for record in pair]
    assert taken(assembler(), mixed) == [5, 3]
    assert taken(assembler(models=["o"]), mixed) == [3]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda: a_set(5, key=OTHER), id="another key"),
        pytest.param(lambda: a_set(5, job="another"), id="another job"),
        pytest.param(
            lambda: changed(a_set(5), 0, "signature", OTHER.sign(b"", b"")), id="signature"
        ),
        pytest.param(lambda: changed(a_set(5), 0, "signature", None), id="no signature"),
        pytest.param(lambda: changed(a_set(5), 0, "manifest", "{}"), id="another manifest"),
        pytest.param(lambda: renamed(a_set(5), "o"), id="under another model's name"),
        pytest.param(lambda: changed(a_set(5), 1, "data", "AAAA"), id="a part"),
        pytest.param(lambda: changed(a_set(5), 1, "data", "no Base64"), id="no Base64"),
        pytest.param(lambda: changed(a_set(5), 1, "id", "m/0/9"), id="a part too many"),
        pytest.param(lambda: changed(a_set(5), 1, "id", "m/0/-1"), id="no number"),
        pytest.param(
            lambda: a_set(5, pieces=[b"a"], parts=published.split([b"ab"], 10)),
            id="pieces and parts",
        ),
        pytest.param(lambda: a_set(5, parts=[b"not compressed"]), id="not compressed"),
    ],
)
def test_nothing_comes_out_that_a_trusted_key_has_not_signed_and_it_is_counted(change):
    reader = assembler()
    assert taken(reader, change()) == []
    assert reader.refused > 0
    assert taken(reader, a_set(6, 1)) == [6]


def test_a_signature_for_another_purpose_counts_for_nothing():
    record = json.loads(a_set(5)[0])
    from state.signing import CONTROL, VERSION

    for purpose in (CONTROL, VERSION):
        record["signature"] = KEY.sign(purpose, record["manifest"].encode())
        reader = assembler()
        assert taken(reader, [json.dumps(record), *a_set(5)[1:]]) == []
        assert reader.refused == 1


@pytest.mark.parametrize(
    "text", ["", "no json", "[]", "{}", '{"id": 3}', '{"id": "m"}', '{"id": "m/0/0/0"}']
)
def test_what_is_no_record_of_a_set_is_counted(text):
    reader = assembler()
    assert reader.take(text) is None
    assert reader.refused == 1


def changed(records: list[str], place: int, field: str, value: str | None) -> list[str]:
    record = {**json.loads(records[place]), field: value}
    return [*records[:place], json.dumps(record), *records[place + 1 :]]


def renamed(records: list[str], model: str) -> list[str]:
    return [record.replace('"id":"m/', f'"id":"{model}/') for record in records]

"""Features as text and back, remembered or not."""

from hypothesis import given
from hypothesis import strategies as st

from events.features import Features, _Known, decode_features, encode_features

VALUES = (
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
FEATURES = st.dictionaries(st.text(), VALUES, max_size=8)


def exactly(features: Features) -> list[tuple[str, str]]:
    """Order, types and bits included: True is not 1, and -0.0 not 0.0."""
    return [(name, repr(value)) for name, value in features.items()]


@given(FEATURES)
def test_what_is_decoded_is_what_was_encoded_and_the_callers_own(features: Features) -> None:
    before = exactly(features)
    text = encode_features(features)
    decoded = decode_features(text)
    assert exactly(decoded) == before
    decoded["more"] = 1
    decoded.pop(next(iter(decoded)))
    assert exactly(decode_features(text)) == before


@given(st.lists(st.integers(0, 30), max_size=200), st.integers(0, 60))
def test_what_is_remembered_is_right_and_takes_no_more_than_its_room(
    numbers: list[int], room: int
) -> None:
    known = _Known(room)
    for number in numbers:
        text = b"x" * number
        found = known.find(text)
        assert found is None or found == {"length": number}
        if found is None:
            known.remember(text, {"length": number})
            assert known.find(text) == {"length": number}
        for generation in (known._young, known._old):
            # One text alone may be larger than the room.
            assert len(generation) <= 1 or sum(map(len, generation)) <= room

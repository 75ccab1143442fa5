from operators.items import Request, asked_of_item, request, stamped


def test_the_stamps_of_a_request_travel_with_it():
    asked = Request("t", 5, b"{}", "features", "f:1")
    item = request(asked)
    assert asked_of_item(item) == asked
    assert asked_of_item(stamped(item, b"stamps")) == asked._replace(stamps=b"stamps")
    assert stamped(stamped(item, b"others"), b"stamps") == stamped(item, b"stamps")


def test_a_request_in_the_state_of_an_earlier_release_has_none():
    item = (0, "t", 5, b"{}", "features", "f:1")
    assert asked_of_item(item) == Request("t", 5, b"{}", "features", "f:1", b"")

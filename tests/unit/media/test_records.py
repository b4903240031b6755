"""Records of messages, there and back."""

from __future__ import annotations

from pbxcore.media.records import RECEIVED, RECORD, Message, encode, pack, unpack


def test_messages_come_back_as_they_were_and_in_order() -> None:
    messages: list[Message] = [
        ("ping",),
        ("answer", "Łódź\udcff", "a", [(("::1", 20000), ("::", 9), ("::", 9), 8000, ("::1",)), None], True),
        (),
    ]
    record, count = pack([encode(message) for message in messages])
    assert count == 3
    assert [*unpack(record)] == messages


def test_a_record_takes_what_fits_and_can_be_read_in_one_go() -> None:
    queue = [encode(("stop media", f"c{number}")) for number in range(10_000)]
    record, count = pack(queue)
    assert RECORD - 100 < sum(map(len, queue[:count])) <= RECORD
    assert len(record) <= RECEIVED
    assert [*unpack(record)] == [("stop media", f"c{number}") for number in range(count)]


def test_a_message_that_alone_is_too_long_goes_alone() -> None:
    _, count = pack([encode(("ping", "x" * RECORD)), encode(("ping",))])
    assert count == 1

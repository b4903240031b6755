"""Texts (RFC 3428): at once where a phone is there, later where none is, and never more than is good for us."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pbxcore.call import texts
from pbxcore.call.texts import Text
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.watcher import Watcher


class Kept:
    """A text store that outlives an exchange. What it takes while `stalled` is durable when `settle` is called."""

    def __init__(self) -> None:
        self.kept: dict[str, Text] = {}
        self.stalled = False
        self.waiting: list[Callable[[], None]] = []

    def put_text(self, text: Text, then: Callable[[], None]) -> bool:
        self.kept[text.id] = text
        if self.stalled:
            self.waiting.append(then)
        return not self.stalled

    def settle(self) -> None:
        self.stalled = False
        while self.waiting:
            self.waiting.pop()()

    def drop_text(self, text_id: str) -> None:
        del self.kept[text_id]


def office_with_store() -> tuple[Office, Kept]:
    office, store = Office(), Kept()
    office.exchange.texts.store = store
    return office, store


def heard(phone: Watcher) -> list[str]:
    return [message.body.decode() for message in phone.seen if message.method == "MESSAGE"]


def test_a_phone_that_is_there_gets_it_at_once() -> None:
    office, store = office_with_store()
    sender, receiver = Watcher(office, "102"), Watcher(office, "101")
    receiver.register(EXCHANGE)
    office.world.run(1.0)
    assert sender.text("101", "hello").status == 200
    assert heard(receiver) == ["hello"]
    assert not store.kept
    office.assert_nothing_left()


def test_stored_and_forwarded_at_the_next_register() -> None:
    office, store = office_with_store()
    sender, receiver = Watcher(office, "102"), Watcher(office, "101")
    for words in ("one", "two", "three"):
        assert sender.text("101", words).status == 202
    assert len(store.kept) == 3
    office.world.run(100.0)
    receiver.register(EXCHANGE)
    office.world.run(5.0)
    assert heard(receiver) == ["one", "two", "three"]
    message = receiver.seen[0]
    assert message.from_.uri.username == "102"
    assert message.to.uri.username == "101"
    assert message.content_type == "text/plain"
    assert (message.first("date") or "").endswith("GMT")
    assert not store.kept
    assert len(office.exchange.texts) == 0
    office.assert_nothing_left()


def test_a_phone_that_does_not_answer() -> None:
    """Its binding is still there: the sender is told after ten seconds, before he gives up himself."""
    office, store = office_with_store()
    sender, receiver = Watcher(office, "102"), Watcher(office, "101")
    receiver.register(EXCHANGE)
    office.world.run(1.0)
    receiver.deaf = True
    sender.text("101", "are you there")
    office.world.run(11.0)
    assert sender.answers[-1].status == 202
    office.world.run(30.0)
    assert len(store.kept) == 1
    receiver.deaf = False
    receiver.register(EXCHANGE)
    office.world.run(5.0)
    assert heard(receiver)[-1] == "are you there"
    assert not store.kept


def test_a_phone_that_answers_late_gets_it_once() -> None:
    office, store = office_with_store()
    sender, receiver = Watcher(office, "102"), Watcher(office, "101")
    receiver.register(EXCHANGE)
    office.world.run(1.0)
    receiver.alive = False
    sender.text("101", "wake up")
    office.world.run(12.0)
    assert len(store.kept) == 1
    receiver.alive = True
    office.world.run(10.0)
    assert not store.kept
    assert heard(receiver) == ["wake up"]


def test_what_a_phone_refuses_is_not_kept() -> None:
    office, store = office_with_store()
    sender, receiver = Watcher(office, "102"), Watcher(office, "101")
    receiver.register(EXCHANGE)
    office.world.run(1.0)
    receiver.notify_status = 415
    assert sender.text("101", "x").status == 415
    assert not store.kept


def test_what_a_phone_refuses_later_is_not_tried_for_ever() -> None:
    office, store = office_with_store()
    sender, receiver = Watcher(office, "102"), Watcher(office, "101")
    sender.text("101", "one")
    receiver.notify_status = 405
    receiver.register(EXCHANGE)
    office.world.run(5.0)
    assert heard(receiver) == ["one"]
    assert not store.kept


def test_a_phone_that_dies_in_the_middle_gets_the_rest_later() -> None:
    office, store = office_with_store()
    sender, receiver = Watcher(office, "102"), Watcher(office, "101")
    for words in ("one", "two"):
        sender.text("101", words)
    receiver.register(EXCHANGE)
    office.world.until(lambda: len(heard(receiver)) == 1)
    receiver.alive = False
    office.world.run(60.0)
    receiver.alive = True
    receiver.register(EXCHANGE)
    office.world.run(5.0)
    assert set(heard(receiver)) == {"one", "two"}
    assert not store.kept


def test_texts_survive_a_restart() -> None:
    office, store = office_with_store()
    Watcher(office, "102").text("101", "before the fall", [("Expires", "3600")])
    again = Office(2)
    again.world.now = office.world.now
    again.exchange.texts.store = store
    again.exchange.texts.restore(store.kept.values())
    receiver = Watcher(again, "101")
    receiver.register(EXCHANGE)
    again.world.run(5.0)
    assert heard(receiver) == ["before the fall"]
    assert not store.kept


def stalled_office() -> tuple[Office, Kept, Watcher]:
    """102 writes to 101, whose phone is not there, while the disk is stuck."""
    office, store = office_with_store()
    sender = Watcher(office, "102")
    store.stalled = True
    assert sender.text("101", "wait for the disk").status == 401
    return office, store, sender


def test_a_text_is_accepted_when_it_is_durable() -> None:
    """Killed before that, the exchange would know nothing of what its sender believes to be on its way."""
    office, store, sender = stalled_office()
    office.world.run(5.0)
    assert sender.answers[-1].status == 401
    store.settle()
    office.world.run(1.0)
    assert sender.answers[-1].status == 202
    office.world.run(30.0)
    assert [answer.status for answer in sender.answers].count(202) == 1
    assert len(store.kept) == 1


def test_a_text_that_does_not_become_durable_is_not_accepted() -> None:
    office, store, sender = stalled_office()
    office.world.run(11.0)
    assert sender.answers[-1].status == 480
    assert not store.kept
    assert len(office.exchange.texts) == 0
    store.settle()
    office.world.run(30.0)
    assert {answer.status for answer in sender.answers} == {401, 480}
    office.assert_nothing_left()


def test_a_phone_that_takes_a_text_while_the_disk_is_stuck() -> None:
    office, store = office_with_store()
    sender, receiver = Watcher(office, "102"), Watcher(office, "101")
    receiver.register(EXCHANGE)
    office.world.run(1.0)
    store.stalled = True
    receiver.alive = False
    sender.text("101", "late")
    office.world.run(12.0)
    assert len(store.kept) == 1
    receiver.alive = True
    office.world.run(5.0)
    assert sender.answers[-1].status == 200
    store.settle()
    office.world.run(30.0)
    assert heard(receiver) == ["late"]
    assert not store.kept
    assert {answer.status for answer in sender.answers} == {401, 200}
    office.assert_nothing_left()


def test_texts_run_out() -> None:
    office, store = office_with_store()
    sender, receiver = Watcher(office, "102"), Watcher(office, "101")
    sender.text("101", "for an hour", [("Expires", "3600")])
    assert sender.text("101", "for nobody", [("Expires", "0")]).status == 480
    office.world.run(3700.0)
    receiver.register(EXCHANGE)
    office.world.run(5.0)
    assert heard(receiver) == []
    assert not store.kept


def test_that_somebody_types_is_not_kept() -> None:
    office, store = office_with_store()
    sender = Watcher(office, "102")
    request = sender._request("MESSAGE", "sip:101@127.0.0.1", "<sip:101@127.0.0.1>", [
        ("Content-Type", "application/im-iscomposing+xml"),
    ])  # fmt: skip
    request.body = b"<isComposing/>"
    assert sender.ask(request).status == 480
    assert not store.kept


def test_es2021_07_message_without_credentials() -> None:
    """Nothing is relayed, and nothing is kept, for who does not prove to be of the office."""
    office, store = office_with_store()
    stranger, receiver = Watcher(office, "102"), Watcher(office, "101")
    stranger.password = ""
    assert [stranger.text(number, "spam").status for number in ("101", "999")] == [401, 401]
    receiver.register(EXCHANGE)
    office.world.run(1.0)
    assert stranger.text("101", "spam").status == 401
    assert heard(receiver) == []
    assert not store.kept
    assert len(office.exchange.texts) == 0


def test_to_nobody() -> None:
    office, store = office_with_store()
    assert Watcher(office, "102").text("999", "x").status == 404
    assert not store.kept


def test_a_flood_of_texts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MAX_OF_RECEIVER", 5)
    monkeypatch.setattr(texts, "MAX_OF_SENDER", 8)
    monkeypatch.setattr(texts, "MAX_TEXTS", 10)
    office, store = office_with_store()
    eve, bob = Watcher(office, "102"), Watcher(office, "103")
    assert [eve.text("101", "x").status for _ in range(7)] == [202] * 5 + [480] * 2
    assert [eve.text("104", "x").status for _ in range(4)] == [202] * 3 + [480]
    assert [bob.text("104", "x").status for _ in range(3)] == [202] * 2 + [480]
    assert len(store.kept) == 10
    assert bob.text("102", "x" * 20_000).status == 480


def test_a_hostile_text_stays_a_text() -> None:
    office, store = office_with_store()
    sender, receiver = Watcher(office, "102"), Watcher(office, "101")
    body = "\r\n\r\nSIP/2.0 200 OK\r\n\x00\x1b[2J\u202e'; DROP TABLE texts; --"
    sender.text("101", body)
    receiver.register(EXCHANGE)
    office.world.run(5.0)
    assert heard(receiver) == [body]
    assert not store.kept

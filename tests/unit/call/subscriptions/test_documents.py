"""The bodies of dialog-info, reginfo and message-summary."""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.etree import ElementTree

import pytest

from pbxcore.bus import Bus
from pbxcore.call.registrar import Binding, Registrar
from pbxcore.call.subscriptions.calls import MAX_ENTRIES, CallWatch, Entry, _take
from pbxcore.call.subscriptions.dialogs import DialogPackage
from pbxcore.call.subscriptions.mailboxes import Counts, Mailboxes
from pbxcore.call.subscriptions.package import Refused, text
from pbxcore.call.subscriptions.registrations import Contact, RegistrationPackage
from pbxcore.sip.timers import Timers
from tests.unit.call.fakes import FakeFlow

INFO = "{urn:ietf:params:xml:ns:dialog-info}"


@dataclass
class Seen:
    resource: str = "101"
    watcher: str = "102"
    entity: str = "sip:101@pbx.example.net"
    version: int = 3
    whole: bool = False
    pending: dict[str, object] = field(default_factory=dict)


def nothing(*_: object) -> None:
    return


def test_text_in_xml() -> None:
    assert text("<a b=\"'&\x00\x1b\u202e\ud800>") == "&lt;a b=&quot;&#x27;&amp;&gt;"


def test_a_dialog_with_a_hostile_name() -> None:
    package = DialogPackage(CallWatch(Bus(), {}), dict, nothing, lambda: 110.0, lambda: "t1")
    entry = Entry(
        "x-b1", "recipient", "terminated", 100.0, '"><a>', 'Eve "><b/>', "call<", "t&", 'f"', event="rejected", code=486
    )
    root = ElementTree.fromstring(package.document(Seen(pending={"x-b1": entry, "y": object()})).decode())  # noqa: S314
    (dialog,) = root.findall(f"{INFO}dialog")
    assert root.get("version") == "3"
    assert (dialog.get("call-id"), dialog.get("local-tag"), dialog.get("remote-tag")) == ("call<", "t&", 'f"')
    state = dialog.find(f"{INFO}state")
    assert state is not None
    assert (state.get("event"), state.get("code"), state.text) == ("rejected", "486", "terminated")
    assert dialog.findtext(f"{INFO}duration") == "10"
    identity = dialog.find(f"{INFO}remote/{INFO}identity")
    assert identity is not None
    assert identity.get("display") == 'Eve "><b/>'
    assert (identity.text or "").startswith("sip:%22%3E%3Ca%3E@")


def test_entries_are_bounded() -> None:
    entries: dict[str, Entry] = {}
    taken = [_take(entries, Entry(str(n), "initiator", "early", 0.0)) for n in range(MAX_ENTRIES + 5)]
    assert sum(taken) == MAX_ENTRIES
    assert not _take(entries, Entry("0", "initiator", "early", 0.0))  # nothing new
    assert _take(entries, Entry("0", "initiator", "terminated", 0.0))
    assert not _take(entries, Entry("0", "initiator", "terminated", 0.0))


def test_unwatching_forgets() -> None:
    bus = Bus()
    watch = CallWatch(bus, {})
    watch.watch("101", nothing)
    watch.watch("101", nothing)
    watch.unwatch("101", nothing)
    assert bus.wanted
    watch.unwatch("101", nothing)
    assert not bus.wanted
    assert watch.entries("101") == {}


def test_boxes_tell_only_news() -> None:
    told: list[str] = []
    boxes = Mailboxes(lambda: {"101": None, "102": None}, lambda package, box, parts: told.append(box))
    boxes.set("101", Counts())
    boxes.set("101", Counts(1))
    boxes.set("101", Counts(1))
    boxes.set("101", Counts())
    assert told == ["101", "101"]
    assert boxes.counts("101") == Counts()
    for resource, status in (("101", 403), ("999", 404)):
        with pytest.raises(Refused) as refused:
            boxes.may_watch("102", resource)
        assert refused.value.status == status


def test_a_registration_with_a_hostile_contact() -> None:
    timers = Timers()
    registrar = Registrar(timers, clock=lambda: 0.0, wall=lambda: 100.0, flow_to=lambda *_: FakeFlow())
    package = RegistrationPackage(registrar, dict, nothing, lambda: 100.0)
    binding = Binding("101", "sip:101@h?a=<&>", 160.0, "UDP", ("10.0.0.1", 5060), 'c"<', 5)
    binding.instance, binding.since = "urn:a&b", 40.0
    body = package.document(Seen(pending={binding.name: Contact(binding, "registered")})).decode()
    root = ElementTree.fromstring(body)  # noqa: S314 - our own
    contact = root.find(".//{urn:ietf:params:xml:ns:reginfo}contact")
    assert contact is not None
    assert (contact.get("callid"), contact.get("expires"), contact.get("duration-registered")) == ('c"<', "60", "60")
    assert contact.findtext("{urn:ietf:params:xml:ns:reginfo}uri") == "sip:101@h?a=<&>"

"""What the packages say: lamps (RFC 4235), waiting messages (3842), presence (3856, 3903), registrations (3680)."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from pbxcore.call.subscriptions.mailboxes import Counts
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.party import Party
from tests.scenario.watcher import DIALOG, PIDF, Watch, Watcher

REGINFO = "{urn:ietf:params:xml:ns:reginfo}"
PRESENCE = "{urn:ietf:params:xml:ns:pidf}"


# ---- dialog


def test_a_lamp_blinks_shines_and_goes_out() -> None:
    office = Office()
    desk = office.phone("101")
    desk.manners.ring_after, desk.manners.answer_after = 1.5, 4.0
    watch = Watcher(office, "102").subscribe("101")
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    office.world.run(8.0)
    carrier.bye(talk)
    office.world.run(3.0)
    assert watch.dialog_states() == [[], ["early"], ["confirmed"], ["terminated"]], office.world.ladder()
    documents = watch.documents()
    assert [document.get("version") for document in documents] == ["0", "1", "2", "3"]
    assert [document.get("state") for document in documents] == ["full", "partial", "partial", "partial"]
    assert {document.get("entity") for document in documents} == {"sip:101@127.0.0.1"}
    dialogs = [document.find(f"{DIALOG}dialog") for document in documents[1:]]
    assert len({dialog.get("id") for dialog in dialogs if dialog is not None}) == 1
    confirmed, over = dialogs[1], dialogs[2]
    assert confirmed is not None
    assert over is not None
    assert confirmed.get("direction") == "recipient"
    assert confirmed.findtext(f"{DIALOG}remote/{DIALOG}identity") == "sip:+15557777@127.0.0.1"
    invite = desk.seen[0]
    dialog = desk.last.dialog
    assert dialog is not None
    assert (confirmed.get("call-id"), confirmed.get("local-tag"), confirmed.get("remote-tag")) == (
        invite.call_id, dialog.local_tag, invite.from_tag,
    )  # fmt: skip
    state = over.find(f"{DIALOG}state")
    assert state is not None
    assert state.get("event") == "remote-bye"
    office.assert_nothing_left()


def test_the_caller_has_a_lamp_too() -> None:
    office = Office()
    desk = office.phone("101")
    office.phone("103").manners.answer_after = 3.0
    watch = Watcher(office, "102").subscribe("101")
    talk = desk.call("103", EXCHANGE)
    office.world.run(6.0)
    desk.bye(talk)
    office.world.run(2.0)
    seen = [states for states in watch.dialog_states() if states]
    assert seen[-2:] == [["confirmed"], ["terminated"]]
    assert seen[0] in (["trying"], ["early"])
    dialog = watch.documents()[-1].find(f"{DIALOG}dialog")
    assert dialog is not None
    assert dialog.get("direction") == "initiator"
    state = dialog.find(f"{DIALOG}state")
    assert state is not None
    assert state.get("event") == "local-bye"


def test_a_phone_that_never_rang_has_no_lamp() -> None:
    office = Office()
    desk = office.phone("101")
    desk.manners.refuse_with, desk.manners.answer_after = 486, 3.0
    watch = Watcher(office, "102").subscribe("101")
    office.phone("103").call("101", EXCHANGE)
    office.world.run(8.0)
    assert watch.dialog_states() == [[]]


def test_a_ringing_phone_that_is_given_up() -> None:
    office = Office()
    office.phone("101").manners.answer_after = None
    watch = Watcher(office, "102").subscribe("101")
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    office.world.run(4.0)
    carrier.cancel(talk)
    office.world.run(3.0)
    assert watch.dialog_states() == [[], ["early"], ["terminated"]]
    state = watch.documents()[-1].find(f"{DIALOG}dialog/{DIALOG}state")
    assert state is not None
    assert state.get("event") == "cancelled"


def test_who_comes_late_gets_the_whole_state() -> None:
    office = Office()
    office.phone("101")
    carrier = office.carrier()
    first, second = carrier.call("+15550100", EXCHANGE), carrier.call("+15550100", EXCHANGE)
    office.world.run(2.0)
    watcher = Watcher(office, "102")
    watch = watcher.subscribe("101")
    assert watch.dialog_states() == [["confirmed", "confirmed"]]
    assert watch.documents()[0].get("state") == "full"
    carrier.bye(first)
    office.world.run(2.0)
    assert watch.dialog_states()[-1] == ["terminated"]
    watcher.again(watch, 600)
    assert watch.dialog_states()[-1] == ["confirmed"]
    assert watch.documents()[-1].get("state") == "full"
    carrier.bye(second)
    office.world.run(2.0)


def test_hold_is_shown() -> None:
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    carrier.call("+15550100", EXCHANGE)
    watch = Watcher(office, "102").subscribe("101")
    office.world.run(2.0)
    desk.hold(desk.last)
    office.world.run(2.0)
    path = f"{DIALOG}dialog/{DIALOG}local/{DIALOG}target/{DIALOG}param"
    rendering = [document.find(path) for document in watch.documents() if document.find(path) is not None]
    assert rendering[-1] is not None
    assert rendering[-1].get("pval") == "no"


def test_both_phones_of_an_extension_ring_and_one_lamp_stays() -> None:
    office = Office()
    office.phone("101", 10101).manners.answer_after = 3.0
    office.phone("101", 10102).manners.answer_after = None
    watch = Watcher(office, "102").subscribe("101")
    office.carrier().call("+15550100", EXCHANGE)
    office.world.run(6.0)
    held = office.exchange.events._presence._calls.entries("101")
    assert [entry.state for entry in held.values()] == ["confirmed"]
    shown: dict[str, str] = {}
    for document in watch.documents():
        for dialog in document.findall(f"{DIALOG}dialog"):
            shown[dialog.get("id") or ""] = dialog.findtext(f"{DIALOG}state") or ""
    assert sorted(shown.values()) == ["confirmed", "terminated"]


def test_lamps_cost_calls_nothing_when_nobody_watches() -> None:
    office = Office()
    watcher = Watcher(office, "102")
    assert not office.bus.wanted
    watch = watcher.subscribe("101")
    assert office.bus.wanted
    watcher.again(watch, 0)
    assert not office.bus.wanted


def test_names_of_strangers_do_not_break_out_of_the_document() -> None:
    office = Office()
    office.phone("101").manners.answer_after = None
    watch = Watcher(office, "102").subscribe("101")
    carrier = office.carrier("%22/%3E%3Cdialog%20id=%22x%22%3E%E2%80%AE%3Cstate%3E%26")
    carrier.call("+15550100", EXCHANGE)
    office.world.run(3.0)
    assert watch.dialog_states()[-1] == ["early"], office.world.ladder()
    assert len(watch.documents()[-1].findall(f".//{DIALOG}dialog")) == 1


def test_a_fault_in_what_is_shown_ends_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office()
    office.phone("101")
    Watcher(office, "102").subscribe("101")

    def broken(watching: object) -> bytes:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(office.exchange.events.notifier.packages["dialog"], "document", broken)
    talk = office.carrier().call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up")
    assert office.exchange.counters.faults == 0


# ---- message-summary


def test_messages_wait_and_are_heard() -> None:
    office = Office()
    phone = Watcher(office, "101")
    watch = phone.subscribe("101", "message-summary")
    boxes = office.exchange.events.mailboxes
    office.world.run(2.0)
    boxes.set("101", Counts(2, 8, 1, 0))
    office.world.run(2.0)
    boxes.set("101", Counts(0, 10))
    boxes.set("101", Counts(0, 10))
    boxes.set("104", Counts(5))
    office.world.run(2.0)
    bodies = [notify.body.decode() for notify in watch.seen]
    assert len(bodies) == 3
    assert bodies[0].startswith("Messages-Waiting: no\r\n")
    assert bodies[1] == (
        "Messages-Waiting: yes\r\nMessage-Account: sip:101@127.0.0.1\r\nVoice-Message: 2/8 (1/0)\r\n"
    )
    assert bodies[2].startswith("Messages-Waiting: no\r\n")
    assert watch.seen[0].first("content-type") == "application/simple-message-summary"


# ---- presence


def basic(watch: Watch) -> list[str]:
    return [tuple_.findtext(f"{PRESENCE}status/{PRESENCE}basic") or "" for tuple_ in
            watch.documents()[-1].findall(f"{PRESENCE}tuple")]  # fmt: skip


def body(state: str, note: str = "") -> bytes:
    return PIDF.format(basic=state, note=note).encode()


def test_reachable_and_on_the_phone() -> None:
    office = Office()
    watch = Watcher(office, "102").subscribe("101", "presence")
    assert basic(watch) == ["closed"]
    office.world.run(6.0)
    desk = office.phone("101")
    office.world.run(6.0)
    assert basic(watch) == ["open"]
    assert b"on-the-phone" not in watch.seen[-1].body
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    office.world.run(6.0)
    assert b"<rpid:on-the-phone/>" in watch.seen[-1].body
    carrier.bye(talk)
    office.world.run(6.0)
    assert b"on-the-phone" not in watch.seen[-1].body
    desk.register(EXCHANGE, expires=0)
    office.world.run(6.0)
    assert basic(watch) == ["closed"]


def test_publish_refresh_modify_remove() -> None:
    office = Office()
    watch = Watcher(office, "102").subscribe("101", "presence")
    phone = Watcher(office, "101")
    answer = phone.publish(body("open", "in the garden"))
    assert answer.status == 200
    first = answer.first("sip-etag") or ""
    assert first
    assert answer.expires == 600
    office.world.run(6.0)
    assert b"in the garden" in watch.seen[-1].body
    count = len(watch.seen)

    answer = phone.publish(etag=first)  # refresh: a new tag, nothing new to tell
    second = answer.first("sip-etag") or ""
    assert answer.status == 200
    assert second not in ("", first)
    office.world.run(6.0)
    assert len(watch.seen) == count
    assert phone.publish(etag=first).status == 412

    answer = phone.publish(body("closed", "gone"), second)
    third = answer.first("sip-etag") or ""
    office.world.run(6.0)
    assert basic(watch) == ["closed"]
    assert b"in the garden" not in watch.seen[-1].body

    assert phone.publish(etag=third, expires=0).status == 200
    office.world.run(6.0)
    assert b"gone" not in watch.seen[-1].body
    assert phone.publish(etag=third, expires=0).status == 412


def test_a_publication_runs_out() -> None:
    office = Office()
    watch = Watcher(office, "102").subscribe("101", "presence", 3600)
    phone = Watcher(office, "101")
    phone.publish(body("open", "for a minute"), expires=60)
    office.world.run(30.0)
    assert b"for a minute" in watch.seen[-1].body
    office.world.run(40.0)
    assert b"for a minute" not in watch.seen[-1].body
    assert not office.exchange.events.publications._held


def test_two_phones_of_one_person() -> None:
    office = Office()
    watch = Watcher(office, "102").subscribe("101", "presence")
    desk, pocket = Watcher(office, "101", 20101), Watcher(office, "101", 20201)
    desk.publish(body("closed"))
    pocket.publish(body("open"))
    office.world.run(6.0)
    assert basic(watch) == ["open", "closed"]
    identifiers = [each.get("id") for each in watch.documents()[-1].findall(f"{PRESENCE}tuple")]
    assert len(set(identifiers)) == 2


def test_publish_what_cannot_be_taken() -> None:
    office = Office()
    phone = Watcher(office, "101")
    assert phone.publish().status == 400
    assert phone.publish(body("open"), expires=5).status == 423
    assert phone.answers[-1].first("min-expires") == "60"
    assert phone.publish(body("open"), event="dialog").status == 489
    assert phone.publish(body("open"), event="").status == 489
    assert phone.publish(body("open"), kind="application/xpidf+xml").status == 415
    assert phone.publish(body("open"), number="102").status == 403
    assert phone.publish(body("open"), number="999").status == 404
    assert phone.publish(body("open"), etag="never-made").status == 412
    assert phone.publish(body("open"), etag="one, two").status == 412
    assert phone.publish(b"<presence").status == 400
    assert phone.publish(b"\xff\xfe<\x00?\x00").status == 400
    assert phone.publish(b"<html/>").status == 400
    assert phone.publish(body("open", "x" * 20_000)).status == 413
    assert not office.exchange.events.publications._held
    assert office.exchange.counters.faults == 0


def test_publish_of_entities() -> None:
    """A thousand million laughs, and somebody else's file."""
    office = Office()
    phone = Watcher(office, "101")
    laughs = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
    files = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    for prolog in (laughs, files, "<!doctype x>"):
        assert phone.publish(body("open", "&a;").replace(b'?>', b'?>' + prolog.encode())).status == 400
    assert not office.exchange.events.publications._held


def test_a_flood_of_publications_gives_way() -> None:
    office = Office()
    phone = Watcher(office, "101")
    for number in range(50):
        assert phone.publish(body("open", f"number {number}")).status == 200
    documents = office.exchange.events.publications.documents("101")
    assert len(documents) == 8
    assert documents[0].tuples[0].notes == ("number 49",)
    assert len(office.node.timers) < 100


def test_what_one_phone_publishes_reaches_no_other_parser_as_it_came() -> None:
    office = Office()
    watch = Watcher(office, "102").subscribe("101", "presence")
    phone = Watcher(office, "101")
    phone.publish(body("open", "&lt;evil/&gt; &amp;amp; \u202e").replace(b"</tuple>", b"<x:y xmlns:x='z'/></tuple>"))
    office.world.run(6.0)
    assert b"<evil" not in watch.seen[-1].body
    assert b"x:y" not in watch.seen[-1].body
    note = watch.documents()[-1].findtext(f"{PRESENCE}tuple/{PRESENCE}note")
    assert note == "<evil/> &amp; "


# ---- reg


def contacts(watch: Watch) -> list[ElementTree.Element]:
    return watch.documents()[-1].findall(f"{REGINFO}registration/{REGINFO}contact")


def test_registrations_come_and_go() -> None:
    office = Office()
    watcher = Watcher(office, "101")
    watch = watcher.subscribe("101", "reg")
    registration = watch.documents()[0].find(f"{REGINFO}registration")
    assert registration is not None
    assert registration.get("state") == "init"
    office.world.run(6.0)
    desk = office.phone("101")
    office.world.run(6.0)
    (contact,) = contacts(watch)
    assert (contact.get("state"), contact.get("event")) == ("active", "registered")
    assert (contact.findtext(f"{REGINFO}uri") or "").startswith("sip:101@127.0.0.1:10101")
    desk.register(EXCHANGE)
    office.world.run(6.0)
    assert contacts(watch)[0].get("event") == "refreshed"
    watcher.again(watch, 6000)
    office.world.run(700.0)
    (contact,) = contacts(watch)
    assert (contact.get("state"), contact.get("event")) == ("terminated", "expired")
    registration = watch.documents()[-1].find(f"{REGINFO}registration")
    assert registration is not None
    assert registration.get("state") == "terminated"
    versions = [int(document.get("version") or -1) for document in watch.documents()]
    assert versions == list(range(len(versions)))


# ---- flows, Path, GRUU


def register(office: Office, phone: Party, contact: str, headers: list[tuple[str, str]]) -> object:
    request = phone._request("REGISTER", "sip:127.0.0.1", f"<sip:{phone.user}@127.0.0.1>", headers)
    request.replace("Contact", contact)
    phone.layer.request(request, phone.flow_to("UDP", *EXCHANGE), phone)
    office.world.run(1.0)
    return phone.answers[-1]


def test_reg_tells_instances_and_gruus() -> None:
    office = Office()
    watcher = Watcher(office, "101")
    watch = watcher.subscribe("101", "reg")
    office.world.run(6.0)
    desk = office.phone("101", registered=False)
    register(office, desk, desk.contact + ';+sip.instance="<urn:uuid:1>";reg-id=1', [("Supported", "outbound")])
    office.world.run(6.0)
    text = watch.seen[-1].body.decode()
    assert "&lt;urn:uuid:1&gt;" in text
    assert 'uri="sip:101@127.0.0.1;gr=urn:uuid:1"' in text

"""Subscriptions: dialogs, lifetimes, refusals, one NOTIFY at a time, limits (RFC 6665)."""

from __future__ import annotations

import pytest

from pbxcore.call.subscriptions import notifier
from pbxcore.sip import build
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.watcher import PIDF, Watcher


def held(office: Office) -> int:
    return len(office.exchange.events.notifier)


def test_a_subscription_lives_and_runs_out() -> None:
    office = Office()
    phone = Watcher(office, "102")
    watch = phone.subscribe("101", expires=120)
    assert watch.status == 200, office.world.ladder()
    assert watch.response is not None
    assert watch.response.expires == 120
    assert watch.states == ["active"]
    first = watch.seen[0]
    assert first.first("event") == "dialog"
    assert first.first("content-type") == "application/dialog-info+xml"
    assert "expires=120" in (first.first("subscription-state") or "")
    assert first.first("contact")
    office.world.run(125.0)
    assert watch.states == ["active", "terminated"]
    assert watch.why == "timeout"
    assert held(office) == 0
    office.assert_nothing_left()


def test_refresh_keeps_it_and_zero_ends_it() -> None:
    office = Office()
    phone = Watcher(office, "102")
    watch = phone.subscribe("101", expires=120)
    office.world.run(100.0)
    phone.again(watch, 120)
    assert watch.states == ["active", "active"]  # the whole state again (4.2.1.2)
    office.world.run(100.0)
    assert held(office) == 1
    phone.again(watch, 0)
    assert watch.states[-1] == "terminated"
    assert watch.why == "timeout"
    assert held(office) == 0
    phone.again(watch, 120)
    assert watch.status == 481
    office.world.run(100.0)
    assert len(office.node.timers) == 0


def test_fetch() -> None:
    office = Office()
    watch = Watcher(office, "102").subscribe("101", expires=0)
    assert watch.status == 200
    assert watch.states == ["terminated"]
    assert held(office) == 0


def test_too_brief_and_too_long() -> None:
    office = Office()
    phone = Watcher(office, "102")
    watch = phone.subscribe("101", expires=10)
    assert watch.status == 423
    assert watch.response is not None
    assert watch.response.first("min-expires") == "60"
    assert held(office) == 0
    watch = phone.subscribe("101", expires=1_000_000)
    assert watch.response is not None
    assert watch.response.expires == notifier.MAX_EXPIRES
    watch = phone.subscribe("101", expires=None)
    assert watch.response is not None
    assert watch.response.expires == 3600


@pytest.mark.parametrize("event", ["", "refer", "conference", "x" * 500])
def test_bad_event(event: str) -> None:
    office = Office()
    watch = Watcher(office, "102").subscribe("101", event)
    assert watch.status == 489
    assert watch.response is not None
    assert watch.response.values("allow-events") == ["dialog", "presence", "message-summary", "reg"]


def test_a_format_that_nobody_speaks() -> None:
    office = Office()
    phone = Watcher(office, "102")
    assert phone.subscribe("101", headers=[("Accept", "application/xpidf+xml, text/plain")]).status == 406
    assert phone.subscribe("101", headers=[("Accept", "application/*;q=0.5")]).status == 200


def test_what_is_required_and_not_known() -> None:
    office = Office()
    watch = Watcher(office, "102").subscribe("101", headers=[("Require", "eventlist")])
    assert watch.status == 420


@pytest.mark.parametrize(("number", "event", "status"), [
    ("999", "dialog", 404), ("999", "presence", 404), ("101", "message-summary", 403), ("101", "reg", 403),
    ("999", "reg", 404), ("101", "dialog", 200), ("101", "presence", 200), ("102", "reg", 200),
    ("102", "message-summary", 200),
])  # fmt: skip
def test_who_may_watch_whom(number: str, event: str, status: int) -> None:
    office = Office()
    assert Watcher(office, "102").subscribe(number, event).status == status


def test_the_id_of_an_event_comes_back() -> None:
    office = Office()
    watch = Watcher(office, "102").subscribe("101", "dialog;sla;id=line-7")
    assert watch.seen[0].first("event") == "dialog;id=line-7"


def test_es2021_08_subscribe_without_credentials() -> None:
    """Nothing is made for a stranger, and nothing tells him which extensions there are."""
    office = Office()
    phone = Watcher(office, "102")
    phone.password = ""
    answers = []
    for number in ("101", "999"):
        for event in ("dialog", "presence", "nonsense"):
            phone.subscribe(number, event)
            answers.append(phone.answers[-1])
    assert [answer.status for answer in answers] == [401] * 6
    assert {len(answer.to_bytes()) // 20 for answer in answers if "nonsense" not in str(answer)} == {
        len(answers[0].to_bytes()) // 20
    }
    assert held(office) == 0
    phone.password = "wrong"
    assert phone.subscribe("101").status in (None, 403)
    assert held(office) == 0


def test_publish_and_notify_without_credentials() -> None:
    office = Office()
    phone = Watcher(office, "101")
    phone.password = ""
    assert phone.publish(PIDF.format(basic="open", note="").encode()).status == 401
    notify = phone._request("NOTIFY", "sip:101@127.0.0.1", "<sip:101@127.0.0.1>", [("Event", "dialog")])
    assert phone.ask(notify).status == 481
    assert not office.exchange.events.publications._held


def test_another_extension_cannot_take_a_subscription_over() -> None:
    office = Office()
    owner, thief = Watcher(office, "102"), Watcher(office, "103")
    watch = owner.subscribe("101")
    assert watch.dialog is not None
    thief.watches[watch.call_id] = stolen = Watcher.subscribe(thief, "101", wait=False)
    stolen.dialog = watch.dialog
    thief.again(stolen, 0)
    assert thief.answers[-1].status == 403
    assert held(office) == 2
    assert watch.states == ["active"]


def test_tags_of_another_dialog() -> None:
    office = Office()
    phone = Watcher(office, "102")
    watch = phone.subscribe("101")
    assert watch.dialog is not None
    watch.dialog.local = watch.dialog.local.replace(watch.dialog.local_tag, "forged")
    phone.again(watch, 0)
    assert watch.status == 481
    assert held(office) == 1


def test_an_old_refresh_that_comes_late() -> None:
    office = Office()
    phone = Watcher(office, "102")
    watch = phone.subscribe("101")
    phone.again(watch, 300)
    assert watch.dialog is not None
    watch.dialog.local_seq -= 3
    phone.again(watch, 0)
    assert watch.status == 500
    assert held(office) == 1


def test_another_package_in_the_same_dialog() -> None:
    office = Office()
    phone = Watcher(office, "102")
    watch = phone.subscribe("102", "dialog")
    assert watch.dialog is not None
    request = watch.dialog.request("SUBSCRIBE", headers=[("Event", "reg"), ("Expires", "60")])
    assert phone.ask(request).status == 403
    assert held(office) == 1


def test_other_methods_in_the_dialog() -> None:
    office = Office()
    phone = Watcher(office, "102")
    watch = phone.subscribe("101")
    assert watch.dialog is not None
    for method in ("BYE", "INFO", "NOTIFY", "OPTIONS", "MESSAGE", "UPDATE", "REFER", "PUBLISH"):
        assert phone.ask(watch.dialog.request(method)).status == 481
    assert held(office) == 1


# ---- NOTIFY that fails


@pytest.mark.parametrize("status", [481, 405, 489, 401, 407, 501, 603])
def test_a_notify_that_is_refused_ends_it(status: int) -> None:
    """Also where the phone asks us for a password: nothing is ever signed for a phone (ES2021-05)."""
    office = Office()
    phone = Watcher(office, "102")
    phone.notify_status = status
    phone.notify_headers = [("WWW-Authenticate", 'Digest realm="sip.carrier.example", nonce="1"')]
    watch = phone.subscribe("101")
    assert len(watch.seen) == 1
    assert held(office) == 0
    assert not any(b"NOTIFY" in data and b"Authorization" in data for *_, data in office.world.wire)
    office.assert_nothing_left()


def test_a_phone_that_is_gone() -> None:
    office = Office()
    phone = Watcher(office, "102")
    watch = phone.subscribe("101")
    phone.alive = False
    talk = office.carrier().call("+15550100", EXCHANGE)
    office.phone("101")
    office.carrier()
    office.world.run(60.0)
    assert talk is not None
    office.exchange.events.mailboxes.set("102", office.exchange.events.mailboxes.counts("102"))
    assert held(office) == 1  # nothing happened to 101 that he would have heard of
    other = office.phone("103")
    other.call("101", EXCHANGE)
    office.world.run(60.0)
    assert held(office) == 0
    assert watch.states == ["active"]


def test_a_phone_in_trouble_is_tried_again() -> None:
    office = Office()
    phone = Watcher(office, "102")
    phone.notify_status, phone.notify_headers = 503, [("Retry-After", "7")]
    watch = phone.subscribe("101")
    assert held(office) == 1
    office.world.run(7.0)
    assert len(watch.seen) == 2
    phone.notify_status = 200
    office.world.run(7.0)
    assert len(watch.seen) == 3
    office.world.run(100.0)
    assert len(watch.seen) == 3
    assert held(office) == 1


def test_a_phone_in_trouble_for_long() -> None:
    office = Office()
    phone = Watcher(office, "102")
    phone.notify_status = 500
    watch = phone.subscribe("101")
    office.world.run(60.0)
    assert len(watch.seen) == 3
    assert held(office) == 0


def test_one_notify_at_a_time() -> None:
    """A watcher that takes three seconds over each NOTIFY never has two, and gets the newest state."""
    office = Office()
    phone = Watcher(office, "102")
    phone.delay = 3.0
    watch = phone.subscribe("102", "message-summary")
    for new in range(1, 9):
        office.exchange.events.mailboxes.set("102", type(office.exchange.events.mailboxes.counts("102"))(new))
        office.world.run(0.7)
    office.world.run(20.0)
    gaps = [later - earlier for earlier, later in zip(watch.times, watch.times[1:], strict=False)]
    assert all(gap >= 3.0 for gap in gaps), gaps
    assert b"Voice-Message: 8/0" in watch.seen[-1].body
    numbers = [notify.cseq.number for notify in watch.seen]
    assert numbers == sorted(numbers)


def test_notifications_are_no_more_than_one_a_second() -> None:
    office = Office()
    phone = Watcher(office, "102")
    watch = phone.subscribe("102", "message-summary")
    counts = type(office.exchange.events.mailboxes.counts("102"))
    for new in range(1, 101):
        office.exchange.events.mailboxes.set("102", counts(new))
        office.world.run(0.1)
    office.world.run(5.0)
    assert 9 <= len(watch.seen) <= 13
    assert b"Voice-Message: 100/0" in watch.seen[-1].body


def test_lost_datagrams_lose_no_state() -> None:
    office = Office(7)
    phone = Watcher(office, "102")
    watch = phone.subscribe("102", "message-summary")
    office.world.network.loss = 0.4
    counts = type(office.exchange.events.mailboxes.counts("102"))
    for new in range(1, 30):
        office.exchange.events.mailboxes.set("102", counts(new))
        office.world.run(2.0)
    office.world.network.loss = 0.0
    office.world.run(40.0)
    assert b"Voice-Message: 29/0" in watch.seen[-1].body
    assert held(office) == 1


# ---- limits and ends


def test_more_subscriptions_than_a_phone_has_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "MAX_OF_WATCHER", 3)
    office = Office()
    phone, other = Watcher(office, "102"), Watcher(office, "103")
    assert [phone.subscribe("101").status for _ in range(5)] == [200, 200, 200, 403, 403]
    assert other.subscribe("101").status == 200
    assert phone.subscribe("101", expires=0).status == 200  # a look is always free
    assert held(office) == 4


def test_more_subscriptions_than_the_exchange_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "MAX_SUBSCRIPTIONS", 3)
    office = Office()
    watches = [Watcher(office, number).subscribe("101") for number in ("101", "102", "103", "104")]
    assert [watch.status for watch in watches] == [200, 200, 200, 503]
    assert watches[-1].response is not None
    assert watches[-1].response.first("retry-after")


def test_an_exchange_that_stops_says_when_to_come_again() -> None:
    office = Office()
    watch = Watcher(office, "102").subscribe("101")
    office.exchange.events.close()
    office.world.run(1.0)
    assert watch.states[-1] == "terminated"
    assert watch.seen[-1].first("subscription-state") == "terminated;reason=probation;retry-after=10"
    assert held(office) == 0


def test_a_resource_that_is_no_more() -> None:
    office = Office()
    phone = Watcher(office, "102")
    watch = phone.subscribe("101")
    office.exchange.dial_plan = type(office.exchange.dial_plan)(extensions={"102": None})  # type: ignore[dict-item]
    phone.again(watch, 600)
    assert watch.status == 404
    assert watch.why == "noresource"
    assert held(office) == 0


def test_subscribing_leaves_no_timers_behind() -> None:
    office = Office()
    phone = Watcher(office, "102")
    for _ in range(50):
        watch = phone.subscribe("101", expires=3600)
        phone.again(watch, 0)
    office.world.run(70.0)
    assert held(office) == 0
    assert len(office.node.timers) == 0
    assert not office.bus.wanted
    office.assert_nothing_left()


def test_record_route_is_kept_and_the_phone_reached_where_it_spoke() -> None:
    office = Office()
    phone = Watcher(office, "102")
    watch = phone.subscribe("101", headers=[("Record-Route", "<sip:proxy.example.net;lr>")])
    notify = watch.seen[0]
    assert notify.first("route") == "<sip:proxy.example.net;lr>"
    assert notify.uri.startswith("sip:102@127.0.0.1")


def test_over_tcp_a_new_connection_is_made_when_the_old_one_is_gone() -> None:
    office = Office()
    phone = Watcher(office, "102", transport="TCP")
    watch = phone.subscribe("102", "message-summary")
    for flow in office.node.flows.values():
        flow.closed = True
    office.exchange.events.mailboxes.set("102", type(office.exchange.events.mailboxes.counts("102"))(1))
    office.world.run(1.0)
    assert len(watch.seen) == 2, office.world.ladder()


def test_options_says_which_events_there_are() -> None:
    office = Office()
    phone = Watcher(office, "102")
    answer = phone.ask(build.request("OPTIONS", "sip:127.0.0.1", [
        ("From", "<sip:102@127.0.0.1>;tag=1"), ("To", "<sip:127.0.0.1>"), ("Call-ID", "o"), ("CSeq", "1 OPTIONS"),
    ]))  # fmt: skip
    assert answer.values("allow-events") == ["dialog", "presence", "message-summary", "reg"]
    assert "SUBSCRIBE" in answer.values("allow")


@pytest.mark.parametrize("accept", ["application/" + "a" * 5000, ", ".join(["text/x"] * 3000), ";;;,,,", '"'])
def test_es2018_01_subscribe_with_a_hostile_accept(accept: str) -> None:
    office = Office()
    phone = Watcher(office, "102")
    assert phone.subscribe("101", headers=[("Accept", accept)]).status in (400, 406)
    assert phone.subscribe("101").status == 200
    assert office.exchange.counters.faults == 0


def test_cve_2026_57191_a_summary_of_sixty_kilobytes() -> None:
    """A NOTIFY that nobody asked for, with more of a message summary than anybody reads."""
    office = Office()
    phone = Watcher(office, "102")
    for to in ("<sip:101@127.0.0.1>", "<sip:101@127.0.0.1>;tag=none"):
        notify = phone._request("NOTIFY", "sip:101@127.0.0.1", to, [
            ("Event", "message-summary"), ("Subscription-State", "active"),
            ("Content-Type", "application/simple-message-summary"),
        ])  # fmt: skip
        notify.body = b"Messages-Waiting: yes\r\n" + b"Voice-Message: 1/1\r\n" * 3000
        assert phone.ask(notify).status == 481
    assert phone.subscribe("101").status == 200
    assert office.exchange.counters.faults == 0

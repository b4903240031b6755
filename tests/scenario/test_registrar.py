"""Bindings: several, expiring, refused, removed, restored (RFC 3261 section 10)."""

from __future__ import annotations

from pbxcore.sip.message import Response
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.party import Party


def send(office: Office, phone: Party, contact: str | None, headers: list[tuple[str, str]]) -> Response:
    request = phone._request("REGISTER", "sip:127.0.0.1", f"<sip:{phone.user}@127.0.0.1>", headers)
    if contact is None:
        request.remove("contact")
    else:
        request.replace("Contact", contact)
    phone.layer.request(request, phone.flow_to("UDP", *EXCHANGE), phone)
    office.world.run(2.0)
    return phone.answers[-1]


def test_a_binding_runs_out() -> None:
    office = Office()
    office.phone("101")
    assert len(office.exchange.registrar.bindings("101")) == 1
    office.world.run(601.0)
    assert office.exchange.registrar.bindings("101") == []
    assert not office.bindings.kept
    office.assert_nothing_left()


def test_too_brief() -> None:
    office = Office()
    phone = office.phone("101", registered=False)
    answer = send(office, phone, phone.contact, [("Expires", "10")])
    assert answer.status == 423
    assert answer.first("min-expires") == "60"


def test_a_query_changes_nothing_and_tells_all() -> None:
    office = Office()
    phone = office.phone("101")
    answer = send(office, phone, None, [])
    assert answer.status == 200
    assert len(answer.contacts) == 1
    assert 500 < int(answer.contacts[0].params["expires"] or 0) <= 600


def test_star_removes_all() -> None:
    office = Office()
    phone = office.phone("101", 10101)
    office.phone("101", 10201)
    assert send(office, phone, "*", [("Expires", "0")]).status == 200
    assert office.exchange.registrar.bindings("101") == []
    assert not office.bindings.kept


def test_star_with_a_lifetime_is_refused() -> None:
    office = Office()
    phone = office.phone("101")
    assert send(office, phone, "*", [("Expires", "60")]).status == 400
    assert len(office.exchange.registrar.bindings("101")) == 1


def test_expires_zero_removes_one() -> None:
    office = Office()
    phone = office.phone("101", 10101)
    office.phone("101", 10201)
    assert send(office, phone, phone.contact + ";expires=0", []).status == 200
    assert [b.remote[1] for b in office.exchange.registrar.bindings("101")] == [10201]


def test_more_bindings_than_anybody_has_phones() -> None:
    office = Office()
    phone = office.phone("101", registered=False)
    statuses = [send(office, phone, f"<sip:101@127.0.0.1:{30000 + n}>", []).status for n in range(12)]
    assert statuses == [200] * 10 + [403] * 2


def test_hostile_contacts() -> None:
    office = Office()
    phone = office.phone("101", registered=False)
    for contact in ("<tel:+15551234>", "<sip:101@" + "x" * 10_000 + ">", "<mailto:eve@example.org>", "<http://x/>"):
        assert send(office, phone, contact, []).status == 400
    assert office.exchange.registrar.bindings("101") == []


def test_an_old_register_that_comes_late_changes_nothing() -> None:
    office = Office()
    phone = office.phone("101", registered=False)
    call_id = [("Call-ID", "one-and-the-same")]

    def register(number: int, expires: int) -> int:
        request = phone._request("REGISTER", "sip:127.0.0.1", "<sip:101@127.0.0.1>", [("Expires", str(expires))])
        request.replace(*call_id[0])
        request.replace("CSeq", f"{number} REGISTER")
        phone.layer.request(request, phone.flow_to("UDP", *EXCHANGE), phone)
        office.world.run(2.0)
        return phone.answers[-1].status

    assert register(20, 600) == 200
    assert register(5, 0) == 500
    assert len(office.exchange.registrar.bindings("101")) == 1


def test_bindings_survive_a_restart() -> None:
    office = Office()
    desk = office.phone("101")
    again = Office(2)
    again.world.now = office.world.now
    again.world.nodes[desk.address] = desk
    kept = list(office.bindings.kept.values())
    for binding in kept:
        binding.flow = None
    assert again.exchange.registrar.restore(kept) == 1
    assert again.exchange.registrar.flow(kept[0]).remote == desk.address
    again.world.run(700.0)
    assert again.exchange.registrar.bindings("101") == []


def test_a_phone_over_tcp_is_called_over_its_connection() -> None:
    office = Office()
    desk = office.phone("101", transport="TCP")
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    assert desk.seen[0].via.transport == "TCP"
    carrier.bye(talk)
    office.assert_nothing_left()


def test_headers_in_a_contact_stay_in_the_binding() -> None:
    """RFC 4475 section 3.3.14: kept for the next fetch, and never made headers of a request."""
    office = Office()
    desk = office.phone("101", registered=False)
    contact = f"<sip:101@127.0.0.1:{desk.address[1]}?Route=%3Csip%3Aevil.example%3Blr%3E>"
    answer = send(office, desk, contact, [])
    assert answer.status == 200
    assert "?route=" in (answer.first("contact") or "")
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    assert b"Route" not in desk.seen[0].to_bytes()
    carrier.bye(talk)
    office.world.run(1.0)


def test_refreshing_leaves_no_timers_behind() -> None:
    """A phone that registers every minute for an hour has one timer in the exchange, not sixty."""
    office = Office()
    desk = office.phone("101", registered=False)
    for _ in range(60):
        send(office, desk, desk.contact, [("Expires", "3600")])
        office.world.run(58.0)
    office.world.run(10.0)
    assert len(office.node.timers) <= 2
    assert len(office.exchange.registrar.bindings("101")) == 1
    office.world.run(3700.0)
    assert office.exchange.registrar.bindings("101") == []
    assert not office.bindings.kept
    assert len(office.node.timers) == 0


def test_each_binding_runs_out_in_its_own_time() -> None:
    office = Office()
    changes: list[tuple[str, int]] = []
    office.exchange.registrar._changed = lambda extension, bindings: changes.append((extension, bindings))
    long, brief, middle = (office.phone("101", port, registered=False) for port in (10101, 10201, 10301))
    for phone, seconds in ((long, 340), (brief, 100), (middle, 220)):
        send(office, phone, phone.contact, [("Expires", str(seconds))])
    office.world.run(85.0)
    assert [left for _, left in changes] == [1, 2, 3]
    for expected in ([2], [2, 1], [2, 1, 0]):
        office.world.run(105.0)
        assert [left for _, left in changes][3:] == expected
    assert not office.bindings.kept
    assert len(office.node.timers) == 0


def test_a_wall_clock_that_is_set_back_keeps_the_binding_for_as_long() -> None:
    office = Office()
    office.phone("101")
    office.world.run(300.0)
    office.world.epoch -= 1000.0
    office.world.run(400.0)
    assert len(office.exchange.registrar.bindings("101")) == 1
    office.world.run(1000.0)
    assert office.exchange.registrar.bindings("101") == []
    assert not office.bindings.kept

"""What a decision brings into messages stays where it belongs, even if nobody has checked it before."""

from __future__ import annotations

import pytest

from pbxcore.hooks import Decision, Proceed, Redirect, Reject, Ring
from tests.scenario.office import EXCHANGE, Office

SMUGGLED = "x\r\nX-Smuggled: 1\r\n\r\nSIP/2.0 200 OK"


def assert_not_smuggled(office: Office) -> None:
    for _, _, _, data in office.world.wire:
        assert b"\nX-Smuggled" not in data, data
        assert b"\r\n\r\nSIP/2.0" not in data, data
        assert b"\r\r" not in data.replace(b"\r\n", b""), data


@pytest.mark.parametrize(
    "decision",
    [
        Proceed(display_name=f'Eve" <sip:eve@example.org>;tag=x{SMUGGLED}'),
        Proceed(alert_info=f"<urn:alert>{SMUGGLED}"),
        Proceed(alert_info="\n\n\r\r"),
        Ring(("101\r\nX-Smuggled: 1", "101")),
        Reject(486, SMUGGLED),
        Redirect(f"sip:shop@example.net{SMUGGLED}"),
        Redirect("sip:shop@example.net>\r\nX-Smuggled: <1"),
    ],
)
def test_no_header_is_smuggled(decision: Decision) -> None:
    office = Office()
    office.phone("101")
    carrier = office.carrier()
    office.hooks.decide = lambda _: decision
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.status is not None), office.world.ladder()
    assert_not_smuggled(office)
    carrier.bye(talk)
    office.assert_nothing_left()


@pytest.mark.parametrize("uri", ["", "sip:", "sip:shop@example.net>,<sip:eve@example.org", "nonsense", "sip:a b@c"])
def test_a_redirection_to_what_is_no_uri_is_passed_over(uri: str) -> None:
    office = Office()
    office.phone("101")
    carrier = office.carrier()
    office.hooks.decide = lambda _: Redirect(uri)
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    carrier.bye(talk)
    office.assert_nothing_left()


@pytest.mark.parametrize("status", [-1, 0, 100, 180, 200, 202, 302, 399, 401, 407, 700, 10**9])
def test_a_refusal_with_a_status_that_is_none_is_a_decline(status: int) -> None:
    """A 200 would be a call with nobody in it, a 401 a challenge without a nonce."""
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    office.hooks.decide = lambda _: Reject(status, "Surprise")
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.status is not None), office.world.ladder()
    assert talk.status == 603, office.world.ladder()
    assert not [request for request in desk.seen if request.method == "INVITE"]
    office.assert_nothing_left()


@pytest.mark.parametrize("timeout", [0.0, -5.0, float("nan"), float("inf"), 1e300])
def test_a_ringing_time_that_is_none(timeout: float) -> None:
    office = Office()
    desk = office.phone("101")
    desk.manners.answer_after = 2.0
    carrier = office.carrier()
    office.hooks.decide = lambda _: Ring(("101",), timeout=timeout, otherwise=Proceed())
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up", 10.0), office.world.ladder()
    carrier.bye(talk)
    office.assert_nothing_left()

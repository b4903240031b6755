"""A caller of RFC 2543: no Contact, no From tag. It is reached where it called from, at the URI of its From."""

from __future__ import annotations

import pytest

from pbxcore.sip.message import Request
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.party import Party


class OldCarrier(Party):
    def _request(self, method: str, uri: str, to: str, headers: list[tuple[str, str]], body: bytes = b"") -> Request:
        request = super()._request(method, uri, to, headers, body)
        request.remove("contact")
        request.replace("From", f"<sip:{self.user}@{self.address[0]}>")
        return request


@pytest.mark.parametrize("ends", ["caller", "callee"])
def test_a_caller_without_tag_and_contact(ends: str) -> None:
    office = Office()
    desk = office.phone("101")
    carrier = OldCarrier(office.world, office.carrier().address, "+15557777")
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked), office.world.ladder()
    office.world.run(1.0)
    if ends == "caller":
        carrier.bye(talk)
    else:
        desk.bye(desk.last)
    office.world.run(1.0)
    assert (talk.state, desk.last.state) == ("ended", "ended"), office.world.ladder()
    if ends == "callee":
        assert [str(request.uri) for request in carrier.seen] == ["sip:+15557777@127.0.0.2"]
    office.assert_nothing_left()
    [record] = office.records()
    assert record.hung_up_by == ends


def test_a_caller_of_today_has_to_say_where_he_is() -> None:
    office = Office()
    carrier = office.carrier()
    invite = carrier._request("INVITE", "sip:+15550100@127.0.0.1", "<sip:+15550100@127.0.0.1>", [])
    invite.remove("contact")
    carrier.layer.request(invite, carrier.flow_to("UDP", *EXCHANGE), carrier)
    office.world.run(1.0)
    assert [response.status for response in carrier.answers] == [400]
    assert carrier.answers[0].reason == "INVITE without a Contact"

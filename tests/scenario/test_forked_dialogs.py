"""A carrier's proxy that forks: several answers to one INVITE of ours, each with a dialog of its own."""

from __future__ import annotations

from pbxcore.sip import build
from pbxcore.sip.dialog import Dialog
from pbxcore.sip.message import Request
from pbxcore.sip.transaction import ServerTransaction
from tests.scenario.office import CARRIER, EXCHANGE, Office
from tests.scenario.party import Party, Talk
from tests.scenario.test_trunks import Challenger


class Proxy(Party):
    """Two phones behind one address: both answer the INVITE, `apart` seconds from each other."""

    apart = 0.02

    def _accept(self, talk: Talk, tx: ServerTransaction, request: Request) -> None:
        super()._accept(talk, tx, request)
        if talk.invite is not request or len(self.talks) > 1:
            return
        tag = self.world.token()
        other = Talk(Dialog.uas(request, tag, contact=self.contact))
        other.flow, other.state = talk.flow, "up"
        self.talks[request.call_id, tag] = other
        headers = [("Contact", self.contact), ("Content-Type", "application/sdp")]
        answer = build.response(request, 200, to_tag=tag, headers=headers, body=self.sdp())
        self.world.at(self.apart, lambda: tx.flow.send(answer.to_bytes()))


def forked(office: Office) -> tuple[Party, Talk, Proxy, Talk, Talk]:
    desk, proxy = office.phone("101"), Proxy(office.world, CARRIER, "proxy")
    talk = desk.call("9+15558888", EXCHANGE)
    assert office.world.until(lambda: len(proxy.talks) == 2 and talk.state == "up"), office.world.ladder()
    first, second = proxy.talks.values()
    return desk, talk, proxy, first, second


def test_the_second_answer_is_hung_up() -> None:
    office = Office()
    desk, talk, _, first, second = forked(office)
    office.world.run(1.0)
    assert (first.state, second.state) == ("up", "ended"), office.world.ladder()
    desk.bye(talk)
    office.world.run(1.0)
    assert first.state == "ended"
    office.assert_nothing_left()


def test_a_bye_of_the_other_fork_does_not_end_the_call() -> None:
    """A dialog is known by both its tags (RFC 3261 section 12): the Call-ID and ours alone are those of both forks."""
    office = Office()
    desk, talk, proxy, first, second = forked(office)
    assert second.dialog is not None
    proxy.send(second, "BYE")
    office.world.run(2.0)
    assert talk.state == first.state == "up", office.world.ladder()
    assert [r.status for r in proxy.answers if r.cseq.method == "BYE"] == [481]
    desk.bye(talk)
    office.assert_nothing_left()


def test_a_challenged_bye_to_an_answer_that_crossed_the_cancel() -> None:
    """Else the carrier would keep the call, and the bill."""
    office = Office()
    desk = office.phone("101")
    carrier = Challenger(office.world, CARRIER, "+1555")
    carrier.arm()
    carrier.manners.answer_after = 1.0
    carrier.manners.holds_200_after_cancel = True
    talk = desk.call("9+15558888", EXCHANGE)
    assert office.world.until(lambda: 180 in talk.provisionals)
    desk.cancel(talk)
    office.world.run(3.0)
    assert talk.status == 487
    assert carrier.last.acked
    assert carrier.last.state == "ended", office.world.ladder()
    office.assert_nothing_left()

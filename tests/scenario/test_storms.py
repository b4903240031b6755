"""Everything at once: slow relay, slow CRM, slow journal, bad network, and parties who do whatever comes to mind.

Whatever falls together, every INVITE gets one final response, both ends agree in the end, and nothing is left.
"""

from __future__ import annotations

import random

import pytest

from pbxcore.hooks import Decision, Dial, IncomingCall, Proceed, Redirect, Reject, Ring
from pbxcore.media.backend import MediaError
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.party import Party, Talk
from tests.scenario.world import Network

DECISIONS: tuple[Decision | None, ...] = (
    None,
    Proceed(display_name="Anna"),
    Ring(("102", "101"), strategy="in_order", timeout=2.0),
    Ring(("101", "102", "999"), timeout=3.0, otherwise=Proceed()),
    Ring(("103",), timeout=1.0, otherwise=Dial("9+15553333", otherwise=Reject(486, "Busy"))),
    Dial("9+15553333"),
    Reject(603),
    Redirect("sip:shop@example.net"),
)

DEEDS = ("cancel", "bye", "hold", "info", "late offer", "their bye", "their hold", "hang up", "media")


class Storm:
    """One seed's weather and deeds."""

    def __init__(self, seed: int) -> None:
        rng = self.rng = random.Random(seed)
        network = Network(loss=rng.choice((0.0, 0.1)), doubled=rng.choice((0.0, 0.1)), jitter=rng.choice((0.0, 0.06)))
        office = self.office = Office(seed, network)
        self.desks = [office.phone("101"), office.phone("101", 10201, transport="TCP"), office.phone("102")]
        self.carrier = office.carrier()
        self.parties = [*self.desks, self.carrier]
        self.talks: list[tuple[Party, Talk]] = []
        office.hooks.delay = rng.choice((0.0, 0.1, 0.5))
        office.hooks.decide = self._decide
        office.journal.tick = rng.choice((0.003, 0.2))
        for party in self.parties:
            self._mannered(party)
        self._troubled_relay()

    def _decide(self, call: IncomingCall) -> Decision | None:
        return self.rng.choice(DECISIONS)

    def _mannered(self, party: Party) -> None:
        rng, manners = self.rng, party.manners
        manners.answer_after = rng.choice((0.02, 0.3, 1.0, None))
        manners.refuse_with = rng.choice((None, None, None, 486, 603, 503))
        manners.early_media = rng.random() < 0.3
        manners.holds_200_after_cancel = rng.random() < 0.3
        manners.answers_without_sdp = rng.random() < 0.1
        manners.acknowledges = rng.random() < 0.9
        manners.refuse_reinvite = rng.choice((None, None, None, 488, 481))

    def _troubled_relay(self) -> None:
        """Each verb takes its own time, and sometimes fails."""
        rng, relay = self.rng, self.office.relay
        slow, bad = rng.choice((0.0, 0.3)), rng.choice((0.0, 0.0, 0.1))

        async def work(what: str, sdp: bytes) -> None:
            if rng.random() < slow * 2:
                await relay.loop.sleep(rng.random() * slow)
            if rng.random() < bad or not sdp:
                raise MediaError("not now")

        relay._work = work  # type: ignore[method-assign]

    def _deed(self) -> None:
        rng, office = self.rng, self.office
        party, talk = rng.choice(self.talks)
        deed = rng.choice(DEEDS)
        if deed == "cancel":
            party.cancel(talk)
        elif deed == "bye":
            party.bye(talk)
        elif deed in ("hold", "info", "late offer") and talk.state == "up":
            bodies = {"hold": party.sdp("sendonly"), "info": b"x", "late offer": b""}
            party.send(talk, "INFO" if deed == "info" else "INVITE", bodies[deed])
        elif deed.startswith("their"):
            for other in self.parties:
                for theirs in other.up()[:1]:
                    if theirs.dialog is not None and deed == "their hold":
                        other.hold(theirs)
                    else:
                        other.bye(theirs)
        elif office.exchange.live:
            call_id = rng.choice(sorted(office.exchange.live))
            if deed == "hang up":
                office.exchange.hang_up(call_id)
            else:
                office.exchange.media_timed_out(call_id)

    def blow(self) -> None:
        rng, world = self.rng, self.office.world
        for _ in range(6):
            party = rng.choice((self.carrier, self.carrier, self.desks[0], self.desks[2]))
            number = "+15550100" if party is self.carrier else rng.choice(("101", "102", "9+15553333", "404"))
            self.talks.append((party, party.call(number, EXCHANGE, late_offer=rng.random() < 0.2)))
            for _ in range(rng.randrange(6)):
                world.run(rng.random() * rng.choice((0.02, 0.5)))
                self._deed()
        world.run(120.0)
        for party in self.parties:
            for talk in party.up():
                party.bye(talk)
        world.run(70.0)


@pytest.mark.parametrize("seed", range(80))
def test_nothing_is_left_of_a_storm(seed: int) -> None:
    storm = Storm(seed)
    storm.blow()
    office = storm.office
    for _, talk in storm.talks:
        assert talk.status is not None, office.world.ladder()
    for party in storm.parties:
        assert not party.up(), (party.user, office.world.ladder())
    office.assert_nothing_left()
    assert len(office.records()) == office.exchange.counters.calls

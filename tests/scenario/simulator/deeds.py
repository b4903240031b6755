"""What people and phones do, good and bad. One function each; this is the file to add to.

A deed is a function of a session (or of an agent, for `LIFE` and `STRAY`) and the run's source of chance, put into one
of the tables by its decorator:

    @CALLEE.deed(3)                       # drawn three times as often as one of weight 1
    def answers_after_a_sneeze(session, rng):
        session.ring()                                   # now
        session.after(rng.uniform(1, 2), session.answer)     # later, if the session is not over by then

`CALLER` is drawn for every call before its INVITE goes out, `CALLEE` for every INVITE that reaches a phone, `CARRIER`
for half of those that reach a carrier, `TALK` up to twice for each side of an answered call, `LIFE` for phones between
calls, and `STRAY` for messages that belong to nothing. A deed that is trouble says `trouble=True`; a quiet run draws
few of those. The deed's name is counted in the report. Anything random comes from `rng`, and from nowhere else: that is
what makes a seed replay.

`LIFE` and `STRAY` are filled in `strays`; transfers and pickup are in `transfers`, PRACK, UPDATE, session timers and
forwarding in `extensions`. What an agent can do is in `agent` and `session`: `call`, `cancel`, `ring`, `answer`,
`refuse`, `bye`, `reinvite`, `update`, `refer`, `request` (any method inside of the dialog), and the flags of
`Session`. Everything that is not switched on goes by the RFC.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.scenario.simulator import wire

if TYPE_CHECKING:
    from tests.scenario.simulator.session import Session
    from tests.scenario.simulator.transactions import Client
    from tests.scenario.simulator.wire import Wire

Rng = random.Random


@dataclass(frozen=True)
class Deed:
    name: str
    act: Callable[[Any, Rng], None]
    trouble: bool
    table: str

    def do(self, subject: Any, rng: Rng) -> None:
        (subject.agent if hasattr(subject, "agent") else subject).net.done[f"{self.table}: {self.name}"] += 1
        self.act(subject, rng)


class Deeds:
    """A table of deeds with weights."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._deeds: list[Deed] = []
        self._weights: list[float] = []

    def deed(self, weight: float, *, trouble: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
        def add(act: Callable[..., None]) -> Callable[..., None]:
            self._deeds.append(Deed(act.__name__.replace("_", " "), act, trouble, self.name))
            self._weights.append(weight)
            return act

        return add

    def draw(self, rng: Rng, rough: float = 1.0) -> Deed:
        """One of them; with `rough` below 1 trouble is drawn again as often as that."""
        while True:
            found = rng.choices(self._deeds, self._weights)[0]
            if not found.trouble or rng.random() < rough:
                return found


CALLER, CALLEE, CARRIER = Deeds("caller"), Deeds("callee"), Deeds("carrier")
TALK, LIFE, STRAY = Deeds("talk"), Deeds("phone"), Deeds("stray")


def moment(rng: Rng) -> float:
    """A time after the INVITE that hits every moment of a call: the first milliseconds, set-up, ringing."""
    return rng.choice((0.0, rng.uniform(0, 0.02), rng.uniform(0, 0.4), rng.uniform(0, 3), rng.uniform(0, 20)))


# ---- callers


@CALLER.deed(30)
def waits(session: Session, rng: Rng) -> None:
    session.after(rng.uniform(20, 120), session.cancel)


@CALLER.deed(6)
def waits_for_ever(session: Session, rng: Rng) -> None:
    """The exchange must come to an end by itself."""


@CALLER.deed(8, trouble=True)
def cancels(session: Session, rng: Rng) -> None:
    session.after(moment(rng), session.cancel)


@CALLER.deed(4, trouble=True)
def cancels_when_it_rings(session: Session, rng: Rng) -> None:
    session.on_provisional = lambda s: s.after(rng.choice((0.0, rng.uniform(0, 0.05))), s.cancel)


@CALLER.deed(6, trouble=True)
def cancels_as_it_is_answered(session: Session, rng: Rng) -> None:
    if session.plan is not None:
        session.plan.races.append(lambda: session.after(rng.uniform(0, 0.03), session.cancel))


@CALLER.deed(2, trouble=True)
def byes_before_the_answer(session: Session, rng: Rng) -> None:
    """Allowed for an early dialog (15); the INVITE gets its 487."""

    def gone(_: Client, response: Wire | None) -> None:
        if response is not None and response.status == 200 and session.state == "up":
            session.over()      # the 200 crossed it

    def early(s: Session) -> None:
        if s.state == "up":
            s.bye()
        else:
            s.request("BYE", then=gone)

    session.on_provisional = lambda s: s.after(rng.uniform(0, 2), early, s)
    session.after(rng.uniform(20, 120), session.cancel)


@CALLER.deed(2, trouble=True)
def forgets_the_ack(session: Session, rng: Rng) -> None:
    session.ack_after = None


@CALLER.deed(2, trouble=True)
def acks_late(session: Session, rng: Rng) -> None:
    session.ack_after = rng.uniform(0.1, 12.0)


@CALLER.deed(3)
def brings_no_offer(session: Session, rng: Rng) -> None:
    session.late_offer = True
    session.after(rng.uniform(20, 120), session.cancel)


@CALLER.deed(2, trouble=True)
def dies_while_it_calls(session: Session, rng: Rng) -> None:
    if not session.agent.trunk:
        session.after(moment(rng), session.agent.people.died, session.agent)


@CALLER.deed(2, trouble=True)
def sends_the_invite_again_late(session: Session, rng: Rng) -> None:
    """As late as a network may keep a datagram: after its final response no longer than T4 (17.1.1.2)."""

    def again() -> None:
        client = session.client
        if client is not None and session.agent.transport == "UDP" and client.fresh():
            session.agent.send(client.data)

    for _ in range(rng.randint(1, 3)):
        session.agent.net.at(rng.uniform(0.1, 25.0), again)
    session.after(rng.uniform(20, 90), session.cancel)


@CALLER.deed(1, trouble=True)
def sends_it_by_two_ways(session: Session, rng: Rng) -> None:
    """A proxy that forked: the second copy has another branch and is merged (8.2.2.2)."""

    def twice() -> None:
        client = session.client
        if client is not None:
            session.agent.send(client.data.replace(client.via.encode(), client.via.encode() + b"x"))

    session.forked = True
    session.after(rng.uniform(0, 0.3), twice)
    session.after(rng.uniform(20, 90), session.cancel)


@CALLER.deed(1, trouble=True)
def brings_a_strange_body(session: Session, rng: Rng) -> None:
    session.extra = rng.choice(("Require: 199x\r\n", "Content-Encoding: gzip\r\n"))
    session.after(rng.uniform(20, 90), session.cancel)


# ---- phones that are called


@CALLEE.deed(40)
def answers(session: Session, rng: Rng) -> None:
    session.after(rng.uniform(0, 0.3), session.ring)
    session.after(rng.choice((rng.uniform(0, 0.4), rng.uniform(0, 8))), session.answer)


@CALLEE.deed(6)
def answers_at_once(session: Session, rng: Rng) -> None:
    session.answer()


@CALLEE.deed(6)
def plays_something_first(session: Session, rng: Rng) -> None:
    session.after(rng.uniform(0, 0.3), session.ring, 183)
    session.after(rng.uniform(0.3, 6), session.answer)


@CALLEE.deed(8)
def refuses(session: Session, rng: Rng) -> None:
    status = rng.choice((486, 486, 603, 600, 480, 404, 488, 500, 503, 302, 401))
    extra = "Contact: <sip:999@192.0.2.9>\r\n" if status == 302 else ""
    session.after(rng.uniform(0, 0.2), session.ring)
    session.after(rng.uniform(0, 6), session.refuse, status, extra)


@CALLEE.deed(5)
def rings_for_ever(session: Session, rng: Rng) -> None:
    session.after(rng.uniform(0, 0.3), session.ring)


@CALLEE.deed(3, trouble=True)
def says_nothing(session: Session, rng: Rng) -> None:
    session.after(45.0, session.over)


@CALLEE.deed(2, trouble=True)
def tries_for_ever(session: Session, rng: Rng) -> None:
    if session.server is not None:
        session.server.respond(100)


@CALLEE.deed(3, trouble=True)
def picks_up_as_it_is_cancelled(session: Session, rng: Rng) -> None:
    session.ring()
    session.answers_cancel_by = "200"
    session.after(rng.uniform(5, 90), session.answer)


@CALLEE.deed(2, trouble=True)
def ignores_the_cancel(session: Session, rng: Rng) -> None:
    """Says 200 to the CANCEL and never ends the INVITE."""
    session.ring()
    session.answers_cancel_by = ""


@CALLEE.deed(2, trouble=True)
def dies_while_it_rings(session: Session, rng: Rng) -> None:
    session.ring()
    if session.agent.trunk:
        session.after(rng.uniform(0, 6), session.refuse, 480)
    else:
        session.after(rng.uniform(0, 6), session.agent.people.died, session.agent)


@CALLEE.deed(3, trouble=True)
def answers_twice(session: Session, rng: Rng) -> None:
    """Two phones behind a proxy that forks, and both are picked up: two dialogs."""
    from tests.scenario.simulator.session import Session
    from tests.scenario.simulator.transactions import Served

    session.ring()

    def second() -> None:
        first = session.server
        if first is None or first.final != 200 or not session.agent.alive:
            return
        served = Served(session.agent, first.request, None)
        fork = Session.invited(session.agent, served)
        if session.plan is not None:
            session.plan.sessions.append(fork)
        session.did("race: a second 200")
        fork.hangs_up_at = 0.0
        fork.answer()

    def both() -> None:
        session.answer()
        session.agent.net.at(rng.choice((0.0, rng.uniform(0, 0.1), rng.uniform(0, 5))), second)

    session.after(rng.uniform(0, 3), both)


@CALLEE.deed(2, trouble=True)
def speaks_after_the_end(session: Session, rng: Rng) -> None:
    """A provisional response behind the final one, and the final one once more."""
    server = session.server
    if server is None:
        return

    def late() -> None:
        if session.agent.alive:
            session.agent.send(wire.reply(server.request, 180, session.tag, session.agent.contact), server.source)

    def again() -> None:
        if session.agent.alive and server.data:
            session.agent.send(server.data, server.source)

    end = session.answer if rng.random() < 0.6 else lambda: session.refuse(486)
    at = rng.uniform(0, 2)
    session.after(at, end)
    session.agent.net.at(at + rng.uniform(0, 1), late)
    session.agent.net.at(at + rng.uniform(0, 20), again)


@CALLEE.deed(2, trouble=True)
def hangs_up_before_the_ack(session: Session, rng: Rng) -> None:
    session.on_up.append(lambda s: s.bye())
    session.after(rng.uniform(0, 2), session.answer)


@CALLEE.deed(1, trouble=True)
def answers_with_no_sdp(session: Session, rng: Rng) -> None:
    def bare() -> None:
        if session.server is not None and not session.server.final:
            session.accepted.append(session.server)
            session.server.respond(200, session.tag)
            session.go_up()

    session.after(rng.uniform(0, 2), bare)


# ---- carriers


@CARRIER.deed(4)
def asks_for_credentials(session: Session, rng: Rng) -> None:
    challenge = f'Proxy-Authenticate: Digest realm="carrier", nonce="{session.agent.token()}", qop="auth"\r\n'
    if session.server is None:
        return
    if "proxy-authorization" in session.server.request.head:
        answers(session, rng)
    else:
        session.refuse(407, challenge)


@CARRIER.deed(3)
def is_out_of_lines(session: Session, rng: Rng) -> None:
    session.refuse(503)


@CARRIER.deed(2)
def takes_long(session: Session, rng: Rng) -> None:
    if session.server is not None:
        session.server.respond(100)
    session.after(rng.uniform(3, 20), session.ring, 183)
    session.after(rng.uniform(20, 30), session.answer)


# ---- two who talk


@TALK.deed(10)
def holds(session: Session, rng: Rng) -> None:
    at = rng.uniform(0, 4)
    session.after(at, session.reinvite, "sendonly")
    session.after(at + rng.uniform(0, 6), session.reinvite, "sendrecv")


@TALK.deed(6, trouble=True)
def offers_while_the_other_does(session: Session, rng: Rng) -> None:
    """Both sides send a re-INVITE within some milliseconds."""
    at = rng.uniform(0, 3)
    session.after(at, session.reinvite, "sendonly")
    if session.plan is not None:
        for other in session.plan.sessions:
            if other is not session:
                other.after(at + rng.uniform(0, 0.02), other.reinvite, "sendrecv")


@TALK.deed(3)
def offers_late(session: Session, rng: Rng) -> None:
    session.after(rng.uniform(0, 4), lambda: session.reinvite(late=True))


@TALK.deed(8)
def sends_a_digit(session: Session, rng: Rng) -> None:
    session.after(rng.uniform(0, 4), session.request, "INFO", b"")


@TALK.deed(3)
def asks_something(session: Session, rng: Rng) -> None:
    session.after(rng.uniform(0, 4), session.request, rng.choice(("OPTIONS", "MESSAGE")))


@TALK.deed(2, trouble=True)
def asks_the_impossible(session: Session, rng: Rng) -> None:
    method = rng.choice(("REGISTER", "PUBLISH", "FOO", "PRACK", "NOTIFY", "UPDATE"))

    def then(_: Client, response: Wire | None) -> None:
        """An UPDATE that says nothing of the session timer ends it, when the answer doesn't either (RFC 4028, 7.2)."""
        if method == "UPDATE" and response is not None and response.status < 300:
            session.timer.agreed(response)

    session.after(rng.uniform(0, 4), session.request, method, b"", then)


@TALK.deed(3, trouble=True)
def refuses_offers(session: Session, rng: Rng) -> None:
    session.reinvite_status = rng.choice((488, 500, 491, 603))


@TALK.deed(2, trouble=True)
def says_nothing_to_offers(session: Session, rng: Rng) -> None:
    session.reinvite_status = 0


@TALK.deed(3, trouble=True)
def takes_long_over_offers(session: Session, rng: Rng) -> None:
    session.reinvite_delay = rng.uniform(0.1, 5)


@TALK.deed(3, trouble=True)
def cancels_its_offer(session: Session, rng: Rng) -> None:
    def both() -> None:
        session.reinvite("sendonly")
        if session.pending is not None:
            session.agent.net.at(rng.choice((0.0, rng.uniform(0, 0.02), rng.uniform(0, 1))), session.pending.cancel)

    session.after(rng.uniform(0, 3), both)


@TALK.deed(3, trouble=True)
def hangs_up_with_an_offer_out(session: Session, rng: Rng) -> None:
    def both() -> None:
        session.reinvite("sendonly")
        session.after(rng.uniform(0, 0.02), session.bye)

    session.after(rng.uniform(0, 3), both)


@TALK.deed(3, trouble=True)
def both_hang_up(session: Session, rng: Rng) -> None:
    at = rng.uniform(0, 3)
    session.after(at, session.bye)
    if session.plan is not None:
        for other in session.plan.sessions:
            if other is not session:
                other.after(at + rng.uniform(0, 0.01), other.bye)


@TALK.deed(2, trouble=True)
def dies(session: Session, rng: Rng) -> None:
    if not session.agent.trunk:
        session.after(rng.uniform(0, 5), session.agent.people.died, session.agent)


@TALK.deed(2, trouble=True)
def repeats_its_bye(session: Session, rng: Rng) -> None:
    def twice() -> None:
        session.bye()
        for delay in (0.0, rng.uniform(0, 20)):
            session.agent.net.at(delay, session.request, "BYE")

    session.after(rng.uniform(0, 3), twice)


@TALK.deed(2, trouble=True)
def counts_backwards(session: Session, rng: Rng) -> None:
    """A request whose CSeq is behind: 500 (12.2.2), and no effect."""

    def behind() -> None:
        if session.number > 1:
            session.number -= 2
            session.request("INFO")
            session.number += 1

    session.after(rng.uniform(0, 3), behind)

"""Deeds that move a call: REFER, blind and attended, and Replaces in an INVITE (pickup). See `deeds`.

Whoever transfers may be the one who was to hang up: from then on everybody in the call hangs up by himself after a
while, as when somebody is gone without a word (`People.silence`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.scenario.simulator.building import NUMBERS
from tests.scenario.simulator.deeds import CALLEE, TALK, Rng

if TYPE_CHECKING:
    from tests.scenario.simulator.session import Session

OUTSIDE = ("9441234567", "9001")
NOBODY = ("999", "777", "9", "sip:x", "a b")
BAD = (
    "<http://example.com>", "<sip:>", "", "<sip:103@127.0.0.1;method=BYE>", "<sip:103@127.0.0.1>, <sip:104@127.0.0.1>",
    "<sip:103@127.0.0.1?Replaces=nothing>", "<sip:103@127.0.0.1?Replaces=a%3Bto-tag%3Db%3Bfrom-tag%3Dc>", "<sip:103",
)  # fmt: skip


def _address(number: str, rng: Rng) -> str:
    return rng.choice((f"<sip:{number}@127.0.0.1>", f"<tel:{number}>", f"sip:{number}@127.0.0.1", f"<sip:{number}@x>"))


def _takes_its_time(session: Session) -> None:
    """Nobody hangs up before it is done."""
    if session.plan is not None:
        session.plan.talk = max(session.plan.talk, 10.0)


def _others(session: Session) -> None:
    if session.plan is not None:
        session.agent.people.silence(session.plan)


def _blind(session: Session, rng: Rng, to: str, *, goes: float | None = None) -> None:
    """`goes`: seconds after which the transferor hangs up."""
    if session.state != "up":
        return
    session.refer(to, silent=rng.random() < 0.15)
    _others(session)
    if goes is not None:
        session.after(goes, session.bye)


@TALK.deed(10)
def transfers(session: Session, rng: Rng) -> None:
    """To whoever that is: it may ring, be answered, be busy, be dead, or be in this very call."""
    _takes_its_time(session)
    to = _address(rng.choice((*NUMBERS, *NUMBERS, *OUTSIDE, session.agent.user)), rng)
    session.after(rng.uniform(0, 4), _blind, session, rng, to)


@TALK.deed(6, trouble=True)
def transfers_and_hangs_up(session: Session, rng: Rng) -> None:
    _takes_its_time(session)
    to = _address(rng.choice((*NUMBERS, *NUMBERS, *NUMBERS, *OUTSIDE, *NOBODY)), rng)
    goes = rng.choice((0.0, rng.uniform(0, 0.05), rng.uniform(0, 4)))
    session.after(rng.uniform(0, 4), lambda: _blind(session, rng, to, goes=goes))


@TALK.deed(3, trouble=True)
def transfers_to_nobody(session: Session, rng: Rng) -> None:
    to = rng.choice((*BAD, *(_address(number, rng) for number in NOBODY)))
    session.after(rng.uniform(0, 4), _blind, session, rng, to)


@TALK.deed(3, trouble=True)
def transfers_with_an_offer_out(session: Session, rng: Rng) -> None:
    def both() -> None:
        session.reinvite("sendonly")
        session.after(rng.choice((0.0, rng.uniform(0, 0.03))), _blind, session, rng, f"<sip:{rng.choice(NUMBERS)}@x>")

    session.after(rng.uniform(0, 4), both)


@TALK.deed(2, trouble=True)
def both_transfer(session: Session, rng: Rng) -> None:
    at = rng.uniform(0, 3)
    session.after(at, _blind, session, rng, f"<sip:{rng.choice(NUMBERS)}@127.0.0.1>")
    if session.plan is not None:
        for other in session.plan.sessions:
            if other is not session:
                other.after(at + rng.uniform(0, 0.02), _blind, other, rng, f"<sip:{rng.choice(NUMBERS)}@127.0.0.1>")


@TALK.deed(3, trouble=True)
def does_not_want_to_hear_of_its_transfer(session: Session, rng: Rng) -> None:
    session.notify_status = rng.choice((481, 481, 500, 603, 0))
    transfers(session, rng)


@TALK.deed(2, trouble=True)
def transfers_twice(session: Session, rng: Rng) -> None:
    _takes_its_time(session)
    at = rng.uniform(0, 3)
    for delay in (0.0, rng.choice((0.0, rng.uniform(0, 8)))):
        session.after(at + delay, _blind, session, rng, f"<sip:{rng.choice(NUMBERS)}@127.0.0.1>")


# ---- attended


def replaces(session: Session, *, swapped: bool = False) -> str:
    """What names this dialog to the exchange (RFC 3891): the exchange's tag first."""
    theirs = session.remote.partition(";tag=")[2].partition(";")[0]
    ours = session.tag
    if swapped:
        theirs, ours = ours, theirs
    return f"{session.call_id};to-tag={theirs};from-tag={ours}"


def _put_together(session: Session, second: Session, rng: Rng) -> None:
    if session.state != "up" or second.state not in ("up", "calling") or ";tag=" not in second.remote:
        return
    one, other = (session, second) if second.state != "up" or rng.random() < 0.7 else (second, session)
    value = replaces(other, swapped=rng.random() < 0.2)
    one.refer(f"<sip:{rng.choice(NUMBERS)}@127.0.0.1?Replaces={quote(value, safe='')}>", joins=True)
    for two in (one, other):
        if two.plan is not None:
            two.plan.joined = True
        _others(two)
        if rng.random() < 0.3:
            two.after(rng.choice((0.0, rng.uniform(0, 0.05), rng.uniform(0, 3))), two.bye)


@TALK.deed(12)
def consults_and_transfers(session: Session, rng: Rng) -> None:
    """Calls somebody else from the same phone, and puts the two together: while it rings there, as it is answered, or
    when they have talked."""
    agent = session.agent
    if agent.trunk or not agent.password:
        return
    _takes_its_time(session)

    def consult() -> None:
        people = agent.people
        if rng.random() < 0.5:
            session.reinvite("sendonly")
        second = people.ring_up(people.plan(agent, rng.choice((*NUMBERS, *OUTSIDE))))
        second.after(rng.uniform(20, 90), second.cancel)
        _takes_its_time(second)
        when = rng.random()
        if when < 0.3:
            second.on_provisional = lambda s: s.after(rng.uniform(0, 2), _put_together, session, s, rng)
        else:
            delay = 0.0 if when < 0.5 else rng.uniform(0, 5)
            second.on_up.append(lambda s: s.after(delay, _put_together, session, s, rng))

    session.after(rng.uniform(0, 3), consult)


# ---- pickup


def _pick_up(place: Session, rng: Rng) -> None:
    """Another phone asks for this place in the call."""
    people = place.agent.people
    phones = [one for one in people.agents if one.password and one.trusted and one.alive and one is not place.agent]
    if not phones or place.plan is None or ";tag=" not in place.remote:
        return
    phone = rng.choice(phones)
    early = ";early-only" if rng.random() < 0.2 else ""
    row = f"Replaces: {replaces(place, swapped=rng.random() < 0.1)}{early}\r\n"
    picker = people.ring_up(place.plan, phone, role="picker", called=place.agent.user, extra=row)
    picker.after(rng.uniform(20, 60), picker.cancel)
    people.silence(place.plan)


@CALLEE.deed(4)
def is_picked_up_by_another(session: Session, rng: Rng) -> None:
    session.after(rng.uniform(0, 0.3), session.ring)
    at = rng.uniform(0.3, 5)
    session.after(at, _pick_up, session, rng)
    session.after(rng.choice((at, at + rng.uniform(0, 0.05), rng.uniform(5, 60))), session.answer)


@TALK.deed(3)
def is_taken_over(session: Session, rng: Rng) -> None:
    """By another phone, in the middle of the call."""
    if not session.agent.trunk:
        session.after(rng.uniform(0, 4), _pick_up, session, rng)

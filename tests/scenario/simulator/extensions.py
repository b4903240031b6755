"""Deeds with what SIP learned later: PRACK (RFC 3262), UPDATE (RFC 3311), session timers (RFC 4028), and forwarding by
3xx. See `deeds`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.scenario.simulator.building import NUMBERS
from tests.scenario.simulator.deeds import CALLEE, CALLER, CARRIER, TALK, Rng
from tests.scenario.simulator.early import MANNERS

if TYPE_CHECKING:
    from tests.scenario.simulator.session import Session


# ---- reliable provisionals


@CALLER.deed(6)
def knows_reliable_provisionals(session: Session, rng: Rng) -> None:
    session.early.manner = "at once"
    session.late_offer = rng.random() < 0.2
    session.after(rng.uniform(20, 120), session.cancel)


@CALLER.deed(3, trouble=True)
def requires_reliable_provisionals(session: Session, rng: Rng) -> None:
    session.early.manner = rng.choice(MANNERS)
    session.extra = rng.choice(("Require: 100rel\r\n", "Require: 100rel\r\n", ""))
    session.after(rng.uniform(20, 120), session.cancel)


@CALLEE.deed(6)
def rings_reliably(session: Session, rng: Rng) -> None:
    def ring() -> None:
        delay = rng.choice((0.0, rng.uniform(0, 6)))
        session.early.then.append(lambda: session.after(delay, session.answer))
        if not session.early.tell(rng.choice((180, 183)), sdp=rng.random() < 0.7 or session.late_offer):
            session.ring()
            session.after(delay, session.answer)

    session.after(rng.uniform(0, 0.3), ring)


@CALLEE.deed(3)
def tells_one_after_the_other(session: Session, rng: Rng) -> None:
    """Several reliable provisionals, each when the last one has arrived."""
    left = rng.randint(2, 4)

    def more() -> None:
        nonlocal left
        left -= 1
        if left:
            session.early.then.append(more)
            session.after(rng.uniform(0, 1), session.early.tell, 183)
        else:
            session.after(rng.uniform(0, 4), session.answer)

    session.early.then.append(more)
    if not session.early.tell():
        session.early.then.clear()
        session.ring()
        session.after(rng.uniform(0, 4), session.answer)


@CALLEE.deed(3, trouble=True)
def does_not_answer_prack(session: Session, rng: Rng) -> None:
    """And tells the same again and again, as if none had come; it is picked up all the same, or not."""
    session.early.mute = True
    if not session.early.tell():
        session.ring()
    session.after(rng.uniform(0.5, 60), rng.choice((session.answer, session.ring)))


@CALLEE.deed(3, trouble=True)
def answers_before_the_prack(session: Session, rng: Rng) -> None:
    session.early.tell(sdp=rng.random() < 0.5 and not session.late_offer)    # the exchange may know no PRACK here
    session.after(rng.choice((0.0, rng.uniform(0, 0.02))), session.answer)


@CALLEE.deed(2, trouble=True)
def is_gone_before_the_prack(session: Session, rng: Rng) -> None:
    session.early.tell()
    session.after(rng.choice((0.0, rng.uniform(0, 0.02))), session.refuse, rng.choice((486, 480, 603)))


# ---- UPDATE


@CALLER.deed(3, trouble=True)
def updates_while_it_rings(session: Session, rng: Rng) -> None:
    session.early.manner = rng.choice((None, "at once"))
    session.on_provisional = lambda s: s.after(rng.uniform(0, 3), s.update, rng.choice(("", "sendrecv", "sendonly")))
    session.after(rng.uniform(20, 90), session.cancel)


@TALK.deed(8)
def updates(session: Session, rng: Rng) -> None:
    at = rng.uniform(0, 4)
    session.after(at, session.update, rng.choice(("sendonly", "sendrecv", "")))
    session.after(at + rng.uniform(0, 6), session.update, "sendrecv")


@TALK.deed(5, trouble=True)
def updates_while_the_other_offers(session: Session, rng: Rng) -> None:
    at = rng.uniform(0, 3)
    session.after(at, session.update, "sendonly")
    if session.plan is not None:
        for other in session.plan.sessions:
            if other is not session:
                what = rng.choice((other.update, other.reinvite))
                other.after(at + rng.uniform(0, 0.02), what, "sendrecv")


@TALK.deed(3, trouble=True)
def hangs_up_with_an_update_out(session: Session, rng: Rng) -> None:
    def both() -> None:
        session.update("sendonly")
        session.after(rng.uniform(0, 0.02), session.bye)

    session.after(rng.uniform(0, 3), both)


# ---- session timers


@CALLER.deed(6)
def wants_a_session_timer(session: Session, rng: Rng) -> None:
    """Some ask for less than the exchange takes (422)."""
    session.timer.knows = True
    session.timer.asks = rng.choice((30, 90, 90, 120, 1800))
    session.timer.who = rng.choice(("", "uac", "uas"))
    session.after(rng.uniform(30, 120), lambda: session.cancel() if session.state == "calling" else None)
    session.on_up.append(lambda s: talks_long(s, rng))


@CALLEE.deed(3)
def wants_a_longer_session(session: Session, rng: Rng) -> None:
    """422 for an interval that is too short; the next INVITE is another one."""
    server = session.server
    said = server.request.head.get("session-expires", "").partition(";")[0] if server is not None else ""
    least = rng.choice((120, 2000))
    session.timer.knows = True
    if said.isdigit() and int(said) < least:
        session.refuse(422, f"Min-SE: {least}\r\n")
        return
    session.timer.who = rng.choice(("uac", "uas"))
    session.after(rng.uniform(0, 3), session.answer)
    session.on_up.append(lambda s: talks_long(s, rng))


@TALK.deed(3)
def talks_long(session: Session, rng: Rng) -> None:
    """Nobody hangs up before a timer has run."""
    if session.plan is not None:
        session.plan.talk = max(session.plan.talk, rng.uniform(100, 200))


@TALK.deed(3, trouble=True)
def stops_refreshing(session: Session, rng: Rng) -> None:
    """It is mute without having died: nobody hangs up, and the exchange must notice by itself."""
    talks_long(session, rng)
    session.timer.lazy = True


# ---- forwarding


def _contact(rng: Rng, host: str, numbers: tuple[str, ...]) -> str:
    chosen = rng.sample(numbers, rng.choice((1, 1, 1, 2, 3)))
    rows = [f"<sip:{number}@{host}>;q={rng.choice(('1.0', '0.5', '0.1', 'x'))}" for number in chosen]
    return f"Contact: {', '.join(rows)}\r\n"


@CALLEE.deed(5)
def forwards(session: Session, rng: Rng) -> None:
    """To a colleague, to himself, or to a number outside; in circles, too, when others do the same."""
    contact = _contact(rng, "127.0.0.1", (*NUMBERS, "9441234567", "777"))
    status = rng.choice((301, 302, 302, 300, 305, 380))
    if rng.random() < 0.5:
        session.after(rng.uniform(0, 0.2), session.ring)
    session.after(rng.choice((0.0, rng.uniform(0, 6))), session.refuse, status, contact)


@CARRIER.deed(2)
def sends_it_on(session: Session, rng: Rng) -> None:
    session.refuse(302, _contact(rng, session.agent.address[0], ("441234567", "1", "101")))

"""Deeds outside of calls: what phones do by themselves, and messages that belong to nothing. See `deeds`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.scenario.simulator import wire
from tests.scenario.simulator.deeds import LIFE, STRAY, Rng
from tests.scenario.simulator.texts import write

if TYPE_CHECKING:
    from tests.scenario.simulator.agent import Agent
    from tests.scenario.simulator.transactions import Client
    from tests.scenario.simulator.wire import Wire


# ---- phones by themselves


@LIFE.deed(6)
def registers_again(agent: Agent, rng: Rng) -> None:
    agent.register(rng.choice((60, 120, 600)))


@LIFE.deed(3, trouble=True)
def moves(agent: Agent, rng: Rng) -> None:
    """Another address in the middle of everything; its calls tell the exchange by re-INVITE."""
    net = agent.net
    host, port = agent.address
    del net.peers[agent.address]
    agent.address = (host, port + 1000)
    agent.moved = True
    net.peers[agent.address] = agent
    agent.register(300)
    for session in list(agent.sessions.values()):
        if session.state == "up":
            session.reinvite()


@LIFE.deed(3, trouble=True)
def loses_power_for_a_while(agent: Agent, rng: Rng) -> None:
    agent.people.died(agent)

    def back() -> None:
        agent.alive = True
        for session in agent.sessions.values():
            session.state = "ended"      # it knows nothing of them any more
        agent.sessions.clear()
        agent.watches.clear()
        agent.clients.clear()
        agent.served.clear()
        agent.challenge = ""
        agent.register_id = agent.token()
        agent.register(300)

    agent.net.at(rng.uniform(2, 60), back)


@LIFE.deed(2)
def writes_a_text(agent: Agent, rng: Rng) -> None:
    write(agent, rng.choice(("101", "102", "105", "999")))


@LIFE.deed(2, trouble=True)
def does_not_like_texts(agent: Agent, rng: Rng) -> None:
    agent.text_status = rng.choice((480, 415, 500, 603, 0))


@LIFE.deed(3, trouble=True)
def loses_its_connection(agent: Agent, rng: Rng) -> None:
    """Of phones on streams: a router forgets it. Datagrams have nothing to lose."""
    if agent.transport != "UDP":
        agent.net.break_stream(agent.address, agent.exchange, 0.0)


@LIFE.deed(1, trouble=True)
def signs_off_and_on(agent: Agent, rng: Rng) -> None:
    agent.register(0, rng.choice((None, "*")))
    agent.net.at(rng.uniform(0, 5), agent.register)


# ---- messages that belong to nothing


def _nowhere(agent: Agent) -> dict[str, str]:
    tag, other = agent.token(), agent.token()
    return {
        "From": f"<sip:{agent.user}@{agent.exchange[0]}>;tag={tag}", "To": f"<sip:x@{agent.exchange[0]}>;tag={other}",
        "Call-ID": agent.token(),
    }  # fmt: skip


@STRAY.deed(4, trouble=True)
def sends_requests_of_no_dialog(agent: Agent, rng: Rng) -> None:
    method = rng.choice(("BYE", "INFO", "UPDATE", "NOTIFY", "REFER", "INVITE", "PRACK", "SUBSCRIBE"))
    agent.perform(method, f"sip:x@{agent.exchange[0]}", _nowhere(agent), rng.randint(1, 9))


@STRAY.deed(3, trouble=True)
def sends_a_stray_ack_or_cancel(agent: Agent, rng: Rng) -> None:
    method = rng.choice(("ACK", "CANCEL"))
    if method == "ACK":
        agent.raw("ACK", f"sip:x@{agent.exchange[0]}", _nowhere(agent), 1)
    else:
        agent.perform("CANCEL", f"sip:x@{agent.exchange[0]}", _nowhere(agent), 1)


@STRAY.deed(3, trouble=True)
def sends_a_response_to_nothing(agent: Agent, rng: Rng) -> None:
    head = _nowhere(agent)
    via = f"SIP/2.0/UDP {agent.exchange[0]}:{agent.exchange[1]};branch=z9hG4bK{agent.token()}"
    rows = f"SIP/2.0 {rng.choice((180, 200, 486))} Hm\r\nVia: {via}\r\nFrom: {head['From']}\r\nTo: {head['To']}\r\n"
    agent.send(wire.written(f"{rows}Call-ID: {head['Call-ID']}\r\nCSeq: 1 INVITE\r\n", b""))


@STRAY.deed(4, trouble=True)
def sends_rubbish(agent: Agent, rng: Rng) -> None:
    """A request that is hurt in some places, or nothing of the kind at all."""
    whole = bytearray(
        agent.raw(
            rng.choice(("INVITE", "REGISTER", "OPTIONS", "MESSAGE", "BYE")), f"sip:101@{agent.exchange[0]}",
            _nowhere(agent), 1, b"v=0\r\n", extra="X-Sim: 0\r\n", sent=False,
        )
    )  # fmt: skip
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(whole))
        kind = rng.randrange(3)
        if kind == 0:
            whole[place] = rng.randrange(256)
        elif kind == 1:
            del whole[place : place + rng.randint(1, 30)]
        else:
            whole[place:place] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 20)))
        if not whole:
            break
    agent.send(bytes(whole) or b"\x00")


@STRAY.deed(2, trouble=True)
def asks_options(agent: Agent, rng: Rng) -> None:
    host = agent.exchange[0]
    head = {"From": f"<sip:x@{host}>;tag={agent.token()}", "To": f"<sip:{host}>", "Call-ID": agent.token()}
    agent.perform("OPTIONS", f"sip:{host}", head, 1)


@STRAY.deed(4, trouble=True)
def breaks_in(agent: Agent, rng: Rng) -> None:
    """A call to a number outside, or to a phone, without the right to: no credentials, or wrong ones, or borrowed."""
    people = agent.people
    called = rng.choice(("900441234567", "9110", "101", "102"))
    plan = people.plan(agent, called, allowed=agent.trusted)
    people.stranger(plan, rng)


@STRAY.deed(1, trouble=True)
def guesses_a_password(agent: Agent, rng: Rng) -> None:
    host = agent.exchange[0]
    head = {"From": f"<sip:101@{host}>;tag={agent.token()}", "To": f"<sip:101@{host}>", "Call-ID": agent.token()}

    def then(client: Client, response: Wire | None) -> None:
        if response is None or response.status != 401:
            if response is not None and response.status == 200:
                agent.wrong("a wrong password registered", client.head["Call-ID"])
            return
        signed = wire.digest(
            response.head.get("www-authenticate", ""), "REGISTER", f"sip:{host}", "101", "guess", 1, agent.token()
        )
        contact = f"Contact: <{agent.contact}>\r\nAuthorization: {signed}\r\n"
        agent.perform("REGISTER", f"sip:{host}", head, 2, extra=contact, then=then)

    agent.perform("REGISTER", f"sip:{host}", head, 1, extra=f"Contact: <{agent.contact}>\r\n", then=then)

"""The people of a simulated office: who calls whom, and what becomes of each call.

A `Plan` is one call as its people mean it: who hangs up, and after how long. `People` draws the deeds of everybody
from the tables in `deeds`, and is told by the agents what happens to their sessions.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.scenario.simulator.agent import Agent
from tests.scenario.simulator.deeds import CALLEE, CALLER, CARRIER, TALK
from tests.scenario.simulator.network import Net
from tests.scenario.simulator.registrar import Registrar
from tests.scenario.simulator.session import Session
from tests.scenario.simulator.texts import Text
from tests.scenario.simulator.transactions import Client, Served

MOST = 5      # copies of one message that must have been lost before its loss is an excuse (11 are sent in 32 s)
ON_ITS_WAY = 5.0     # seconds that a datagram may take


@dataclass
class Plan:
    """One call. `hangs_up` is the role whose person does; `broken` means that somebody died, so that the others will
    notice the silence and hang up."""

    number: int
    caller: Agent
    called: str
    hangs_up: str
    talk: float
    allowed: bool = True                 # by the exchange's rules: false for strangers
    broken: bool = False
    joined: bool = False                 # an attended transfer has named it: it may become a part of another
    sessions: list[Session] = field(default_factory=list)
    races: list[Any] = field(default_factory=list)      # what the caller does when a phone is picked up
    glares: list[Any] = field(default_factory=list)


class People:
    """Everybody. `wrongs` is what the exchange did that no exchange may do."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.rng: random.Random = net.chance["people"]
        self.agents: list[Agent] = []
        self.plans: dict[str, Plan] = {}
        self.texts: dict[str, Text] = {}
        self.wrongs: list[str] = []
        self.closing = False             # the run comes to its end: nobody begins or refreshes anything
        self.registrar = Registrar(net)
        self.killed_at: list[float] = []
        self.number_of: Callable[[str], str] = lambda call_id: ""     # of the call that a dialog belongs to
        self.rough = 1.0                 # how many of the deeds are troublesome: 0 none, 1 as the tables say

    # ---- calls

    def plan(self, caller: Agent, called: str, *, allowed: bool = True) -> Plan:
        rng = self.rng
        number = len(self.plans) + 1
        talk = rng.choice((0.0, rng.uniform(0.0, 0.1), rng.uniform(0.0, 6.0), rng.expovariate(0.1)))
        role = rng.choice(("caller", "caller", "callee", "callee", "both"))
        plan = self.plans[str(number)] = Plan(number, caller, called, role, min(talk, 90.0), allowed)
        return plan

    def dial(self, plan: Plan) -> None:
        """Lift the receiver."""
        agent = plan.caller
        if not agent.alive:
            return
        session = Session(agent, plan, "caller", f"{plan.number}-{agent.token()}", agent.token())
        plan.sessions.append(session)
        deed = CALLER.draw(self.rng, self.rough)
        self.net.note(f"#{plan.number}: {agent.user} calls {plan.called}: {deed.name}")
        deed.do(session, self.rng)
        session.call(plan.called)

    def ring_up(
        self, plan: Plan, agent: Agent | None = None, *, role: str = "caller", called: str = "", extra: str = ""
    ) -> Session:
        """A call with no deed of its own: a consultation, or a pickup (`role` picker)."""
        agent = agent or plan.caller
        session = Session(agent, plan, role, f"{plan.number}-{agent.token()}", agent.token())
        session.extra = extra
        plan.sessions.append(session)
        session.call(called or plan.called)
        return session

    def stranger(self, plan: Plan, rng: random.Random) -> None:
        """A call by somebody who may not make one; his phone waits for as long as it gets."""
        agent = plan.caller
        session = Session(agent, plan, "caller", f"{plan.number}-{agent.token()}", agent.token())
        plan.sessions.append(session)
        if rng.random() < 0.3:
            session.extra = "P-Asserted-Identity: <sip:101@127.0.0.1>\r\nX-Hookline-Call: 1\r\n"
        session.call(plan.called)

    # ---- what the agents tell

    def asked(self, carrier: Agent, served: Served) -> None:
        """A request outside of any dialog, to a carrier."""
        self.registrar.asked(carrier, served)

    def plan_of(self, number: str, call_id: str) -> Plan | None:
        """The plan of a call, by the row that all its INVITEs carry, or by what the exchange calls it."""
        return self.plans.get(number or self.number_of(call_id))

    def invited(self, session: Session, served: Served) -> None:
        plan = session.plan
        unknown = plan is None and not self.forgotten(self.net.now - ON_ITS_WAY)
        if unknown or (plan is not None and not plan.allowed):
            self.wrong(session.agent, "a call that nobody was allowed to make rings", session.call_id)
        if plan is not None:
            plan.sessions.append(session)
        table = CARRIER if session.agent.trunk and self.rng.random() < 0.5 else CALLEE
        deed = table.draw(self.rng, self.rough)
        number = plan.number if plan is not None else "?"
        self.net.note(f"#{number}: at {session.agent.user} ({session.agent.address[1]}): {deed.name}")
        deed.do(session, self.rng)

    def went_up(self, session: Session) -> None:
        plan = session.plan
        if plan is None:
            return
        if not plan.allowed:
            self.wrong(session.agent, "a call that nobody was allowed to make was answered", session.call_id)
        if session.role == "callee":
            races, plan.races = plan.races, []
            for race in races:
                race()
        if plan.broken:
            session.after(self.rng.uniform(5.0, 40.0), session.bye)
        elif plan.hangs_up in (session.role, "both") or session.role == "picker":
            session.after(plan.talk, self._hang_up, session, plan)
        for _ in range(self.rng.choice((0, 0, 0, 1, 1, 2))):
            deed = TALK.draw(self.rng, self.rough)
            self.net.note(f"#{plan.number}: {session.role} {session.agent.user} in the call: {deed.name}")
            deed.do(session, self.rng)

    def _hang_up(self, session: Session, plan: Plan) -> None:
        """When they have talked as long as they were to: a deed may have made it longer meanwhile."""
        left = session.since + plan.talk - self.net.now
        if left > 0.001:
            session.after(left, self._hang_up, session, plan)
        else:
            session.bye()

    def silence(self, plan: Plan) -> None:
        """Somebody is gone without a word: the others notice after a while."""
        plan.broken = True
        for session in plan.sessions:
            if session.state == "up":
                session.after(self.rng.uniform(5.0, 40.0), session.bye)
            elif session.state == "calling":
                session.after(self.rng.uniform(20.0, 90.0), session.cancel)

    def talking(self, number: str) -> bool:
        """Whether anybody is in this call: then there is RTP."""
        plan = self.plans.get(number)
        return plan is not None and any(session.state == "up" and session.agent.alive for session in plan.sessions)

    def forgotten(self, since: float) -> bool:
        """Whether the exchange has been killed since: then it knows nothing of what was before, nor of what was on its
        way just then."""
        return bool(self.killed_at) and self.killed_at[-1] >= since - ON_ITS_WAY

    def unanswered(self, session: Session, bye: Client) -> None:
        """A BYE got no answer: the network must have taken it."""
        plan = session.plan
        if plan is None:
            return
        excused = bye.lost or session.agent.moved or self.forgotten(bye.started)
        if not excused and not self.lost(session, "BYE", "final BYE"):
            self.wrong(session.agent, "nobody answered the BYE", session.call_id)
        self.silence(plan)

    def lost(self, session: Session, *words: str) -> bool:
        """Whether so much of this was lost that it may not have got through; over a stream nothing is sent twice."""
        most = MOST if session.agent.transport == "UDP" else 1
        return sum(self.net.lost[session.call_id, word] for word in words) >= most

    def touched(self, session: Session) -> bool:
        """Whether anything of this session's dialog was lost."""
        return bool(self.net.touched[session.call_id])

    def died(self, agent: Agent) -> None:
        """A phone without power. Whoever talks to it finds out."""
        agent.alive = False
        for session in list(agent.sessions.values()):
            session.died = True
            if session.plan is not None:    # of an ended one, too: its BYE may still be on its way
                self.silence(session.plan)

    def wrong(self, agent: Agent, what: str, call_id: str) -> None:
        self.wrongs.append(f"{what} (seen by {agent.user} at {agent.address[0]}:{agent.address[1]}, Call-ID {call_id})")
        self.net.note(f"WRONG: {self.wrongs[-1]}")

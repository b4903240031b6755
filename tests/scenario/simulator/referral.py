"""A REFER of a simulated phone, and the subscription that it makes (RFC 3515)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.scenario.simulator.transactions import Client, Served
from tests.scenario.simulator.wire import Wire

if TYPE_CHECKING:
    from tests.scenario.simulator.session import Session


class Referral:
    """`silent`: it asked not to be told (RFC 4488). `joins`: it names a dialog, an attended transfer."""

    __slots__ = ("accepted", "client", "joins", "last", "over", "refused", "session", "silent")

    client: Client

    def __init__(self, session: Session, *, silent: bool, joins: bool) -> None:
        self.session = session
        self.silent = silent
        self.joins = joins
        self.accepted = False
        self.refused = False     # the phone wants to hear no more of it, and has said so
        self.over = False        # its subscription has ended
        self.last = 0            # the status that it was told of last

    def answered(self, _: Client, response: Wire | None) -> None:
        if response is None:
            return
        self.accepted = response.status < 300
        self.session.did(f"refer: {response.status}")

    def is_meant(self, notify: Wire) -> bool:
        """By its number: which of two was the first to arrive, their sender does not know (RFC 3515 section 2.4.6)."""
        return notify.head.get("event", "") == f"refer;id={self.client.number}"

    def notified(self, served: Served, status: int) -> None:
        agent, notify = self.session.agent, served.request
        if self.silent:
            agent.wrong("a NOTIFY for a REFER that wanted none", notify.call_id)
        if self.over or self.refused:
            agent.wrong("a NOTIFY behind the end of its subscription", notify.call_id)
        first = notify.body.split(b" ", 2)
        self.last = int(first[1]) if len(first) > 1 and first[1].isdigit() else 0
        if not 100 <= self.last < 700:
            agent.wrong("a NOTIFY without a status line", notify.call_id)
        if notify.head.get("subscription-state", "").startswith("terminated"):
            self.over = True
            self.session.did(f"refer: came to {self.last}")
            if self.last < 200:
                agent.wrong("a REFER ended with a provisional status", notify.call_id)
        if status != 200:
            self.refused = True
        if status:
            served.respond(status)

"""A carrier as the exchange's trunks see it between calls: it takes registrations and probes, or does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.scenario.simulator.transactions import Served

if TYPE_CHECKING:
    from tests.scenario.simulator.agent import Agent
    from tests.scenario.simulator.network import Net

MOODS = ("plain", "plain", "challenges", "wants more", "wants a short one", "busy", "refuses", "silent", "probes fail")


class Registrar:
    """`mood` is changed by the run. `refused_at` is when somebody was last told to go away for good."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.mood = "plain"
        self.refused_at = -1e9

    def asked(self, carrier: Agent, served: Served) -> None:
        request, mood = served.request, self.mood
        if request.method == "OPTIONS":
            if mood == "silent":
                return
            served.respond(503 if mood == "probes fail" else 200, carrier.token())
        elif request.method != "REGISTER":
            served.respond(405, carrier.token())
        else:
            self.net.done[f"trunk: registers ({mood})"] += 1
            if mood != "silent":
                self._register(carrier, served)

    def _register(self, carrier: Agent, served: Served) -> None:
        request, mood = served.request, self.mood
        contact = request.head.get("contact", "")
        wanted = int(contact.rpartition("expires=")[2] or 0)
        tag = carrier.token()
        signed = "authorization" in request.head
        if mood == "challenges" and not signed:
            nonce = carrier.token()
            row = f'WWW-Authenticate: Digest realm="carrier", nonce="{nonce}", qop="auth"\r\n'
            served.respond(401, tag, extra=row)
        elif mood == "wants more" and 0 < wanted < 3700:
            served.respond(423, tag, extra="Min-Expires: 3700\r\n")
        elif mood == "busy":
            served.respond(503, tag, extra="Retry-After: 20\r\n")
        elif mood == "refuses":
            self.refused_at = self.net.now
            served.respond(403, tag)
        else:
            granted = min(wanted, 60) if mood == "wants a short one" else wanted
            row = f"Contact: {contact.partition(';expires')[0]};expires={granted}\r\n"
            served.respond(200, tag, extra=row)

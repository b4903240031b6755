"""Texts (MESSAGE, RFC 3428) between the simulated phones: what was written, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.scenario.simulator.transactions import Client, Served
from tests.scenario.simulator.wire import Wire

if TYPE_CHECKING:
    from tests.scenario.simulator.agent import Agent


@dataclass
class Text:
    """`status` is what its sender was told, 0 when nothing; `refused`: a phone did not want it."""

    name: str
    sender: str
    receiver: str
    status: int = 0
    delivered: list[str] = field(default_factory=list)
    refused: bool = False


def write(agent: Agent, number: str, tries: int = 3, text: Text | None = None) -> None:
    """A text to somebody, outside of any call."""
    people = agent.people
    if text is None:
        text = Text(f"text {len(people.texts) + 1}", agent.user, number)
        people.texts[text.name] = text
    written = text
    uri = f"sip:{number}@{agent.exchange[0]}"
    who = f"<sip:{agent.user}@{agent.exchange[0]}>;tag={agent.token()}"
    head = {"From": who, "To": f"<{uri}>", "Call-ID": agent.token()}

    def then(client: Client, response: Wire | None) -> None:
        if response is None:
            return
        if tries and agent.challenged(response):
            write(agent, number, tries - 1, written)
            return
        written.status = response.status
        agent.net.done[f"text: {response.status}"] += 1

    extra = "Content-Type: text/plain\r\n" + agent.authorization("MESSAGE", uri)
    agent.perform("MESSAGE", uri, head, 1, written.name.encode(), extra=extra, then=then)


def received(agent: Agent, served: Served) -> None:
    """A phone gets a text."""
    request = served.request
    text = agent.people.texts.get(request.body.decode("utf-8", "replace"))
    status = agent.text_status
    if text is None:
        if request.body.startswith(b"text"):
            agent.wrong("a text that nobody has written", request.call_id)
    elif agent.trunk or text.receiver != agent.user:
        agent.wrong(f"a text for {text.receiver}", request.call_id)
    elif status == 200:
        text.delivered.append(agent.user)
        if f"sip:{text.sender}@" not in request.head.get("from", ""):
            agent.wrong(f"a text of {text.sender} came as another's", request.call_id)
    elif status not in (0, 408, 480) and not 500 <= status < 600:      # from 600 on he wants it nowhere
        text.refused = True
    if status:
        served.respond(status, agent.token())

"""Subscriptions (RFC 6665) and publications (RFC 3903) of simulated phones, and the deeds about them. See `deeds`.

`WATCHER` is drawn for every subscription. A watch checks what it is told: notifications in their order, none behind the
end of the subscription, and lamps that go out when the last call is over.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pbxcore.call.subscriptions.subscription import MAX_FAILURES
from tests.scenario.simulator.building import NUMBERS
from tests.scenario.simulator.deeds import LIFE, Deeds, Rng
from tests.scenario.simulator.transactions import Client, Served
from tests.scenario.simulator.wire import Wire, uri_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.scenario.simulator.agent import Agent

WATCHER = Deeds("watcher")
EVENTS = ("dialog", "dialog", "dialog", "presence", "message-summary", "reg")
_VERSION = re.compile(rb' version="(\d+)" state="(\w+)"')
_DIALOG = re.compile(rb'<dialog id="([^"]+)".*?<state[^>]*>(\w+)</state>', re.DOTALL)


class Watch:
    """One subscription. `state`: asked, active, over."""

    def __init__(self, agent: Agent, event: str, resource: str) -> None:
        self.agent, self.event, self.resource = agent, event, resource
        self.call_id, self.tag = agent.token(), agent.token()
        self.state = "asked"
        self.began = agent.net.now
        self.expires = 600
        self.expires_at = 0.0
        self.refreshes = True
        self.notify_status = 200           # 0: says nothing
        self.notify_extra = ""
        self.told = 0                      # notifications
        self.ended = False                 # it was told so
        self.refused = False               # it wants to hear no more, and has said so
        self.lamps: dict[bytes, bytes] = {}     # dialogs, and how each of them stands
        self.accept = ""
        self._number = 0
        self._heard = 0                    # the last CSeq of a notification
        self._troubles = 0                 # notifications in a row that it said 5xx to
        self.given_up = False              # for them: it hears no more until it subscribes anew
        self._version = -1
        self._to = f"<sip:{resource}@{agent.exchange[0]}>"
        self._target = f"sip:{resource}@{agent.exchange[0]}"
        agent.watches[self.call_id, self.tag] = self

    def after(self, seconds: float, what: Callable[..., object], *arguments: Any) -> None:
        self.agent.net.at(seconds, self._later, what, arguments)

    def _later(self, what: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        if self.state != "over" and self.agent.alive and not self.agent.people.closing:
            what(*arguments)

    # ---- SUBSCRIBE

    def ask(self, expires: int | None = None, tries: int = 2) -> None:
        """Subscribe, refresh, or end with 0."""
        agent = self.agent
        seconds = self.expires if expires is None else expires
        self._number += 1
        who = f"<sip:{agent.user}@{agent.exchange[0]}>;tag={self.tag}"
        extra = (
            f"Contact: <{agent.contact}>\r\nEvent: {self.event}\r\nExpires: {seconds}\r\n{self.accept}"
            + agent.authorization("SUBSCRIBE", self._target)
        )
        head = {"From": who, "To": self._to, "Call-ID": self.call_id}

        def then(client: Client, response: Wire | None) -> None:
            self._answered(response, seconds, tries)

        agent.perform("SUBSCRIBE", self._target, head, self._number, extra=extra, then=then)

    def again(self, expires: int | None = None) -> None:
        """Refresh, or end with 0, once the subscription is there: before that it would make another."""
        if self.state == "active":
            self.ask(expires)

    def _answered(self, response: Wire | None, seconds: int, tries: int) -> None:
        agent = self.agent
        if response is None:
            return
        if response.status != 401:
            agent.net.done[f"subscribe: {response.status}"] += 1
        if response.status == 200:
            self._to = response.head["to"]
            self._target = uri_of(response.head.get("contact", "")) or self._target
            if self.state == "asked":
                self.state = "active"
            granted = int(response.head.get("expires", "0"))
            self.expires_at = agent.net.now + granted
            if granted > seconds:
                agent.wrong("a subscription was made longer than it was asked for", self.call_id)
            if granted and self.refreshes:
                share = agent.rng.uniform(0.5, 0.9) if granted < 600 else agent.rng.uniform(0.85, 0.95)
                self.after(granted * share, self.again)
        elif response.status == 401 and tries and agent.challenged(response):
            self.ask(seconds, tries - 1)
        elif response.status == 423 and tries:
            self.expires = int(response.head.get("min-expires", "60"))
            self.ask(None, tries - 1)
        elif response.status == 481 and self.state == "active" and self.refreshes:
            self.over()      # the exchange was started anew: so is this
            if not agent.people.closing:
                again = Watch(agent, self.event, self.resource)
                again.ask()
        elif self.state == "asked":
            self.over()

    def over(self) -> None:
        self.state = "over"

    # ---- NOTIFY

    def notified(self, served: Served) -> None:
        notify, agent = served.request, self.agent
        if self.refused or self.ended:
            agent.wrong("a notification behind the end of its subscription", notify.call_id)
        if not notify.head.get("event", "").startswith(self.event.partition(";")[0]):
            agent.wrong(f"a notification of {notify.head.get('event')} to who watches {self.event}", notify.call_id)
        if notify.number > self._heard:
            self._read(notify)
            self._heard = notify.number
        self.told += 1
        if self.notify_status:
            served.respond(self.notify_status, extra=self.notify_extra)
        self._troubles = self._troubles + 1 if 500 <= self.notify_status < 600 else 0
        self.given_up = self.given_up or self._troubles >= MAX_FAILURES
        self.ended = notify.head.get("subscription-state", "").startswith("terminated")
        # From 500 on it is asked again, and given up after three times (4.2.2).
        self.refused = 300 <= self.notify_status < 500 or self.notify_status >= 600
        if self.ended or self.refused:
            self.over()

    def _read(self, notify: Wire) -> None:
        found = _VERSION.search(notify.body)
        if found is None:
            return
        version = int(found[1])
        if version <= self._version:
            self.agent.wrong(f"version {version} behind {self._version}", notify.call_id)
        if found[2] == b"full":
            self.lamps.clear()
        elif version != self._version + 1 and not self.agent.people.net.lost[notify.call_id, "NOTIFY"]:
            self.agent.wrong(f"version {version} behind {self._version}, and not the whole", notify.call_id)
        self._version = version
        for name, state in _DIALOG.findall(notify.body):
            self.lamps[name] = state

    @property
    def lit(self) -> list[str]:
        """Dialogs that are shown as if they were going on."""
        return [name.decode() for name, state in self.lamps.items() if state != b"terminated"]


def watch(agent: Agent, rng: Rng) -> None:
    """Some phone watches something."""
    event = rng.choice(EVENTS)
    own = event in ("message-summary", "reg")
    made = Watch(agent, event, agent.user if own and rng.random() < 0.9 else rng.choice(NUMBERS))
    deed = WATCHER.draw(rng, agent.people.rough)
    agent.net.note(f"{agent.user} at {agent.address[1]} watches {event} of {made.resource}: {deed.name}")
    deed.do(made, rng)


# ---- watchers


@WATCHER.deed(10)
def keeps_watching(made: Watch, rng: Rng) -> None:
    made.expires = rng.choice((60, 120, 600, 600))
    made.ask()


@WATCHER.deed(2)
def looks_once(made: Watch, rng: Rng) -> None:
    made.refreshes = False
    made.ask(0)


@WATCHER.deed(3)
def lets_it_run_out(made: Watch, rng: Rng) -> None:
    made.refreshes = False
    made.expires = rng.choice((60, 61, 300))
    made.ask()


@WATCHER.deed(3)
def signs_off(made: Watch, rng: Rng) -> None:
    made.refreshes = False
    made.ask()
    made.after(rng.choice((rng.uniform(0, 0.1), rng.uniform(1, 40))), made.again, 0)


@WATCHER.deed(2)
def asks_for_too_little(made: Watch, rng: Rng) -> None:
    made.expires = rng.choice((1, 30, 59))
    made.ask()


@WATCHER.deed(2, trouble=True)
def refreshes_all_the_time(made: Watch, rng: Rng) -> None:
    made.ask()
    for _ in range(rng.randint(2, 6)):
        made.after(rng.uniform(0, 10), made.again)


@WATCHER.deed(2, trouble=True)
def wants_to_hear_no_more(made: Watch, rng: Rng) -> None:
    made.ask()
    made.after(rng.uniform(0, 20), setattr, made, "notify_status", rng.choice((481, 481, 489, 603)))


@WATCHER.deed(2, trouble=True)
def is_in_trouble(made: Watch, rng: Rng) -> None:
    """5xx, for a while."""
    made.ask()
    made.notify_extra = rng.choice(("", "Retry-After: 5\r\n", "Retry-After: 9999999999\r\n"))
    at = rng.uniform(0, 20)
    made.after(at, setattr, made, "notify_status", rng.choice((500, 503)))
    made.after(at + rng.uniform(1, 30), setattr, made, "notify_status", 200)


@WATCHER.deed(2, trouble=True)
def falls_silent(made: Watch, rng: Rng) -> None:
    made.refreshes = False
    made.ask()
    made.after(rng.uniform(0, 20), setattr, made, "notify_status", 0)


@WATCHER.deed(2, trouble=True)
def watches_and_dies(made: Watch, rng: Rng) -> None:
    made.ask()
    made.after(rng.uniform(0.5, 30), made.agent.people.died, made.agent)


@WATCHER.deed(2, trouble=True)
def asks_for_what_there_is_not(made: Watch, rng: Rng) -> None:
    made.event, made.accept = rng.choice(
        (("weather", ""), ("", ""), ("dialog", "Accept: text/plain\r\n"), ("refer", ""), ("dialog;id=x", ""))
    )
    made.ask()


# ---- phones say how they are


@LIFE.deed(3)
def says_how_it_is(agent: Agent, rng: Rng) -> None:
    _publish(agent, rng, "", rng.randint(0, 3))


def _publish(agent: Agent, rng: Rng, etag: str, more: int, tries: int = 2) -> None:
    """A publication, and the next ones behind it: another state, the same once more, an end."""
    uri = f"sip:{agent.user}@{agent.exchange[0]}"
    head = {"From": f"<{uri}>;tag={agent.token()}", "To": f"<{uri}>", "Call-ID": agent.token()}
    expires = rng.choice((60, 120, 600, 0, 10)) if etag else rng.choice((60, 120, 600))
    body = b"" if etag and rng.random() < 0.4 else (
        f'<?xml version="1.0"?><presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{uri}"><tuple id="t">'
        f"<status><basic>{rng.choice(('open', 'closed'))}</basic></status></tuple></presence>".encode()
    )
    extra = f"Event: presence\r\nExpires: {expires}\r\n"
    extra += f"SIP-If-Match: {etag}\r\n" if etag else ""
    extra += "Content-Type: application/pidf+xml\r\n" if body else ""

    def then(client: Client, response: Wire | None) -> None:
        if response is None or not agent.alive or agent.people.closing:
            return
        if response.status == 401 and tries and agent.challenged(response):
            _publish(agent, rng, etag, more, tries - 1)
            return
        agent.net.done[f"publish: {response.status}"] += 1
        known = response.head.get("sip-etag", "")
        if response.status == 200 and not known:
            agent.wrong("a publication without a tag", response.call_id)
        if more:
            again = rng.choice((known, known, known, "nothing")) if expires else ""
            agent.net.at(rng.uniform(0.5, 30), _publish, agent, rng, again, more - 1)

    agent.perform("PUBLISH", uri, head, 1, body, extra=extra + agent.authorization("PUBLISH", uri), then=then)

"""SUBSCRIBE and PUBLISH, as the exchange sees them: one object with all packages put together.

`on_request` gets requests whose sender has been authenticated. Who of the office does something that a package tells of
calls it: the registrar its watchers, the voice mail `mailboxes.set`, calls by the bus.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from pbxcore.bus import Bus
from pbxcore.call.registrar import Registrar
from pbxcore.call.subscriptions import notifier
from pbxcore.call.subscriptions.calls import CallWatch
from pbxcore.call.subscriptions.dialogs import DialogPackage
from pbxcore.call.subscriptions.mailboxes import Mailboxes
from pbxcore.call.subscriptions.notifier import Notifier
from pbxcore.call.subscriptions.package import Package, Refused
from pbxcore.call.subscriptions.presence import PresencePackage
from pbxcore.call.subscriptions.publications import Publications
from pbxcore.call.subscriptions.registrations import RegistrationPackage
from pbxcore.sip.message import Request
from pbxcore.sip.transaction import ServerTransaction

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pbxcore.call.b2bua import LiveCall
    from pbxcore.call.router import DialPlan
    from pbxcore.call.services.states import AgentStates
    from pbxcore.control import AgentState

RETRY_SECONDS = 10  # after a stop: a restart takes less


class Exchange(notifier.Exchange, Protocol):
    """The exchange, as far as its packages need it."""

    bus: Bus
    live: dict[str, LiveCall]
    registrar: Registrar
    dial_plan: DialPlan
    wall: Callable[[], float]
    states: AgentStates
    lamp_states: Collection[AgentState]    # which of them light the agent's busy lamp


class EventService:
    """The packages `dialog`, `presence`, `message-summary` and `reg`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.notifier = made = Notifier(exchange)
        registrar, changed = exchange.registrar, made.changed
        calls = CallWatch(exchange.bus, exchange.live)
        self.publications = Publications(exchange.timers, exchange.clock, exchange.token, self._published)
        self.mailboxes = Mailboxes(self._extensions, changed)
        self._presence = PresencePackage(calls, registrar, self.publications, self._extensions, changed, self._says)
        registrations = RegistrationPackage(registrar, self._extensions, changed, exchange.wall)
        self._dialogs = DialogPackage(calls, self._extensions, changed, exchange.wall, exchange.token)
        registrar.watchers += [registrations, self._presence]
        packages: tuple[Package, ...] = (self._dialogs, self._presence, self.mailboxes, registrations)
        made.packages = {package.name: package for package in packages}

    def on_request(self, tx: ServerTransaction, request: Request, extension: str) -> None:
        """A SUBSCRIBE or PUBLISH of this extension. Raises Refused, SipError."""
        if request.method == "PUBLISH":
            self._publish(tx, request, extension)
        elif request.to_tag is None:
            self.notifier.subscribe(tx, request, extension)
        else:
            self.notifier.again(tx, request, extension)

    def close(self) -> None:
        """The exchange stops: subscriptions are to be made anew in a while."""
        self.notifier.close(RETRY_SECONDS)

    def _publish(self, tx: ServerTransaction, request: Request, extension: str) -> None:
        """Only presence is published, and by an extension of itself (RFC 3903 section 6)."""
        resource = request.request_uri.username
        if resource not in self._extensions():
            raise Refused(404)
        if (request.first("event") or "").partition(";")[0].strip().lower() != self._presence.name:
            raise Refused(489, headers=[("Allow-Events", self._presence.name)])
        if resource != extension:
            raise Refused(403)
        self._exchange.layer.respond(tx, self.publications.publish(request, extension))

    def agent_changed(self, extension: str) -> None:
        """Ready, not ready or in after-call work now: presence tells of it, and the lamp if it is to."""
        self._presence.published(extension)
        self._dialogs.light(extension, on=self._says(extension) in self._exchange.lamp_states)

    def _published(self, extension: str) -> None:
        self._presence.published(extension)

    def _says(self, extension: str) -> AgentState:
        return self._exchange.states.state(extension)

    def _extensions(self) -> Mapping[str, object]:
        return self._exchange.dial_plan.extensions

"""The `presence` package (RFC 3856): whether an extension can be reached, and whether it is on the phone.

Composed of what its phones publish and of what the exchange knows itself: registered or not, in a call or not. What a
phone publishes stands before the exchange's own "open"; that somebody is on the phone is said in any case. Any
extension of the office may watch any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pbxcore.call.registrar import Binding, Registrar
from pbxcore.call.subscriptions import pidf
from pbxcore.call.subscriptions.calls import CallWatch, Entry
from pbxcore.call.subscriptions.package import Changed, Refused, Watching
from pbxcore.call.subscriptions.pidf import Document, Status
from pbxcore.call.subscriptions.publications import Publications
from pbxcore.control import AgentState

ON_THE_PHONE = Document(activities=("busy", "on-the-phone"), notes=("On the phone",))  # some phones read one of them

SAYS: dict[AgentState, Document] = {
    "after-call work": Document(activities=("busy", "working"), notes=("After-call work",)),
    "not ready": Document(activities=("away",), notes=("Not ready",)),
}


class PresencePackage:
    name = "presence"
    content_type = pidf.CONTENT_TYPE
    gap = 5.0        # section 6.10
    expires = 3600   # section 6.4

    def __init__(
        self, calls: CallWatch, registrar: Registrar, publications: Publications,
        extensions: Callable[[], Mapping[str, object]], changed: Changed,
        says: Callable[[str], AgentState] = lambda extension: "ready",
    ) -> None:  # fmt: skip
        self._calls = calls
        self._registrar = registrar
        self._publications = publications
        self._extensions = extensions
        self._tell = changed
        self._says = says
        self._shown: dict[str, tuple[bool, bool]] = {}  # of who was ever watched: reachable, on the phone

    def may_watch(self, watcher: str, resource: str) -> None:
        if resource not in self._extensions():
            raise Refused(404)

    def begin(self, resource: str) -> None:
        self._calls.watch(resource, self._calls_changed)
        self._shown[resource] = self._state(resource)

    def end(self, resource: str) -> None:
        self._calls.unwatch(resource, self._calls_changed)

    def _state(self, resource: str) -> tuple[bool, bool]:
        on_the_phone = any(
            entry.state == "confirmed" or entry.direction == "initiator"
            for entry in self._calls.entries(resource).values()
        )
        return bool(self._registrar.bindings(resource)), on_the_phone

    def _calls_changed(self, extension: str, changed: Mapping[str, Entry]) -> None:
        self._look(extension)

    def binding_changed(self, binding: Binding, event: str) -> None:
        if binding.extension in self._shown:
            self._look(binding.extension)

    def published(self, extension: str) -> None:
        """What its phones say of it has changed."""
        self._tell(self.name, extension, {})

    def _look(self, extension: str) -> None:
        state = self._state(extension)
        if self._shown.get(extension) != state:
            self._shown[extension] = state
            self._tell(self.name, extension, {})

    def document(self, watching: Watching) -> bytes:
        reachable, on_the_phone = self._state(watching.resource)
        parts = self._publications.documents(watching.resource)
        if not any(part.tuples for part in parts):
            parts.append(Document((Status("phones", reachable, watching.entity if reachable else ""),)))
        if on_the_phone:
            parts.insert(0, ON_THE_PHONE)
        elif (state := self._says(watching.resource)) != "ready":
            parts.insert(0, SAYS[state])
        return pidf.render(watching.entity, parts)

"""The `reg` package (RFC 3680): where an extension's phones are. An extension watches itself only.

The first document and those after a refresh are full, the others say which contacts changed. GRUUs are told as in
RFC 5628.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from zlib import crc32

from pbxcore.call.outbound import gruu
from pbxcore.call.registrar import Binding, Registrar
from pbxcore.call.subscriptions.package import Changed, Refused, Watching, text


@dataclass(frozen=True, slots=True)
class Contact:
    """A binding and the last that happened to it, a word of RFC 3680 section 4.7.1."""

    binding: Binding
    event: str


GONE = ("expired", "deactivated", "probation", "unregistered", "rejected")


class RegistrationPackage:
    """`wall` is Unix time."""

    name = "reg"
    content_type = "application/reginfo+xml"
    gap = 5.0        # section 4.10
    expires = 3761   # section 4.4

    def __init__(
        self, registrar: Registrar, extensions: Callable[[], Mapping[str, object]], changed: Changed,
        wall: Callable[[], float],
    ) -> None:  # fmt: skip
        self._registrar = registrar
        self._extensions = extensions
        self._tell = changed
        self._wall = wall

    def binding_changed(self, binding: Binding, event: str) -> None:
        self._tell(self.name, binding.extension, {binding.name: Contact(binding, event)})

    def may_watch(self, watcher: str, resource: str) -> None:
        if resource != watcher:
            raise Refused(403 if resource in self._extensions() else 404)

    def begin(self, resource: str) -> None:
        """Bindings are kept whether they are watched or not."""

    def end(self, resource: str) -> None:
        """As `begin`."""

    def document(self, watching: Watching) -> bytes:
        bindings = self._registrar.bindings(watching.resource)
        parts: list[object] = list(watching.pending.values())
        if watching.whole:
            parts = [Contact(binding, "registered") for binding in bindings]
        state, entity = "active" if bindings else "terminated", text(watching.entity)
        if watching.whole and not bindings:
            state = "init"
        host, now = watching.entity.rpartition("@")[2], self._wall()
        contacts = "".join([_contact(part, host, now) for part in parts if isinstance(part, Contact)])
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\r\n'
            '<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" xmlns:gr="urn:ietf:params:xml:ns:gruuinfo" '
            f'version="{watching.version}" state="{"full" if watching.whole else "partial"}">\r\n'
            f'<registration aor="{entity}" id="{text(watching.resource)}" state="{state}">{contacts}\r\n'
            "</registration>\r\n</reginfo>\r\n"
        ).encode()


def _contact(contact: Contact, host: str, now: float) -> str:
    binding, event = contact.binding, contact.event
    state = "terminated" if event in GONE else "active"
    left = f' expires="{max(0, round(binding.expires_at - now))}"' if state == "active" else ""
    lasted = max(0, round(now - binding.since)) if binding.since else 0
    unknown = ""
    if binding.instance:
        unknown = f'<unknown-param name="+sip.instance">"{text(f"<{binding.instance}>")}"</unknown-param>'
        unknown += f'<unknown-param name="reg-id">{binding.reg_id}</unknown-param>' if binding.reg_id else ""
        if state == "active":
            unknown += f'<gr:pub-gruu uri="{text(gruu(binding.extension, binding.instance, host))}"/>'
    return (
        f'\r\n<contact id="c{crc32(binding.name.encode("utf-8", "surrogateescape")):08x}" state="{state}" '
        f'event="{event}"{left} duration-registered="{lasted}" callid="{text(binding.call_id)}" '
        f'cseq="{binding.cseq}"><uri>{text(binding.contact)}</uri>{unknown}</contact>'
    )

"""Dialogs: RFC 3261 section 12, with the route sets of loose and of strict routers.

A dialog is the shared memory of two user agents: identifiers, sequence numbers, where to send. It builds the requests
inside of it (without Via: that is the layer's) and checks the order of those that arrive. Does not send, and does not
know sessions: re-INVITE glare and offers are for the call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from pbxcore.sip import build
from pbxcore.sip.errors import ParseError, SipError
from pbxcore.sip.headers import NameAddr
from pbxcore.sip.message import Field, Message, Request, Response
from pbxcore.sip.rows import CONTACTS, value_of
from pbxcore.sip.uri import Uri
from pbxcore.sip.views import View


class DialogState(StrEnum):
    EARLY = "early"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


EARLY, CONFIRMED, TERMINATED = DialogState.EARLY, DialogState.CONFIRMED, DialogState.TERMINATED

# Requests that carry our Contact: they make dialogs or move their target (12.1.1, 12.2.1.1, RFC 3311, 3515, 6665).
_WITH_CONTACT = frozenset(("INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER"))
_CREDENTIALS = frozenset(("authorization", "proxy-authorization"))
_REFRESHING = frozenset(("INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY"))


_SHARED = ("max-forwards", "from", "to", "call-id")


class InDialogRequest(Request):
    """A request inside of a dialog: the rows that all of them share are one text, and listed when somebody asks."""

    __slots__ = ("_number", "_rows", "_shared")

    def __init__(self, method: str, uri: str, shared: str, number: int, rows: Sequence[Field], body: bytes) -> None:
        self.method = method
        self.uri = uri
        self.body = body
        self.seen = {}
        self._shared = shared
        self._number = number
        self._rows = rows

    @View
    def fields(self) -> list[Field]:
        """The rows are listed when somebody asks."""
        shared = zip(_SHARED, self._shared.split("\r\n"), strict=True)
        return [*shared, ("cseq", f"CSeq: {self._number} {self.method}"), *self._rows]

    def to_bytes(self, top: str = "") -> bytes:
        if "fields" in self.seen or self._rows or not top:
            return super().to_bytes(top)
        method, body = self.method, self.body
        text = (
            f"{method} {self.uri} SIP/2.0\r\n{top}\r\n{self._shared}\r\nCSeq: {self._number} {method}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return text.encode("utf-8", "surrogateescape") + body


class Dialog:
    """One dialog, seen from our side. Header values are kept as text, as they go onto the wire."""

    __slots__ = (
        "call_id",
        "contact",
        "local",
        "local_seq",
        "local_tag",
        "remote",
        "remote_seq",
        "remote_tag",
        "remote_target",
        "route_set",
        "secure",
        "state",
    )

    call_id: str
    local_tag: str
    remote_tag: str
    local_seq: int  # of the last request that we sent; 0 before the first
    remote_seq: int | None  # of the last request that they sent
    local: str  # the value of From in our requests, tag included
    remote: str  # the value of To in our requests, tag included
    remote_target: str  # the Request-URI of our requests
    route_set: list[str]  # values of Route
    contact: str  # the value of Contact in our requests
    secure: bool
    state: DialogState

    @classmethod
    def uas(cls, request: Request, local_tag: str, *, contact: str) -> Dialog:
        """The dialog that our 1xx or 2xx with `local_tag` to `request` makes (12.1.1); early until `confirm`."""
        self = cls()
        rows = request.first_lines
        self.call_id = request.call_id
        self.local_tag = local_tag
        self.remote_tag = request.from_tag or ""
        self.local_seq = 0
        self.remote_seq = request.cseq.number
        to = value_of(rows["to"])
        self.local = to if request.to_tag is not None else f"{to};tag={local_tag}"
        self.remote = value_of(rows["from"])
        self.remote_target = _target(request) or str(request.from_.uri)
        self.route_set = request.values("record-route") if "record-route" in rows else []
        self.contact = contact
        self.secure = request.uri[:5].lower() == "sips:"
        self.state = EARLY
        return self

    @classmethod
    def uac(cls, request: Request, response: Response) -> Dialog:
        """The dialog that a 1xx or 2xx with a To tag to our `request` makes (12.1.2)."""
        self = cls()
        rows, theirs = request.first_lines, response.first_lines
        local = rows["from"]
        same = theirs["from"] == local  # nearly always, and then its tag has been read already
        self.call_id = request.call_id
        self.local_tag = (response if same else request).from_tag or ""
        self.remote_tag = response.to_tag or ""
        self.local_seq = request.cseq.number
        self.remote_seq = None
        self.local = value_of(local)
        self.remote = value_of(theirs["to"])
        self.remote_target = _target(response) or request.uri
        self.route_set = _reversed_routes(response)
        self.contact = value_of(rows.get("contact", ""))
        self.secure = request.uri[:5].lower() == "sips:"
        self.state = CONFIRMED if response.status >= 200 else EARLY
        return self

    @property
    def key(self) -> str:
        """What `key_of` gives for a request of the peer inside of this dialog."""
        return f"{self.call_id} {self.local_tag} {self.remote_tag}"

    @property
    def next_hop(self) -> str:
        """The URI to send our requests to (8.1.2): the first route, strict or loose, or the target."""
        return str(NameAddr.parse(self.route_set[0]).uri) if self.route_set else self.remote_target

    def confirm(self) -> None:
        """We have sent a 2xx."""
        if self.state is EARLY:
            self.state = CONFIRMED

    def terminate(self) -> None:
        self.state = TERMINATED

    def request(
        self,
        method: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        rows: Sequence[Field] = (),
        body: bytes = b"",
        max_forwards: int = 70,
    ) -> Request:
        """A new request inside of the dialog (12.2.1.1). Behind its own rows go `headers`, pairs of (Name, value), and
        `rows`, whole rows."""
        self.local_seq += 1
        if self.contact and method in _WITH_CONTACT:
            rows = [("contact", f"Contact: {self.contact}"), *build.rows_of(headers), *rows]
        elif headers:
            rows = [*build.rows_of(headers), *rows]
        return self._in_dialog(method, self.local_seq, rows, body, max_forwards)

    def ack(self, invite: Request, *, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> Request:
        """The ACK of a 2xx to `invite` (13.2.2.4): its CSeq number, and its credentials as they were."""
        rows = build.rows_of(headers) if headers else []
        if not _CREDENTIALS.isdisjoint(invite.first_lines):
            rows += [row for row in invite.fields if row[0] in _CREDENTIALS]
        return self._in_dialog("ACK", invite.cseq.number, rows, body, 70)

    def accept(self, request: Request) -> SipError | None:
        """Takes the sequence number of a request of the peer (12.2.2), or says what it is to be answered with.

        ACK and CANCEL have the number of their INVITE and are always in order.
        """
        if request.method in ("ACK", "CANCEL"):
            return None
        if self.state is TERMINATED:
            return SipError(481, "Call/Transaction Does Not Exist")
        number = request.cseq.number
        if self.remote_seq is not None and number < self.remote_seq:
            return SipError(500, "CSeq out of order")
        self.remote_seq = number
        return None

    def refresh(self, message: Message) -> None:
        """Takes the new target of a refreshing request or of its 2xx (12.2), and of our INVITE's first 2xx the routes.

        That 2xx also makes an early dialog a confirmed one (13.2.2.4). To be called after `accept`.
        """
        if isinstance(message, Response):
            if not 200 <= message.status < 300 or message.cseq.method not in _REFRESHING:
                return
            if self.state is EARLY and message.cseq.method == "INVITE":
                self.state = CONFIRMED
                self.route_set = _reversed_routes(message)
        elif isinstance(message, Request) and message.method not in _REFRESHING:
            return
        self.remote_target = _target(message) or self.remote_target

    def _in_dialog(
        self, method: str, number: int, rows: Sequence[Field], body: bytes, max_forwards: int
    ) -> InDialogRequest:
        uri = self.remote_target
        if self.route_set:
            uri, routes = self._routed()
            rows = [*routes, *rows]
        shared = f"Max-Forwards: {max_forwards}\r\nFrom: {self.local}\r\nTo: {self.remote}\r\nCall-ID: {self.call_id}"
        return InDialogRequest(method, uri, shared, number, rows, body)

    def _routed(self) -> tuple[str, list[Field]]:
        """The Request-URI and the Route rows."""
        routes = self.route_set
        first = NameAddr.parse(routes[0]).uri
        if "lr" in first.params:
            return self.remote_target, [("route", f"Route: {route}") for route in routes]
        # A strict router wants itself in the Request-URI; the target goes last (12.2.1.1).
        first.headers = {}
        first.params.pop("method", None)
        rows = [("route", f"Route: {route}") for route in routes[1:]]
        return str(first), [*rows, ("route", f"Route: <{self.remote_target}>")]


def key_of(request: Request) -> str:
    """The key of the dialog that a request of the peer belongs to (12.2.2). Without a To tag there is none."""
    return f"{request.call_id} {request.to_tag or ''} {request.from_tag or ''}"


def farewell(response: Response) -> tuple[Request, Request]:
    """The ACK and the BYE that end the dialog of a 2xx whose INVITE is forgotten (13.2.2.4).

    Known from the response alone: all but the credentials of the INVITE, which an ACK may lack (22.1).
    """
    address = response.to.uri
    rows = [("From", response.first("from") or ""), ("Call-ID", response.call_id), ("CSeq", str(response.cseq))]
    invite = build.request("INVITE", str(address), rows)
    dialog = Dialog.uac(invite, response)
    return dialog.ack(invite), dialog.request("BYE")


class Forks:
    """The dialogs of one INVITE of ours, one for each To tag (12.1.2, 13.2.2.4)."""

    __slots__ = ("dialogs", "invite")

    def __init__(self, invite: Request) -> None:
        self.invite = invite
        self.dialogs: dict[str, Dialog] = {}

    def take(self, response: Response) -> Dialog | None:
        """The dialog of a 101-2xx, made or refreshed by it; None for other responses and without a To tag."""
        tag = response.to_tag
        if not tag or not 100 < response.status < 300:
            return None
        dialog = self.dialogs.get(tag)
        if dialog is None:
            dialog = self.dialogs[tag] = Dialog.uac(self.invite, response)
        else:
            dialog.refresh(response)
        return dialog

    def drop_early(self) -> list[Dialog]:
        """Ends the dialogs that a final response has left early (13.2.2.3, 13.2.2.4), and gives them."""
        early = [dialog for dialog in self.dialogs.values() if dialog.state is EARLY]
        for dialog in early:
            dialog.terminate()
            del self.dialogs[dialog.remote_tag]
        return early


def _target(message: Message) -> str | None:
    """The URI of the Contact, without the headers that a Request-URI must not have (19.1.1)."""
    row = message.first_lines.get("contact")
    if row is None:
        return None
    if message.unrepeated:
        uri = CONTACTS[row]
        if uri is not None:
            return uri
    try:
        contact = message.contact
    except ParseError:
        return None
    if contact is None:
        return None
    address = contact.uri
    if address.headers:
        address = Uri(address.scheme, address.user, address.host, address.port, address.params, None, address.password)
    return str(address)


def _reversed_routes(response: Response) -> list[str]:
    return response.values("record-route")[::-1] if "record-route" in response else []

"""A phone that subscribes, publishes and sends texts, in the virtual world."""

from __future__ import annotations

from xml.etree import ElementTree

from pbxcore.sip import build
from pbxcore.sip.dialog import Dialog
from pbxcore.sip.message import Request, Response
from pbxcore.sip.transaction import ClientTransaction, ServerTransaction
from tests.scenario.office import EXCHANGE, PASSWORD, Office
from tests.scenario.party import Party

DIALOG = "{urn:ietf:params:xml:ns:dialog-info}"
PIDF = (
    '<?xml version="1.0"?><presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:101@127.0.0.1">'
    '<tuple id="t1"><status><basic>{basic}</basic></status><note>{note}</note></tuple></presence>'
)


class Watch:
    """One subscription, as its phone sees it."""

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id
        self.dialog: Dialog | None = None
        self.status: int | None = None
        self.response: Response | None = None
        self.seen: list[Request] = []
        self.times: list[float] = []

    @property
    def states(self) -> list[str]:
        """Subscription-State of each NOTIFY, without its parameters."""
        return [(notify.first("subscription-state") or "").partition(";")[0] for notify in self.seen]

    @property
    def why(self) -> str:
        return (self.seen[-1].first("subscription-state") or "").partition("reason=")[2]

    def documents(self) -> list[ElementTree.Element]:
        return [ElementTree.fromstring(notify.body.decode()) for notify in self.seen]  # noqa: S314 - our own

    def dialog_states(self) -> list[list[str]]:
        """The states of the dialogs in each dialog-info document."""
        return [
            [dialog.findtext(f"{DIALOG}state") or "" for dialog in document.findall(f"{DIALOG}dialog")]
            for document in self.documents()
        ]


class Watcher(Party):
    """A party whose NOTIFYs are kept, and answered with `notify_status` unless `deaf`."""

    def __init__(self, office: Office, number: str, port: int = 0, *, transport: str = "UDP") -> None:
        super().__init__(office.world, ("127.0.0.1", port or 20_000 + int(number)), number, transport=transport)
        self.password = PASSWORD
        self.watches: dict[str, Watch] = {}
        self.notify_status = 200
        self.notify_headers: list[tuple[str, str]] = []
        self.deaf = False
        self.delay = 0.0

    def subscribe(
        self, number: str, event: str = "dialog", expires: int | None = 600,
        headers: list[tuple[str, str]] | None = None, *, wait: bool = True,
    ) -> Watch:  # fmt: skip
        uri = f"sip:{number}@127.0.0.1"
        rows = [("Event", event)] if event else []
        rows += [("Expires", str(expires))] if expires is not None else []
        request = self._request("SUBSCRIBE", uri, f"<{uri}>", rows + (headers or []))
        watch = self.watches[request.call_id] = Watch(request.call_id)
        self.layer.request(request, self.flow_to(self.transport, *EXCHANGE), self)
        if wait:
            self.world.run(1.0)
        return watch

    def again(self, watch: Watch, expires: int) -> None:
        """Refresh, or end with 0."""
        assert watch.dialog is not None
        request = watch.dialog.request("SUBSCRIBE", headers=[("Event", "dialog"), ("Expires", str(expires))])
        if watch.seen:
            request.replace("Event", watch.seen[-1].first("event") or "")
        self.layer.request(request, self.flow_to(self.transport, *EXCHANGE), self)
        self.world.run(1.0)

    def publish(
        self, body: bytes = b"", etag: str = "", expires: int | None = 600, *, number: str = "",
        event: str = "presence", kind: str = "application/pidf+xml",
    ) -> Response:  # fmt: skip
        uri = f"sip:{number or self.user}@127.0.0.1"
        rows = [("Event", event)]
        rows += [("SIP-If-Match", etag)] if etag else []
        rows += [("Expires", str(expires))] if expires is not None else []
        rows += [("Content-Type", kind)] if body else []
        request = self._request("PUBLISH", uri, f"<{uri}>", rows)
        request.body = body
        return self.ask(request)

    def text(self, number: str, words: str, headers: list[tuple[str, str]] | None = None) -> Response:
        uri = f"sip:{number}@127.0.0.1"
        request = self._request("MESSAGE", uri, f"<{uri}>", [("Content-Type", "text/plain"), *(headers or [])])
        request.body = words.encode()
        return self.ask(request)

    def ask(self, request: Request, seconds: float = 1.0) -> Response:
        self.layer.request(request, self.flow_to(self.transport, *EXCHANGE), self)
        self.world.run(seconds)
        return self.answers[-1]

    def on_request(self, tx: ServerTransaction, request: Request) -> None:
        watch = self.watches.get(request.call_id)
        if request.method == "MESSAGE":
            self.seen.append(request)
            if not self.deaf:
                self.layer.respond(tx, build.response(request, self.notify_status, to_tag=self.world.token()))
        elif request.method != "NOTIFY" or watch is None:
            super().on_request(tx, request)
        elif not self.deaf:
            watch.seen.append(request)
            watch.times.append(self.world.now)
            answer = build.response(request, self.notify_status, headers=self.notify_headers)
            self.world.at(self.delay, lambda: self.layer.respond(tx, answer))

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        watch = self.watches.get(response.call_id)
        if watch is not None and response.cseq.method == "SUBSCRIBE" and response.status != 401:
            watch.status, watch.response = response.status, response
            if response.status == 200 and watch.dialog is None and tx.request is not None:
                watch.dialog = Dialog.uac(tx.request, response)
        super().on_response(tx, response)

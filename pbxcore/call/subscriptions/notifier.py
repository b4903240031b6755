"""The notifier (RFC 6665 section 4.2): all subscriptions, and what a SUBSCRIBE is answered with.

The sender is authenticated already: `watcher` is the extension whose credentials the request carries. What strangers
can make grow is nothing; what a phone can is bounded, one by one and together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from pbxcore.call.leg import contact_of
from pbxcore.call.subscriptions.package import Package, Refused
from pbxcore.call.subscriptions.subscription import Host, Subscription
from pbxcore.sip import build
from pbxcore.sip.dialog import Dialog
from pbxcore.sip.headers import one_line
from pbxcore.sip.message import Request
from pbxcore.sip.transaction import ServerTransaction
from pbxcore.sip.uri import Uri, escape_user, join_host

MIN_EXPIRES = 60
MAX_EXPIRES = 7200
MAX_OF_WATCHER = 256      # a desk phone with three side cars has 180 keys
MAX_SUBSCRIPTIONS = 10_000
MAX_ID = 64


class Exchange(Host, Protocol):
    """The exchange, as far as the notifier needs it."""

    token: Callable[[], str]


class Notifier:
    """`packages` by their names."""

    def __init__(self, host: Exchange) -> None:
        self._host = host
        self.packages: dict[str, Package] = {}
        self._all: dict[tuple[str, str], Subscription] = {}
        self._watched: dict[tuple[str, str], dict[tuple[str, str], Subscription]] = {}  # by package and resource
        self._count: dict[str, int] = {}  # by watcher

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, key: tuple[str, str]) -> bool:
        """Whether there is a subscription with this Call-ID and this tag of ours."""
        return key in self._all

    def of(self, package: str, resource: str) -> Iterable[Subscription]:
        return list(self._watched.get((package, resource), {}).values())

    def changed(self, package: str, resource: str, parts: Mapping[str, object]) -> None:
        """Something changed: every subscription to it hears of it when it may (`package.Changed`)."""
        for subscription in self.of(package, resource):
            subscription.changed(parts)

    def close(self, seconds: int) -> None:
        """End all of them, to be made anew in so many seconds: the exchange stops."""
        for subscription in list(self._all.values()):
            subscription.end(f"probation;retry-after={seconds}")

    # ---- SUBSCRIBE

    def subscribe(self, tx: ServerTransaction, request: Request, watcher: str) -> None:
        """A SUBSCRIBE outside of any dialog. Raises Refused."""
        package, event = self._package(request)
        _check_accept(request, package)
        if request.contact is None:
            raise Refused(400, "SUBSCRIBE without a Contact")
        resource = request.request_uri.username
        package.may_watch(watcher, resource)
        seconds = _lifetime(request, package)
        if seconds:
            self._make_room(watcher)
        flow, tag = tx.flow, self._host.token()
        dialog = Dialog.uas(request, tag, contact=contact_of(escape_user(resource), flow))
        dialog.confirm()
        entity = _entity(request.request_uri)
        made = Subscription(self._host, package, watcher, resource, entity, event, dialog, flow, self._gone)
        self._all[made.key] = made
        self._watched.setdefault((package.name, resource), {})[made.key] = made
        self._count[watcher] = self._count.get(watcher, 0) + 1
        package.begin(resource)
        self._accepted(tx, request, made, seconds)

    def again(self, tx: ServerTransaction, request: Request, watcher: str) -> None:
        """A SUBSCRIBE inside of a subscription's dialog: refresh, or end (4.2.1.4). Raises Refused."""
        held = self._all.get((request.call_id, request.to_tag or ""))
        if held is None or held.reason is not None or held.dialog.remote_tag != (request.from_tag or ""):
            raise Refused(481)
        if held.watcher != watcher:
            raise Refused(403)
        refused = held.accept(request, tx.flow)
        if refused is not None:
            raise Refused(refused.status, refused.reason)
        package, event = self._package(request)
        if package is not held.package or event != held.event:
            raise Refused(403, "One Subscription A Dialog")  # 4.5.1: those who share dialogs are a thing of the past
        try:
            package.may_watch(watcher, held.resource)
        except Refused:
            held.end("noresource")
            raise
        self._accepted(tx, request, held, _lifetime(request, package))

    def _accepted(self, tx: ServerTransaction, request: Request, subscription: Subscription, seconds: int) -> None:
        dialog = subscription.dialog
        headers = [("Expires", str(seconds)), ("Contact", dialog.contact)]
        self._host.layer.respond(tx, build.response(request, 200, to_tag=dialog.local_tag, headers=headers))
        subscription.renew(seconds, tx.flow)

    def _package(self, request: Request) -> tuple[Package, str]:
        """The package that the request is about, and the Event header of its notifications (7.2.1, 8.2.1)."""
        name, *params = (request.first("event") or "").split(";")
        package = self.packages.get(name.strip().lower())
        if package is None:
            raise Refused(489, headers=[("Allow-Events", self.allow_events)])
        for param in params:
            key, _, value = param.partition("=")
            if key.strip().lower() == "id" and len(value) <= MAX_ID:
                return package, f"{package.name};id={one_line(value.strip())}"
        return package, package.name

    @property
    def allow_events(self) -> str:
        return ", ".join(self.packages)

    def _make_room(self, watcher: str) -> None:
        """What a phone or all together may not exceed."""
        if self._count.get(watcher, 0) >= MAX_OF_WATCHER:
            raise Refused(403, "Too Many Subscriptions")
        if len(self._all) >= MAX_SUBSCRIPTIONS:
            raise Refused(503, headers=[("Retry-After", "60")])

    def _gone(self, subscription: Subscription) -> None:
        self._all.pop(subscription.key, None)
        name, resource, watcher = subscription.package.name, subscription.resource, subscription.watcher
        of_resource = self._watched.get((name, resource), {})
        of_resource.pop(subscription.key, None)
        if not of_resource:
            self._watched.pop((name, resource), None)
        self._count[watcher] -= 1
        if not self._count[watcher]:
            del self._count[watcher]
        subscription.package.end(resource)


def _lifetime(request: Request, package: Package) -> int:
    """Seconds that are granted, 0 to end it. Raises Refused 423 for less than a minute (4.2.1.1)."""
    wanted = package.expires if request.expires is None else request.expires
    if 0 < wanted < MIN_EXPIRES:
        raise Refused(423, headers=[("Min-Expires", str(MIN_EXPIRES))])
    return min(wanted, MAX_EXPIRES)


def _check_accept(request: Request, package: Package) -> None:
    """406 for who cannot read what the package says; who says nothing reads it (RFC 3265 section 3.1.3)."""
    if "accept" not in request:
        return
    kinds = {value.partition(";")[0].strip().lower() for value in request.values("accept")}
    if not kinds & {package.content_type, package.content_type.partition("/")[0] + "/*", "*/*"}:
        raise Refused(406)


def _entity(uri: Uri) -> str:
    """Who is watched, as the watcher calls him."""
    return f"sip:{escape_user(uri.username)}@{join_host(uri.host, uri.port)}"

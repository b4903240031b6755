"""Requests of a phone that are challenged: digest credentials (RFC 3261 section 22), and a request till its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pbxcore.sip import digest
from pbxcore.sip.layer import Flow
from pbxcore.sip.message import Request, Response
from pbxcore.sip.transaction import ClientTransaction

if TYPE_CHECKING:
    from pbxcore.phone.agent import PhoneAgent

TRIES = 3   # a request, the same with credentials, and once more when the nonce had become stale

Header = tuple[str, str]


class Credentials:
    """A user name and password, and the answers that they give to challenges."""

    def __init__(self, username: str, password: str, token: Callable[[], str]) -> None:
        self._username = username
        self._password = password
        self._token = token
        self._counts: dict[str, int] = {}

    def answer(self, response: Response, request: Request, tries: int) -> list[Header]:
        """The credentials for a challenge of `request`, which was sent `tries` times; empty when there are none to give
        or they were refused."""
        proxy = response.status == 407
        challenges = response.values("proxy-authenticate" if proxy else "www-authenticate")
        sent = request.first("proxy-authorization" if proxy else "authorization") is not None
        stale = any("stale=true" in challenge.lower().replace(" ", "") for challenge in challenges)
        if not self._password or tries >= TRIES or (sent and not stale):
            return []
        value = digest.respond(
            challenges, request.method, request.uri, self._username, self._password, token=self._token,
            body=request.body, nc_counter=self._counts,
        )  # fmt: skip
        return [("Proxy-Authorization" if proxy else "Authorization", value)] if value else []


class Ask:
    """One request other than INVITE: sent, sent again with credentials when challenged, and its final answer told.

    `make` builds the request anew, with a CSeq of its own; `done(status, reason, response)` is called once, with 408
    and 503 and no response where none came.
    """

    __slots__ = ("_agent", "_done", "_flow", "_make", "_request", "_tries")

    def __init__(
        self,
        agent: PhoneAgent,
        make: Callable[[Sequence[Header]], Request],
        flow: Flow,
        done: Callable[[int, str, Response | None], None],
    ) -> None:
        self._agent = agent
        self._make = make
        self._flow = flow
        self._done = done
        self._tries = 0
        self._send(())

    def _send(self, credentials: Sequence[Header]) -> None:
        self._tries += 1
        self._request = self._make(credentials)
        self._agent.layer.request(self._request, self._flow, self)

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        if response.status < 200:
            return
        if response.status in (401, 407):
            credentials = self._agent.credentials.answer(response, self._request, self._tries)
            if credentials:
                self._send(credentials)
                return
        self._done(response.status, response.reason, response)

    def on_timeout(self, tx: ClientTransaction) -> None:
        self._done(408, "Request Timeout", None)

    def on_transport_error(self, tx: ClientTransaction) -> None:
        self._done(503, "Service Unavailable", None)

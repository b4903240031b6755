"""An offer that is under way from one side of a conversation to the other."""

from __future__ import annotations

from pbxcore.call.leg import Leg
from pbxcore.sip.message import Request, Response
from pbxcore.sip.transaction import ClientTransaction, ServerTransaction


class Offer:
    """A re-INVITE or an UPDATE under way: `server` came from `leg`, `client` went to its peer. `late` brings no SDP of
    its own. Without a request it is ours: what `leg` has said before."""

    __slots__ = ("acknowledged", "client", "invite", "late", "leg", "request", "response", "server")

    def __init__(self, leg: Leg, server: ServerTransaction | None, request: Request | None) -> None:
        self.leg = leg
        self.server = server
        self.request = request
        self.late = False
        self.client: ClientTransaction | None = None
        self.invite: Request | None = None
        self.response: Response | None = None
        self.acknowledged = False

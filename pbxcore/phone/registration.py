"""A phone's registration: RFC 3261 section 10.2, with refresh before expiry and patience after failure. Sans I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pbxcore.phone.asking import Ask, Header
from pbxcore.phone.wording import ALLOW, USER_AGENT
from pbxcore.sip import build
from pbxcore.sip.errors import SipError
from pbxcore.sip.layer import Flow
from pbxcore.sip.message import Request, Response
from pbxcore.sip.uri import Uri

if TYPE_CHECKING:
    from pbxcore.phone.agent import PhoneAgent

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 120.0   # seconds between tries while the registrar does not answer
WORTH_TRYING = (408, 480, 500, 502, 503, 504)


class Registration:
    """The binding of one phone at its registrar."""

    def __init__(self, agent: PhoneAgent) -> None:
        self._agent = agent
        self._call_id = agent.token()
        self._tag = agent.token()
        self._sequence = 0
        self._seconds = 0         # asked for; 0 while nothing is wanted
        self._pause = FIRST_PAUSE
        self._timer = ""          # the name of the timer that counts; older ones are stale
        self._asking = False
        self._stopped = False
        self._flow: Flow | None = None   # that of the last REGISTER
        self.granted = 0.0        # seconds granted at last, 0 while not registered

    def start(self, seconds: int) -> None:
        self._seconds = seconds
        self._pause = FIRST_PAUSE
        self._send()

    def remove(self) -> None:
        """Take the binding back (10.2.2)."""
        self._seconds = 0
        self._send()

    def stop(self) -> None:
        """No refresh any more; the binding runs out by itself."""
        self._stopped = True

    def on_timer(self, name: str, now: float) -> None:
        if name == self._timer and self._seconds and not self._stopped:
            self._send()

    def _send(self) -> None:
        if self._asking:
            return   # what is wanted now is sent when the answer is there
        wanted = self._seconds
        uri = str(Uri(self._agent.aor.scheme, None, self._agent.aor.host, self._agent.aor.port))
        try:
            flow = self._flow = self._agent.flow_for(uri)
        except SipError as error:
            self._finished(wanted, error.status, str(error), None)
            return
        self._asking = True
        Ask(self._agent, lambda headers: self._make(uri, flow, headers, wanted), flow,
            lambda status, reason, response: self._finished(wanted, status, reason, response))

    def _make(self, uri: str, flow: Flow, credentials: Sequence[Header], seconds: int) -> Request:
        agent = self._agent
        self._sequence += 1
        rows = [
            ("Max-Forwards", "70"),
            ("From", agent.from_value(self._tag)),
            ("To", f"<{agent.aor}>"),
            ("Call-ID", self._call_id),
            ("CSeq", f"{self._sequence} REGISTER"),
            ("Contact", f"{agent.contact(flow)};expires={seconds}"),
            ("Expires", str(seconds)),
            ("Allow", ALLOW),
            ("User-Agent", USER_AGENT),
            *credentials,
        ]
        return build.request("REGISTER", uri, rows)

    def _finished(self, wanted: int, status: int, reason: str, response: Response | None) -> None:
        self._asking = False
        if self._stopped:
            return
        changed = self._seconds != wanted
        if changed or (status == 423 and response is not None and self._longer(response)):
            self._send()
        elif 200 <= status < 300 and response is not None:
            self._granted(wanted, response)
        else:
            self.granted = 0.0
            self._agent.listener.on_registration_failed(self._agent, status, reason)
            if status in WORTH_TRYING and self._seconds:
                self._again_in(self._pause)
                self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _longer(self, response: Response) -> bool:
        """Whether a 423 lets us ask for more (10.2.8)."""
        text = response.first("min-expires") or ""
        if not text.isdecimal() or not self._seconds < int(text) <= 86400:
            return False
        self._seconds = int(text)
        return True

    def _granted(self, wanted: int, response: Response) -> None:
        self._pause = FIRST_PAUSE
        self.granted = float(self._own_expiry(response, wanted)) if wanted else 0.0
        if self.granted:
            self._again_in(max(self.granted / 2, self.granted - 30.0))
        self._agent.listener.on_registered(self._agent, self.granted)

    def _own_expiry(self, response: Response, wanted: int) -> int:
        """What the registrar granted to our Contact among those it lists (10.2.4)."""
        agent = self._agent
        host, port = self._flow.local if self._flow is not None else ("", 0)
        for contact in response.contacts:
            uri = contact.uri
            if (uri.username, uri.host, uri.port or 5060) == (agent.contact_user, host, port):
                text = contact.params.get("expires") or ""
                if text.isdecimal():
                    return int(text)
        return response.expires if response.expires is not None else wanted

    def _again_in(self, seconds: float) -> None:
        now = self._agent.clock()
        self._timer = f"refresh {self._sequence}"
        self._agent.timers.start(now + seconds, self, self._timer)

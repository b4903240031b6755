"""What a phone asks of its surroundings: who listens to it, and what carries its audio. Sans I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pbxcore.phone.agent import PhoneAgent
    from pbxcore.phone.call import PhoneCall


class PhoneListener:
    """Who hears what a phone does. Every method may be left out; none may raise."""

    def on_registered(self, agent: PhoneAgent, seconds: float) -> None:
        """The registrar has granted a binding for so long; every refresh says it again, 0 after unregistering."""

    def on_registration_failed(self, agent: PhoneAgent, status: int, reason: str) -> None:
        """No binding. 408 is no answer, 503 no connection; these and other 5xx are tried again by the phone."""

    def on_incoming(self, call: PhoneCall) -> None:
        """A call has come; it rings already. `answer`, `reject` or let the phone's own rules decide."""

    def on_progress(self, call: PhoneCall, status: int) -> None:
        """A provisional response other than 100 to a call of ours."""

    def on_answered(self, call: PhoneCall) -> None: ...

    def on_held(self, call: PhoneCall, held: bool) -> None:
        """The other side has put us on hold, or taken us back."""

    def on_dtmf(self, call: PhoneCall, digit: str) -> None:
        """A digit, by RFC 4733 or INFO."""

    def on_hold_done(self, call: PhoneCall, status: int) -> None:
        """Our `hold` or `resume` got its final response."""

    def on_transfer(self, call: PhoneCall, status: int, reason: str) -> None:
        """How a transfer goes: what the other side said to REFER, and then what its NOTIFYs say of the new call."""

    def on_message(self, agent: PhoneAgent, sender: str, text: str) -> None: ...

    def on_ended(self, call: PhoneCall) -> None:
        """Once for every call; `call.status` and `call.ended_by` say how."""


class MediaEnd(Protocol):
    """One call's audio, seen from its signalling. SDP goes in and out as bytes (RFC 3264)."""

    def offer(self, direction: str) -> bytes:
        """Our offer, first or later; `direction` is an SDP direction attribute without `a=`."""
        ...

    def answer(self, offer: bytes) -> bytes:
        """Our answer. Raises SipError 488 when nothing fits."""
        ...

    def accept(self, answer: bytes) -> None:
        """Their answer to our last offer, early ones included. Raises SipError 488."""
        ...

    @property
    def held(self) -> bool:
        """Whether the other side does not want to hear us."""
        ...

    def start(self) -> None:
        """Both sides are known: send and hear from now on. More than once is harmless."""
        ...

    def press(self, digits: str) -> None:
        """Send digits by RFC 4733. Raises ValueError for what is no digit."""
        ...

    def close(self) -> None: ...


class Silent:
    """A media end without media, for signalling alone: a load generator, a test. Its SDP names a port nobody reads."""

    def __init__(self, host: str = "127.0.0.1", port: int = 9) -> None:
        family = "IP6" if ":" in host else "IP4"
        self._head = (
            f"v=0\r\no=- 1 1 IN {family} {host}\r\ns=-\r\nc=IN {family} {host}\r\nt=0 0\r\n"
            f"m=audio {port} RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
        )
        self.held = False
        self.remote = b""

    def offer(self, direction: str) -> bytes:
        return f"{self._head}a={direction}\r\n".encode()

    def answer(self, offer: bytes) -> bytes:
        self.remote = offer
        self.held = b"a=sendonly" in offer or b"a=inactive" in offer
        return self.offer("recvonly" if self.held else "sendrecv")

    def accept(self, answer: bytes) -> None:
        self.remote = answer

    def start(self) -> None: ...

    def press(self, digits: str) -> None: ...

    def close(self) -> None: ...

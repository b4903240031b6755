"""A call that the exchange itself has answered: what services do with the caller, and what he does meanwhile.

An `Attendance` is a conversation whose other side is the exchange. It ends as one too: whoever is rung for the caller
takes the exchange's place by the same change of media as in a transfer (`handover`), and from then on two people talk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pbxcore.call import inputs
from pbxcore.call.answering import written_down
from pbxcore.call.body import sdp_in
from pbxcore.call.conversation import Conversation
from pbxcore.call.handover import Over
from pbxcore.call.leg import SDP_TYPE, Leg
from pbxcore.call.outcome import Outcome
from pbxcore.call.router import Round
from pbxcore.call.services.entries import Attend
from pbxcore.call.services.offering import Offering
from pbxcore.call.session_timer import too_small
from pbxcore.call.signal import Kind, Notice, Signal
from pbxcore.media.backend import MediaError
from pbxcore.sip import build
from pbxcore.sip.errors import SipError
from pbxcore.sip.message import Request
from pbxcore.sip.offer import G711, Here, agreed, negotiate
from pbxcore.sip.sdp import Sdp, SdpError
from pbxcore.sip.transaction import ServerTransaction

if TYPE_CHECKING:
    from pbxcore.call.b2bua import LiveCall

SOMEWHERE = 9998          # a port for our description; the relay puts its own in
NO_EVENTS = 127           # a payload type that nobody sends
MAX_KEYS = 32


class Taken(Exception):
    """Somebody in the office wants the caller at this number."""

    def __init__(self, number: str) -> None:
        super().__init__(number)
        self.number = number


class Attendant(Leg):
    """The exchange as a party: no phone, and no dialog."""

    __slots__ = ()


class Attendance(Conversation):
    """`a` is the caller. What a service waits for comes from `wait`; all else is dealt with meanwhile.

    Everything that waits raises Over when the call has ended, and Taken when somebody in the office takes it away.
    """

    __slots__ = ("_events", "_keys", "_number", "_payload", "_repeats", "_what", "told")

    def __init__(self, live: LiveCall, attendant: Attendant) -> None:
        super().__init__(live, attendant, None)
        self._payload = 0
        self._events = NO_EVENTS
        self.told = b""              # our description, as the caller has it
        self._number = 0              # of the last sounds
        self._what: Sequence[str] = ()
        self._repeats = False
        self._keys = ""               # pressed, and not asked for yet

    @property
    def alone(self) -> bool:
        """Whether the caller has nobody to talk to but us."""
        return isinstance(self.b, Attendant)

    def opened_by_us(self) -> None:
        """The caller's leg is one that we opened: no ACK comes from there."""
        self._acked = True

    # ---- sounds and keys

    def play(self, files: Sequence[str], *, repeat: bool = False) -> int:
        """Let the caller hear these; the number that `PLAYED` tells their end by."""
        self._number += 1
        self._what, self._repeats = files, repeat
        if files:
            media = self.live.exchange.media
            media.play(
                self.live.call.offered.call_id, "a", files, payload=self._payload, number=self._number, repeat=repeat
            )
        return self._number

    def hush(self) -> None:
        self._what = ()
        self.live.exchange.media.quiet(self.live.call.offered.call_id)

    async def hear_out(self, files: Sequence[str]) -> None:
        """Play these to their end."""
        if not files:
            return
        number = self.play(files)
        until = self.live.exchange.clock() + 600.0
        while True:
            signal = await self.wait(until)
            if signal.kind is Kind.TIMEOUT or (signal.kind is Kind.PLAYED and signal.number == number):
                return

    async def key(self, files: Sequence[str], seconds: float) -> str:
        """Play these and wait for a key, during it or so long after it; empty when none came."""
        clock = self.live.exchange.clock
        until = clock() + (600.0 if files else seconds)
        number = self.play(files) if files else 0
        while not self._keys:
            signal = await self.wait(until)
            if signal.kind is Kind.TIMEOUT:
                return ""
            if signal.kind is Kind.PLAYED and signal.number == number:
                until = clock() + seconds
        if files:
            self.hush()
        pressed, self._keys = self._keys[0], self._keys[1:]
        return pressed

    def forget_keys(self) -> None:
        self._keys = ""

    async def wait(self, until: float) -> Signal:
        """The next of TIMEOUT, PLAYED, DIGIT and RECORDED."""
        while True:
            signal = await self.hear(until)
            if self.over:
                raise Over
            if signal.kind is Kind.DIGIT:
                self._keys = (self._keys + signal.text)[-MAX_KEYS:]
            elif signal.kind not in (Kind.TIMEOUT, Kind.PLAYED, Kind.RECORDED):
                await self.take(signal)
                if self.over:
                    raise Over
                continue
            return signal

    # ---- other people

    async def ring(self, steps: Sequence[Round], *, music: bool = False) -> Outcome | None:
        """Ring these for the caller, who hears that it rings, or his music; None when he talks to one of them now."""
        if not music:
            self.hush()
        return await Offering(self, music=music).to_those_of(steps)

    def go_on(self, step: Attend) -> None:
        """Another service takes over."""
        live, old = self.live, self.b
        self.b = attendant = Attendant(live.exchange, live, live.next_label(), step.party, live.a.flow, None)
        live.joined.append(attendant)
        now = live.exchange.wall()
        live.apply(inputs.LegDialed(now, attendant.label, attendant.party, step.name))
        live.apply(inputs.Transferred(now, attendant.label, old.label, "exchange"))

    # ---- what the caller does

    async def take(self, signal: Signal) -> None:
        if self.alone and signal.kind is Kind.TRANSFER:
            raise Taken(signal.text)
        await super().take(signal)

    async def _request(self, signal: Signal) -> None:
        tx, request = signal.server, signal.request
        if not self.alone or tx is None or request is None or request.method in ("BYE", "INVITE", "UPDATE"):
            await super()._request(signal)
            return
        layer = self.live.exchange.layer
        if request.method == "INFO":
            digit = pressed(request)
            layer.respond(tx, build.response(request, 200))
            if digit:
                self.live.post(Notice(Kind.DIGIT, text=digit))
        elif request.method == "REFER":
            layer.respond(tx, build.response(request, 603))
        else:
            layer.respond(tx, build.response(request, 405, headers=[("Allow", "INVITE, ACK, BYE, UPDATE, INFO")]))

    async def _reinvite(self, leg: Leg, tx: ServerTransaction, request: Request) -> None:
        """Hold, resume, another address: the caller's offer is answered by ourselves."""
        if not self.alone:
            await super()._reinvite(leg, tx, request)
            return
        layer = self.live.exchange.layer
        try:
            sdp = sdp_in(request)
        except SipError as error:
            layer.respond(tx, build.response(request, error.status, error.reason))
            return
        least = self.live.exchange.session.minimum
        if too_small(request, least):
            layer.respond(tx, build.response(request, 422, headers=[("Min-SE", str(least))]))
            return
        if request.method == "UPDATE" and not sdp:
            self._refreshed(leg, tx, request)
            return
        if self.frozen:
            layer.respond(tx, build.response(request, 491))
            return
        if sdp:
            try:
                self.told = await self.agree(sdp)
            except MediaError:
                layer.respond(tx, build.response(request, 488))
                return
            leg.sdp = sdp
            self._note_hold(leg, sdp)
        answer = build.response(request, 200, body=self.told)
        answer.fields += [*self._accepting(leg, request), SDP_TYPE]
        tx.owner = leg
        layer.respond(tx, answer)

    async def agree(self, sdp: bytes) -> bytes:
        """Our answer to an offer of the caller. Raises MediaError."""
        live, flow = self.live, self.live.a.flow
        if live.unrelayed:
            raise MediaError("this call goes past the relay")
        here = Here(flow.local[0], SOMEWHERE, 1)
        try:
            offer = Sdp.parse(sdp)
            ours = negotiate(offer, G711, here)
            agreement = agreed(ours, offer, answerer=True)
        except SdpError as error:
            raise MediaError(str(error)) from None
        if agreement is None:
            raise MediaError("the caller speaks no G.711 in the clear")
        media, call_id = live.exchange.media, live.call.offered.call_id
        told = await media.attend(
            call_id, "a", sdp, ours.to_bytes(), local=flow.local[0], source=flow.remote[0]
        )
        self._payload = agreement.payload
        events = NO_EVENTS if agreement.receive_event_payload is None else agreement.receive_event_payload
        media.listen(call_id, "a", events)
        if self._what and self._repeats and agreement.sends:
            self.play(self._what, repeat=True)
        elif not agreement.sends:
            media.quiet(call_id)
        return told


def pressed(request: Request) -> str:
    """The key in an INFO (application/dtmf-relay, application/dtmf); empty when there is none."""
    kind = (request.first("content-type") or "").partition(";")[0].strip().lower()
    text = request.body[:200].decode("ascii", "replace")
    if kind == "application/dtmf-relay":
        values = [line.partition("=")[2].strip() for line in text.splitlines() if line.lower().startswith("signal")]
        text = values[0] if values else ""
    elif kind != "application/dtmf":
        return ""
    digit = text.strip().upper()
    return digit if len(digit) == 1 and digit in "0123456789*#ABCD" else ""


async def attendance(live: LiveCall, step: Attend) -> Attendance | None:
    """Answer the caller ourselves; None when that cannot be, and he has been told so, or has given up."""
    attendant = Attendant(live.exchange, live, live.next_label(), step.party, live.a.flow, None)
    live.joined.append(attendant)
    made = Attendance(live, attendant)
    try:
        if not live.offer:
            raise MediaError("a call without an offer cannot be answered by the exchange itself")
        body = made.told = await made.agree(live.offer)
    except MediaError as error:
        live.exchange.media_refused(live.call.offered.call_id, error)
        live.refuse(error.status, build.REASONS[error.status])
        return None
    now = live.exchange.wall()
    live.apply(inputs.LegDialed(now, attendant.label, attendant.party, step.name))
    if not await written_down(live, attendant):
        return None
    snapshot = live.apply(inputs.LegAnswered(live.exchange.wall(), attendant.label))
    live.a.respond(200, "OK", (), body)
    if snapshot is not None:
        live.exchange.hooks.on_answered(snapshot)
    return made

"""A mailbox: the caller hears the greeting and a tone, and what he says is recorded until he hangs up or presses #."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pbxcore.call.handover import Over
from pbxcore.call.router import Step
from pbxcore.call.services.attendance import Attendance
from pbxcore.call.services.entries import Attend
from pbxcore.call.services.sounds import GREETING, spoken
from pbxcore.call.signal import Kind
from pbxcore.media.prompts import BEEP

if TYPE_CHECKING:
    from pbxcore.call.b2bua import LiveCall

LONGEST_SECONDS = 180.0
LEAST_SECONDS = 1.0       # what is shorter is somebody who hung up at the tone
UNTOLD = LEAST_SECONDS    # the length of a recording whose worker is gone


@dataclass(frozen=True, slots=True)
class Message:
    """What somebody has said: `file` is a WAV file, `at` Unix time, `new` whether nobody has heard it yet."""

    box: str
    call_id: str
    caller: str
    name: str
    at: float
    seconds: float
    file: str
    new: bool = True


class Mailroom(Protocol):
    """Who keeps the messages. Only `messages` and `close` may wait: what is asked for is done behind the calls, in
    order."""

    def file_for(self, box: str, call_id: str) -> str:
        """Where a new message goes; empty when there is no room."""
        ...

    def keep(self, message: Message) -> None:
        """The file is whole."""
        ...

    def discard(self, file: str) -> None:
        """Nothing was said."""
        ...

    async def messages(self, box: str) -> list[Message]:
        """Those of a box, new ones first, of these and of the others the newest first; awaits futures only."""
        ...

    def heard(self, message: Message) -> None: ...

    def delete(self, message: Message) -> None: ...

    async def close(self) -> None:
        """What was asked for is done."""
        ...


class NoMail:
    """An office without mailboxes."""

    def file_for(self, box: str, call_id: str) -> str:
        return ""

    def keep(self, message: Message) -> None:
        return

    def discard(self, file: str) -> None:
        return

    async def messages(self, box: str) -> list[Message]:
        return []

    def heard(self, message: Message) -> None:
        return

    def delete(self, message: Message) -> None:
        return

    async def close(self) -> None:
        return


async def serve(attendance: Attendance, step: Attend) -> Sequence[Step]:
    live = attendance.live
    mailroom = live.exchange.mailroom
    greeting = await spoken(attendance, [f"{GREETING}-{step.name}"], {}) or await spoken(attendance, [GREETING], {})
    await attendance.hear_out(greeting)
    file = mailroom.file_for(step.name, live.call.offered.call_id)
    if not file:
        return ()
    await attendance.hear_out(await spoken(attendance, [BEEP], {}))
    attendance.forget_keys()
    media, call_id, clock = live.exchange.media, live.call.offered.call_id, live.exchange.clock
    live.exchange.recordings[call_id] = _keeper(live, step.name, file)
    media.record(call_id, file, LONGEST_SECONDS)
    try:
        until = clock() + LONGEST_SECONDS + 5.0
        while True:
            signal = await attendance.wait(until)
            if signal.kind in (Kind.RECORDED, Kind.TIMEOUT) or (signal.kind is Kind.DIGIT and signal.text == "#"):
                break
    except Over:
        media.stop_recording(call_id)
        raise
    media.stop_recording(call_id)
    return ()


def _keeper(live: LiveCall, box: str, file: str) -> Callable[[float], None]:
    """What to do when the file is whole, which may be after the call has ended."""
    offered, mailroom, at = live.call.offered, live.exchange.mailroom, live.exchange.wall()
    name = live.call.decided.display_name if live.call.decided is not None else None

    def whole(seconds: float) -> None:
        if seconds < LEAST_SECONDS:
            mailroom.discard(file)
            return
        message = Message(box, offered.call_id, offered.caller, name or offered.caller_name or "", at, seconds, file)
        mailroom.keep(message)

    return whole

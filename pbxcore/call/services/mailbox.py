"""The owner of a mailbox hears his messages: 1 once more, 3 the next, 7 delete; what was heard is no longer new."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pbxcore.call.router import Step
from pbxcore.call.services.attendance import Attendance
from pbxcore.call.services.entries import Attend
from pbxcore.call.services.sounds import spoken
from pbxcore.media.prompts import BEEP

if TYPE_CHECKING:
    from pbxcore.call.services.voicemail import Message

YOUR_MESSAGES, MESSAGE_KEYS, DELETED, NO_MORE = "your-messages", "message-keys", "deleted", "no-more-messages"
AGAIN, NEXT, DELETE = "1", "3", "7"
KEY_SECONDS = 5.0


async def serve(attendance: Attendance, step: Attend) -> Sequence[Step]:
    exchange = attendance.live.exchange
    messages = await exchange.mailroom.messages(step.name)
    count = str(sum(message.new for message in messages))
    await attendance.hear_out(await spoken(attendance, [YOUR_MESSAGES], {"count": count}))
    place = 0
    while place < len(messages):
        place += await _one(attendance, messages[place])
    await attendance.hear_out(await spoken(attendance, [NO_MORE], {}))
    return ()


async def _one(attendance: Attendance, message: Message) -> int:
    """Play a message and do what is wanted of it; how many to go on by. Who presses nothing goes on."""
    exchange = attendance.live.exchange
    sound = await exchange.sounds.recording(message.file)
    keys = await spoken(attendance, [BEEP, MESSAGE_KEYS], {})
    key = await attendance.key([*sound, *keys], KEY_SECONDS)
    if key == AGAIN:
        return 0
    if key == DELETE:
        exchange.mailroom.delete(message)
        await attendance.hear_out(await spoken(attendance, [DELETED], {}))
    else:
        exchange.mailroom.heard(message)
    return 1

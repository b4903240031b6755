"""What is to be heard, as files that the relay plays: prompts by their names, sentences, music."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pbxcore.call.services.attendance import Attendance

WRONG_KEY = "wrong-key"      # names that `media.prompts` knows, too
YOUR_PLACE = "your-place"
GREETING = "voicemail"


class Sounds(Protocol):
    """Where sounds come from."""

    async def files(self, say: str, variables: Mapping[str, str]) -> Sequence[str]:
        """The files of mu-law for a prompt's name or a sentence; empty when nothing of it can be heard. It awaits
        futures only, and is quick for what was said before."""
        ...


    async def recording(self, file: str) -> Sequence[str]:
        """The same for a WAV file."""
        ...


class Silence:
    """Where there are none."""

    async def recording(self, file: str) -> Sequence[str]:
        return ()

    async def files(self, say: str, variables: Mapping[str, str]) -> Sequence[str]:
        return ()


async def spoken(attendance: Attendance, say: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    """The files for all of these, one after the other."""
    sounds = attendance.live.exchange.sounds
    return [file for each in say for file in await sounds.files(each, variables)]

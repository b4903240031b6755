"""Voice messages, as files: what is recorded is in `tmp`, what is whole in `new` and, once it was heard, in `cur`.

A message is a WAV file with a JSON file of the same name beside it that says who has called and when. What a crash has
left in `tmp` is taken into `new` at the next start: whoever said something is heard.

Calls never wait for the disk: it is used on one thread, in the order of what was asked for; what came of it is counted
and told on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog

from pbxcore.call.services.voicemail import LEAST_SECONDS, Message
from pbxcore.call.subscriptions.mailboxes import Counts
from pbxcore.media import wav

log = structlog.get_logger("hookline.mail")

MOST_MESSAGES = 200       # in a box; then callers are not asked to leave one

Outcome = TypeVar("Outcome")


class FileMailroom:
    """A `Mailroom`. `told` hears how many messages a box has, `sent` of each new one, on a thread of its own."""

    def __init__(
        self, directory: Path, *, told: Callable[[str, Counts], None], sent: Callable[[Message], None] | None = None
    ) -> None:
        self._directory = directory
        self._told = told
        self._sent = sent
        self._counts: dict[str, Counts] = {}
        self._disk = ThreadPoolExecutor(1, "hookline-mailroom")
        self._under_way: set[asyncio.Future[Any]] = set()

    def restore(self, boxes: frozenset[str]) -> None:
        """At start, before calls: count what is there, and take in what a crash left. Raises OSError."""
        for box in sorted(boxes):
            for place in ("tmp", "new", "cur"):
                (self._directory / box / place).mkdir(mode=0o700, parents=True, exist_ok=True)
            for left in (self._directory / box / "tmp").glob("*.wav"):
                seconds = wav.seconds(left)
                if seconds < LEAST_SECONDS:
                    left.unlink()
                else:
                    self._take_in(self._left(box, left, seconds))
            new, old = (sum(1 for _ in (self._directory / box / place).glob("*.wav")) for place in ("new", "cur"))
            self._count(box, Counts(new, old))

    def _left(self, box: str, file: Path, seconds: float) -> Message:
        """Whose it is stands on its card, if the crash came between the two."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            card = self._directory / box / "new" / f"{file.stem}.json"
            return replace(Message(**json.loads(card.read_text())), file=str(file))
        return Message(box, file.stem, "", "", file.stat().st_mtime, seconds, str(file))

    async def messages(self, box: str) -> list[Message]:
        return await asyncio.get_running_loop().run_in_executor(self._disk, self.read, box)

    def read(self, box: str) -> list[Message]:
        """Those of a box as `messages` gives them; blocks for as long as a directory is read."""
        found = []
        for place in ("new", "cur"):
            for beside in (self._directory / box / place).glob("*.json"):
                try:
                    kept = Message(**json.loads(beside.read_text()))
                except (OSError, ValueError, TypeError):
                    continue
                found.append(replace(kept, file=str(beside.with_suffix(".wav")), new=place == "new"))
        return sorted(found, key=lambda message: (not message.new, -message.at))

    # --- Mailroom

    def file_for(self, box: str, call_id: str) -> str:
        counts = self._counts.get(box)
        if counts is None or counts.new + counts.old >= MOST_MESSAGES:
            return ""
        return str(self._directory / box / "tmp" / f"{call_id}.wav")

    def keep(self, message: Message) -> None:
        self._do("keep", message.file, lambda: self._take_in(message), self._count_kept)

    def discard(self, file: str) -> None:
        self._do("discard", file, lambda: Path(file).unlink(missing_ok=True), lambda _: None)

    def heard(self, message: Message) -> None:
        """It is new no longer."""
        self._do("move", message.file, lambda: _moved(Path(message.file)), partial(self._count_moved, message.box))

    def delete(self, message: Message) -> None:
        self._do("delete", message.file, lambda: _deleted(Path(message.file)), partial(self._count_deleted, message))

    async def close(self) -> None:
        """What was asked for is on the disk; there is no later."""
        while self._under_way:
            await asyncio.wait(self._under_way)
        self._disk.shutdown(wait=False)

    # --- what came of it, on the loop

    def _do(self, what: str, file: str, work: Callable[[], Outcome], done: Callable[[Outcome], None]) -> None:
        future = asyncio.get_running_loop().run_in_executor(self._disk, work)
        self._under_way.add(future)
        future.add_done_callback(partial(self._done, what, file, done))

    def _done(self, what: str, file: str, done: Callable[[Outcome], None], future: asyncio.Future[Outcome]) -> None:
        self._under_way.discard(future)
        try:
            outcome = future.result()
        except OSError as error:
            log.error("the room for messages does not obey", wanted=what, file=file, error=str(error))
            return
        done(outcome)

    def _count_kept(self, kept: Message) -> None:
        counts = self._counts[kept.box]
        self._count(kept.box, Counts(counts.new + 1, counts.old))
        if self._sent is not None:
            threading.Thread(target=self._sent, args=(kept,), name="hookline-mail", daemon=True).start()

    def _count_moved(self, box: str, moved: bool) -> None:
        if moved:
            counts = self._counts[box]
            self._count(box, Counts(counts.new - 1, counts.old + 1))

    def _count_deleted(self, message: Message, deleted: bool) -> None:
        if deleted:
            counts, new = self._counts[message.box], Path(message.file).parent.name == "new"
            self._count(message.box, Counts(counts.new - new, counts.old - (not new)))

    def _take_in(self, message: Message) -> Message:
        """First what is known of it, then the sound: what is in `new` is whole."""
        file = Path(message.file)
        kept = replace(message, file=str(self._directory / message.box / "new" / file.name))
        card = Path(kept.file).with_suffix(".json")
        try:
            card.write_text(json.dumps(asdict(kept), ensure_ascii=False))
            file.replace(kept.file)
        except OSError:
            card.unlink(missing_ok=True)    # or the box would have a message that nobody can hear
            raise
        return kept

    def _count(self, box: str, counts: Counts) -> None:
        self._counts[box] = counts
        self._told(box, counts)


# --- on the thread; false for what another phone of the box has moved or deleted meanwhile


def _moved(file: Path) -> bool:
    if file.parent.name != "new" or not file.exists():
        return False
    for each in (file, file.with_suffix(".json")):
        each.replace(file.parent.parent / "cur" / each.name)
    return True


def _deleted(file: Path) -> bool:
    if not file.exists():
        return False
    for each in (file, file.with_suffix(".json")):
        each.unlink(missing_ok=True)
    return True

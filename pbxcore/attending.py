"""Makes ready what announcements, menus, queues and mailboxes need: prompts and the room for messages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pbxcore.call.exchange import Exchange
from pbxcore.mail import Mailer
from pbxcore.mailroom import FileMailroom
from pbxcore.media.prompts import Prompts
from pbxcore.settings import Settings


class CannotAttend(Exception):
    """A directory that cannot be used; the message names the key and the mend."""


def make_ready(settings: Settings, exchange: Exchange) -> None:
    """For an office that has any of it. Raises CannotAttend."""
    plan, directory = exchange.dial_plan, Path(settings.media.prompts)
    if not (plan.boxes or plan.queues or plan.menus or directory.is_dir()):
        return
    recordings = Path(settings.media.recordings)
    addresses = {extension.number: extension.email for extension in settings.extension if extension.email}
    mailer = Mailer(settings.mail, addresses, settings.office.language, settings.office.timezone)
    mailroom = FileMailroom(recordings / "voicemail", told=exchange.events.mailboxes.set, sent=mailer.deliver)
    try:
        prompts = Prompts(directory, recordings / "sounds", settings.office.language)
        mailroom.restore(plan.boxes)
    except OSError as error:
        mend = "name a directory that can be written to"
        raise CannotAttend(f"media.recordings: {error.filename}: {error.strerror}; {mend}") from error
    exchange.dial_plan = replace(plan, prompts=prompts.names())
    exchange.sounds, exchange.mailroom = prompts, mailroom

"""A voice message by electronic mail (RFC 5322), to the address of its box."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Mapping
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from zoneinfo import ZoneInfo

import structlog

from pbxcore.call.services.voicemail import Message
from pbxcore.settings import Mail

log = structlog.get_logger("hookline.mail")

WAIT = 20.0     # seconds for the server
SUBJECTS = {"en": "Voice message from {who}", "ru": "Голосовое сообщение: {who}"}
TEXTS = {
    "en": "{who} has left a message of {seconds} s for {box}, {when}.",
    "ru": "{who}: сообщение для {box}, {seconds} с, {when}.",
}


class Mailer:
    """`addresses` are those of the boxes that want mail; `deliver` blocks."""

    def __init__(self, settings: Mail, addresses: Mapping[str, str], language: str, timezone: str) -> None:
        self._settings = settings
        self._addresses = addresses
        self._language = language
        self._zone = ZoneInfo(timezone)

    def deliver(self, message: Message) -> None:
        to = self._addresses.get(message.box)
        if to is None or not self._settings.server:
            return
        try:
            self._send(self.letter(message, to))
        except (OSError, smtplib.SMTPException) as error:
            log.error("mail not sent", box=message.box, server=self._settings.server, error=str(error),
                      hint="the message is in its box all the same")  # fmt: skip

    def letter(self, message: Message, to: str) -> EmailMessage:
        """Raises OSError when the recording is gone."""
        who = " ".join(part for part in (message.name, message.caller) if part) or "?"
        who = "".join(character for character in who if character.isprintable())
        when = datetime.fromtimestamp(message.at, self._zone).strftime("%Y-%m-%d %H:%M")
        values = {"who": who, "seconds": round(message.seconds), "box": message.box, "when": when}
        letter = EmailMessage()
        letter["Subject"] = SUBJECTS[self._language].format(**values)
        letter["From"] = self._settings.sender
        letter["To"] = to
        letter.set_content(TEXTS[self._language].format(**values))
        letter.add_attachment(
            Path(message.file).read_bytes(), maintype="audio", subtype="wav", filename=f"{message.call_id}.wav"
        )
        return letter

    def _send(self, letter: EmailMessage) -> None:
        settings = self._settings
        host, _, port = settings.server.rpartition(":")
        context = ssl.create_default_context()
        if settings.security == "tls":
            with smtplib.SMTP_SSL(host, int(port), timeout=WAIT, context=context) as server:
                self._post(server, letter)
            return
        with smtplib.SMTP(host, int(port), timeout=WAIT) as server:
            if settings.security == "starttls":
                server.starttls(context=context)
            self._post(server, letter)

    def _post(self, server: smtplib.SMTP, letter: EmailMessage) -> None:
        if self._settings.username:
            server.login(self._settings.username, self._settings.password.get_secret_value())
        server.send_message(letter)

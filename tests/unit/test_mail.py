"""A voice message by mail, to a real SMTP server of the test."""

from __future__ import annotations

import email
import socketserver
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import SecretStr

from pbxcore.call.services.voicemail import Message
from pbxcore.mail import Mailer
from pbxcore.media import tone, wav
from pbxcore.settings import Mail


class Server(socketserver.ThreadingTCPServer):
    """As much of SMTP (RFC 5321) as takes a letter in."""

    allow_reuse_address = True

    def __init__(self) -> None:
        self.letters: list[EmailMessage] = []
        self.refuses = False
        super().__init__(("127.0.0.1", 0), Session)


class Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server = cast(Server, self.server)
        self._say("220 here")
        while line := self.rfile.readline().decode().strip():
            verb = line[:4].upper()
            if verb == "DATA":
                self._say("354 go on")
                text = b""
                while (row := self.rfile.readline()) != b".\r\n":
                    text += row
                server.letters.append(cast(EmailMessage, email.message_from_bytes(text, policy=default)))
                self._say("250 kept")
            elif verb == "QUIT":
                self._say("221 bye")
                return
            elif verb == "RCPT" and server.refuses:
                self._say("550 nobody here")
            else:
                self._say("250 fine")

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def message(tmp_path: Path) -> Message:
    file = tmp_path / "c1.wav"
    wav.write(file, tone.sine(440.0, 2.0))
    return Message("101", "c1", "+15557777", "Anna\nBcc: eve@example.net", 0.0, 2.0, str(file))


def mailer(server: Server, **more: object) -> Mailer:
    given: dict[str, Any] = {"server": f"127.0.0.1:{server.server_address[1]}", "security": "none"}
    settings = Mail(**given | {"sender": "pbx@example.net"} | more)
    return Mailer(settings, {"101": "anna@example.net"}, "en", "Europe/Berlin")


def test_it_has_the_recording_and_says_who_called_and_when(server: Server, message: Message) -> None:
    mailer(server).deliver(message)
    [letter] = server.letters
    assert letter["To"] == "anna@example.net"
    assert letter["From"] == "pbx@example.net"
    assert letter["Bcc"] is None
    assert letter["Subject"] == "Voice message from AnnaBcc: eve@example.net +15557777"
    body, sound = letter.iter_parts()
    assert "1970-01-01 01:00" in body.get_content()
    assert len(wav.decode(sound.get_content())) == 32000


def test_a_box_without_address_and_an_office_without_server(server: Server, message: Message) -> None:
    Mailer(Mail(), {"101": "anna@example.net"}, "en", "UTC").deliver(message)
    Mailer(Mail(server="127.0.0.1:1"), {}, "en", "UTC").deliver(message)
    assert not server.letters


@pytest.mark.parametrize("trouble", ["refused", "no tls", "nobody there", "no login"])
def test_a_server_that_does_not_take_it_is_said_and_no_more(
    server: Server, message: Message, trouble: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.refuses = trouble == "refused"
    more: dict[str, object] = {}
    if trouble == "no tls":
        more["security"] = "starttls"
    elif trouble == "no login":
        more |= {"username": "pbx", "password": SecretStr("x")}
    settings = {"server": "127.0.0.1:1"} if trouble == "nobody there" else {}
    post = mailer(server, **more)
    post._settings = post._settings.model_copy(update={**settings, **more})
    post.deliver(message)
    assert not server.letters
    assert "mail not sent" in capsys.readouterr().out

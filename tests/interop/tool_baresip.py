"""baresip 1.0 without a screen: told what to do over its control socket, its sound from and into WAV files."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from pbxcore.media import tone, wav
from tests.conftest import require_tool
from tests.interop.server import PATIENCE, Server, password_of, wait_until
from tests.ports import free_port

PLAYED_SECONDS = 60.0
MODULES = "/usr/lib/baresip/modules"
CONFIG = """
poll_method epoll
sip_listen {host}:0
net_interface {address}
ctrl_tcp_listen 127.0.0.1:{control}
audio_source aufile,{played}
audio_player aubridge,nowhere
audio_alert aubridge,nowhere
snd_path {directory}
module_path {modules}
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
module srtp.so
module_tmp uuid.so
module_tmp account.so
{more}
module_app menu.so
module_app ctrl_tcp.so
"""


class Baresip:
    """One extension at one baresip, registered. It plays a tone of `hz` and keeps what it hears."""

    def __init__(
        self, directory: Path, server: Server, number: str, hz: int, *, transport: str = "udp", host: str = "127.0.0.1",
        secure: bool = False, more: str = "", uuid: str = "",
    ) -> None:  # fmt: skip
        """With `secure` it takes SRTP only, with keys in the SDP (RFC 4568). `more` is added to its configuration.
        `uuid` is its +sip.instance, a new one if nothing is said."""
        directory.mkdir()
        if uuid:
            (directory / "uuid").write_text(uuid)
        self.directory = directory
        self.uri = _uri(number, server, transport, host)
        self._server = server
        self._transport = transport
        self._host = host
        self._buffer = b""
        self._events: list[dict[str, Any]] = []
        played = directory / "played.wav"
        wav.write(played, tone.sine(hz, PLAYED_SECONDS))
        control = free_port()
        config = CONFIG.format(
            host=f"[{host}]" if ":" in host else host, address=host, control=control, played=played,
            directory=directory, modules=MODULES, more=more,
        )  # fmt: skip
        (directory / "config").write_text(config)
        (directory / "accounts").write_text("\n")
        (directory / "contacts").write_text("")
        family = "-6" if ":" in host else "-4"
        with (directory / "log").open("w") as log:
            self._process = subprocess.Popen(
                [require_tool("baresip"), "-f", str(directory), family, "-v"],
                cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._control = self._connected(control)
        # Only now: its mwi subscribes without an end when an account registers while modules are still being loaded.
        account = f"<{self.uri};transport={transport}>;auth_pass={password_of(number)};regint=300"
        self.tell("uanew", account + ";mediaenc=srtp-mand" * secure)

    def _connected(self, port: int) -> socket.socket:
        deadline = time.monotonic() + 10
        while True:
            try:
                return socket.create_connection(("127.0.0.1", port), timeout=1)
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, self.log()
                time.sleep(0.05)

    def __enter__(self) -> Baresip:
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """As a power cut would: nobody is told."""
        self._process.kill()
        self._process.wait()

    def log(self) -> str:
        return (self.directory / "log").read_text("utf-8", "replace")

    # ---- the control socket: netstrings of JSON

    def tell(self, command: str, params: str = "") -> str:
        """Give a command and wait until it has been taken; what baresip says to it."""
        text = json.dumps({"command": command, "params": params, "token": command})
        self._control.sendall(f"{len(text)}:{text},".encode())
        answer = self._next(lambda said: said.get("response"), 5.0)
        assert answer["ok"], f"{command}: {answer}"
        return str(answer["data"])

    def wait(self, kind: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """The next event of this kind; events before it stay for others to wait for."""
        return self._next(lambda said: said.get("type") == kind, seconds)

    def _next(self, wanted: Any, seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            for said in self._events:
                if wanted(said):
                    self._events.remove(said)
                    return said
            self._control.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                data = self._control.recv(65536)
            except TimeoutError:
                data = b""
            assert data, f"baresip told {self._events}\n{self.log()}"
            self._take(data)

    def _take(self, data: bytes) -> None:
        self._buffer += data
        while True:
            length, colon, rest = self._buffer.partition(b":")
            if not colon or len(rest) <= int(length):
                return
            self._events.append(json.loads(rest[: int(length)]))
            self._buffer = rest[int(length) + 1 :]

    # ---- deeds

    def registered(self) -> None:
        """Its REGISTER has been answered 200: that may have been told before anybody listened."""
        wait_until(lambda: "OK" in self.tell("reginfo"), "a registration")

    def call(self, number: str) -> None:
        self.tell("dial", _uri(number, self._server, self._transport, self._host))

    def heard(self) -> bytes:
        """What was heard in the call that has just ended, as 8 kHz PCM. After a re-INVITE baresip 1.0 keeps nothing any
        more: its sndfile drops out of the pipeline."""
        files = sorted(self.directory.glob("dump-*-dec.wav"))
        assert files, self.log()
        return wav.read(files[-1])

    def packets_heard(self) -> int:
        """RTP packets of the call that is up, as baresip counts them for each source: a transfer brings another."""
        return sum(map(int, re.findall(r"rcvd=(\d+)", self.tell("audio_debug"))))


def _uri(number: str, server: Server, transport: str, host: str) -> str:
    address, port = server.address(transport, host)
    return f"sip:{number}@[{address}]:{port}" if ":" in address else f"sip:{number}@{address}:{port}"

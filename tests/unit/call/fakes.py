"""Stand-ins for what the call logic works with."""

from __future__ import annotations

from pbxcore.sip import build
from pbxcore.sip.message import Request


class FakeFlow:
    """`pbxcore.sip.layer.Flow`: keeps what is sent."""

    def __init__(
        self, transport: str = "UDP", remote: tuple[str, int] = ("127.0.0.9", 5060),
        local: tuple[str, int] = ("127.0.0.1", 5060),
    ) -> None:  # fmt: skip
        self.transport = transport
        self.reliable = transport != "UDP"
        self.local = local
        self.remote = remote
        self.closed = False
        self.sent: list[bytes] = []
        self.asked_for: dict[str, str] = {}   # what `flow_to` was told besides

    def send(self, data: bytes) -> None:
        self.sent.append(data)


class Counting:
    """Identifiers in their order."""

    def __init__(self, name: str = "t") -> None:
        self.name = name
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        return f"{self.name}{self.count}"


def request(
    method: str = "INVITE", uri: str = "sip:101@127.0.0.1", *headers: tuple[str, str], body: bytes = b""
) -> Request:
    given = {name for name, _ in headers}
    rows = [
        ("Via", "SIP/2.0/UDP 127.0.0.9:5060;branch=z9hG4bKx"), ("From", '"Eve" <sip:eve@127.0.0.9>;tag=a'),
        ("To", f"<{uri}>"), ("Call-ID", "x"), ("CSeq", f"1 {method}"), ("Contact", "<sip:eve@127.0.0.9>"),
    ]  # fmt: skip
    return build.request(method, uri, [row for row in rows if row[0] not in given] + list(headers), body)

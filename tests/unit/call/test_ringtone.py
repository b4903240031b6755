"""Which Alert-Info a phone gets."""

from __future__ import annotations

import pytest

from pbxcore.call.ringtone import EXTERNAL, INTERNAL, PRIORITY, default, said
from pbxcore.hooks import Direction
from pbxcore.sip.message import Field
from tests.unit.call.fakes import request


@pytest.mark.parametrize(
    ("direction", "priority", "believed", "row"),
    [
        ("internal", "", True, INTERNAL), ("inbound", "", False, EXTERNAL), ("outbound", "", True, EXTERNAL),
        ("internal", "urgent", True, PRIORITY), ("inbound", "Emergency", True, PRIORITY),
        ("inbound", "emergency", False, EXTERNAL), ("inbound", "non-urgent", True, EXTERNAL),
    ],
)  # fmt: skip
def test_where_it_comes_from(direction: Direction, priority: str, believed: bool, row: Field) -> None:
    headers = [("Priority", priority)] if priority else []
    assert default(direction, request("INVITE", "sip:101@127.0.0.1", *headers), believed=believed) == row


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("internal", "<urn:alert:source:internal>"), ("PRIORITY", "<urn:alert:priority:high>"),
        ("urn:alert:service:call-waiting", "<urn:alert:service:call-waiting>"),
        ("<urn:alert:tone:vip>", "<urn:alert:tone:vip>"), ("Bellcore-dr2", "Bellcore-dr2"),
        ("<http://192.0.2.1/ring.wav>", "<http://192.0.2.1/ring.wav>"),
    ],
)  # fmt: skip
def test_the_crm_s_word(word: str, value: str) -> None:
    assert said(word) == ("alert-info", f"Alert-Info: {value}")


@pytest.mark.parametrize("word", ["x\r\nVia: evil", "<urn:alert:x>\nContact: <sip:evil>", "urn:alert:x\r\n\r\nbody"])
def test_nothing_of_it_becomes_a_header(word: str) -> None:
    assert "\n" not in said(word)[1]
    assert "\r" not in said(word)[1]

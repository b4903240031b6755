"""Reason rows (RFC 3326): causes of the telephone network."""

from __future__ import annotations

import pytest

from pbxcore.call.reason import q850, reasons, row
from tests.unit.call.fakes import request


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["Q.850;cause=16"], 16), (["q.850 ; cause = 17 ; text=\"User busy\""], 17),
        (["SIP;cause=486;text=\"a, b\", Q.850;cause=34"], 34), (["SIP;cause=200", "Q.850;cause=31"], 31),
        (["Q.850;text=\"x;cause=9\";cause=16"], 16), (["Q.850;cause=128"], None), (["Q.850;cause=0"], None),
        (["Q.850"], None), (["SIP;cause=16"], None), ([""], None), (["Q.850;cause=\u0661"], None),
    ],
)  # fmt: skip
def test_the_cause(values: list[str], expected: int | None) -> None:
    bye = request("BYE", "sip:1@127.0.0.1", *[("Reason", value) for value in values])
    assert q850(bye) == expected


def test_without_a_reason() -> None:
    assert q850(request()) is None
    assert reasons(request()) is None


def test_several_go_on_in_one_row() -> None:
    cancel = request("CANCEL", "sip:1@127.0.0.1", ("Reason", 'SIP;cause=200;text="a, b"'), ("Reason", "Q.850;cause=16"))
    assert reasons(cancel) == 'SIP;cause=200;text="a, b", Q.850;cause=16'


def test_our_own_cannot_break_out_of_its_quotes() -> None:
    assert row(408, 'x" ; y\\') == ("reason", 'Reason: SIP;cause=408;text="x\\" ; y\\\\"')

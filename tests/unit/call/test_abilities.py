"""What we say that we can: the truth for each leg."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pbxcore import profiles
from pbxcore.call.abilities import OPTIONS, Declined, asking, asking_of, check, supported
from pbxcore.call.leg import ALLOW
from pbxcore.call.session_timer import Wanted
from pbxcore.profiles import PhoneProfile
from pbxcore.sip.message import Field
from tests.unit.call.fakes import request

WANTED = Wanted(1800, 90)


def profile(**switches: str) -> PhoneProfile:
    return profiles.phone("generic").model_copy(update=switches)


def leg(**switches: str) -> Any:
    return SimpleNamespace(trunk=None, make=profile(**switches) if switches else None)


def lines(rows: list[Field] | tuple[Field, ...]) -> list[str]:
    return [line for _, line in rows]


def test_a_plain_leg() -> None:
    expected = [f"Supported: {', '.join(OPTIONS)}", "Session-Expires: 1800"]
    assert lines(asking(WANTED)) == lines(asking_of(leg(), WANTED, reliable=True)) == expected
    assert lines(asking(Wanted(0))) == expected[:1]
    assert lines(asking(Wanted(1800, 600)))[1:] == ["Session-Expires: 1800", "Min-SE: 600"]


@pytest.mark.parametrize(
    ("switches", "missing"),
    [({"reliable": "avoid"}, "100rel"), ({"session_timer": "avoid"}, "timer")],
)
def test_what_is_kept_to_ourselves_is_said_nowhere(switches: dict[str, str], missing: str) -> None:
    tagged = " ".join(lines([*asking_of(leg(**switches), WANTED, reliable=True), *supported(leg(**switches))]))
    assert missing not in tagged
    with pytest.raises(Declined) as refused:
        check(request("INVITE", "sip:1@127.0.0.1", ("Require", missing)), profile(**switches), WANTED)
    assert (refused.value.status, refused.value.headers) == (420, [("Unsupported", missing)])


def test_no_prack_is_promised_where_none_could_be_sent() -> None:
    assert "100rel" not in " ".join(lines(asking_of(leg(), WANTED, reliable=False)))
    demanding = lines(asking_of(leg(reliable="demand"), WANTED, reliable=False))
    assert "Require: 100rel" not in demanding
    assert "Require: 100rel" in lines(asking_of(leg(reliable="demand"), WANTED, reliable=True))


def test_a_timer_that_is_only_answered_is_not_asked_for() -> None:
    rows = " ".join(lines(asking_of(leg(session_timer="answer"), WANTED, reliable=True)))
    assert "timer" in rows
    assert "Session-Expires" not in rows


def test_the_methods_of_our_extensions_are_allowed() -> None:
    assert {"PRACK", "UPDATE"} <= set(ALLOW.split(", "))


def test_whose_terms_are_demanded() -> None:
    with pytest.raises(Declined) as refused:
        check(request(), profile(reliable="demand"), WANTED)
    assert (refused.value.status, refused.value.headers) == (421, [("Require", "100rel")])
    check(request("INVITE", "sip:1@127.0.0.1", ("Supported", "100REL")), profile(reliable="demand"), WANTED)

"""The arithmetic of session timers (RFC 4028), without a call around it."""

from __future__ import annotations

from math import inf

import pytest

from pbxcore.call.session_timer import SHORTEST, SessionTimer, Wanted, min_se, raised, session_expires, too_small
from pbxcore.sip import build
from pbxcore.sip.message import Response
from tests.unit.call.fakes import request

TIMER = ("Supported", "timer")


def response(*headers: tuple[str, str], status: int = 200) -> Response:
    return build.response(request(), status, headers=headers)


def running(value: str) -> SessionTimer:
    timer = SessionTimer(Wanted())
    timer.answered(response(("Session-Expires", value)), 1000.0)
    return timer


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1800", (1800, "")), ("1800;refresher=uac", (1800, "uac")), (" 90 ; Refresher = UAS ;x", (90, "uas")),
        ("1800;refresher=me", (1800, "")), ("", None), ("-5", None), ("1e3", None), ("99999999999", None),
        ("\u0661", None), ("0", (0, "")),
    ],
)  # fmt: skip
def test_what_is_read(value: str, expected: tuple[int, str] | None) -> None:
    assert session_expires(request("INVITE", "sip:1@127.0.0.1", ("Session-Expires", value))) == expected


def test_no_min_se_means_ninety() -> None:
    assert min_se(request()) == SHORTEST
    assert min_se(request("INVITE", "sip:1@127.0.0.1", ("Min-SE", "10"))) == SHORTEST, "none is lower (section 5)"
    assert min_se(request("INVITE", "sip:1@127.0.0.1", ("Min-SE", "600;x=y"))) == 600
    assert min_se(request("INVITE", "sip:1@127.0.0.1", ("Min-SE", "much"))) == SHORTEST


def test_only_who_knows_of_it_is_told_that_it_is_too_small() -> None:
    small = ("Session-Expires", "60")
    assert too_small(request("INVITE", "sip:1@127.0.0.1", TIMER, small), 90)
    assert not too_small(request("INVITE", "sip:1@127.0.0.1", small), 90)
    assert not too_small(request("INVITE", "sip:1@127.0.0.1", TIMER, ("Session-Expires", "90")), 90)


@pytest.mark.parametrize(("seconds", "margin"), [(1800, 32), (97, 32), (90, 30)])
def test_a_session_ends_a_little_before_its_time(seconds: int, margin: int) -> None:
    timer = running(f"{seconds};refresher=uas")
    assert timer.refresh_at == inf
    assert timer.due == timer.expires_at == pytest.approx(1000.0 + seconds - margin, abs=0.4)


def test_we_refresh_at_half_time() -> None:
    timer = running("600;refresher=uac")
    assert (timer.ours, timer.due) == (True, 1300.0)
    timer.refreshing()
    assert timer.due == timer.expires_at
    timer.try_again(1300.0)
    assert 1300.0 < timer.due < 1310.0


def test_a_peer_that_leaves_it_out_has_none() -> None:
    timer = running("600;refresher=uac")
    timer.answered(response(), 1300.0)
    assert (timer.interval, timer.due, timer.ask()) == (0, inf, [])


@pytest.mark.parametrize("value", ["0", "0;refresher=uac"])
def test_an_interval_of_nothing_is_none(value: str) -> None:
    assert running(value).due == inf


def test_a_refresher_keeps_its_role() -> None:
    assert running("600;refresher=uac").ask() == [("session-expires", "Session-Expires: 600;refresher=uac")]
    assert running("600;refresher=uas").ask() == [("session-expires", "Session-Expires: 600;refresher=uas")]


def test_an_answer_below_what_was_asked_for_does_not_shorten_the_session() -> None:
    """A peer that answers with one second would have us refresh without end."""
    timer = running("1;refresher=uac")
    assert timer.interval == SHORTEST


def test_a_longer_one_is_asked_for_once_it_is_known() -> None:
    timer = running("600;refresher=uac")
    assert timer.refused(response(("Min-SE", "900"), status=422))
    assert [line for _, line in timer.ask()] == ["Session-Expires: 900;refresher=uac", "Min-SE: 900"]
    assert not timer.refused(response(("Min-SE", "900"), status=422)), "it has that already"
    assert not timer.refused(response(("Min-SE", "999999999"), status=422))


def test_an_invite_is_raised_and_not_twice_to_the_same() -> None:
    invite = request("INVITE", "sip:1@127.0.0.1", TIMER, ("Session-Expires", "1800"))
    rows = raised(invite, response(("Min-SE", "3600"), status=422))
    assert rows is not None
    assert [line for _, line in rows] == ["Session-Expires: 3600", "Min-SE: 3600"]
    again = request("INVITE", "sip:1@127.0.0.1", TIMER, ("Session-Expires", "3600"), ("Min-SE", "3600"))
    assert raised(again, response(("Min-SE", "3600"), status=422)) is None
    assert raised(request(), response(("Min-SE", "3600"), status=422)) is None, "nothing was asked for"
    assert raised(invite, response(status=422)) is None

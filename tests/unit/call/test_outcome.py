"""Which refusal the caller gets, and in which words (RFC 3261 section 16.7)."""

from __future__ import annotations

import itertools

import pytest

from pbxcore.call.outcome import Outcome, rank, worse
from pbxcore.sip import build
from pbxcore.sip.message import Response

REQUEST = build.request(
    "INVITE",
    "sip:101@127.0.0.1",
    [
        ("Via", "SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKx"), ("From", "<sip:a@127.0.0.1>;tag=a"),
        ("To", "<sip:101@127.0.0.1>"), ("Call-ID", "x"), ("CSeq", "1 INVITE"),
    ],
)  # fmt: skip


def refusal(status: int, *headers: tuple[str, str], reason: str | None = None) -> Response:
    return build.response(REQUEST, status, reason, to_tag="b", headers=headers)


@pytest.mark.parametrize(
    ("first", "second", "wins"),
    [
        (486, 603, 603), (404, 302, 302), (486, 415, 415), (480, 486, 486), (408, 486, 486), (404, 486, 486),
        (480, 404, 404), (503, 404, 404), (500, 408, 408), (486, 487, 486), (484, 404, 484),
    ],
)  # fmt: skip
def test_the_better_one_wins_in_any_order(first: int, second: int, wins: int) -> None:
    for held, new in ((first, second), (second, first)):
        better = new if worse(Outcome(held, ""), Outcome(new, "")) else held
        assert better == wins


def test_the_first_of_equals_stays() -> None:
    assert not worse(Outcome(486, "first"), Outcome(486, "second"))


def test_the_order_is_total() -> None:
    for one, other in itertools.product(range(300, 700), repeat=2):
        if worse(Outcome(one, ""), Outcome(other, "")):
            assert not worse(Outcome(other, ""), Outcome(one, ""))
    assert {rank(status) for status in range(600, 700)} == {0}


@pytest.mark.parametrize("status", [401, 407])
def test_a_challenge_is_ours_and_is_never_passed_on(status: int) -> None:
    outcome = Outcome.of(refusal(status, ("WWW-Authenticate", 'Digest realm="x", nonce="y"')))
    assert (outcome.status, outcome.reason, outcome.fields) == (502, "Bad Gateway", [])


def test_a_503_would_be_about_this_exchange() -> None:
    assert Outcome.of(refusal(503, ("Retry-After", "3600"))) == Outcome(500, "Server Internal Error")


def test_words_and_reasons_go_through() -> None:
    outcome = Outcome.of(
        refusal(486, ("Warning", '399 x "In a meeting"'), ("Retry-After", "60"), ("X-Why", "lunch"),
                ("Contact", "<sip:desk@10.0.0.9>"), ("Server", "Phone 1.0"), reason="Not now")
    )  # fmt: skip
    assert (outcome.status, outcome.reason) == (486, "Not now")
    assert sorted(key for key, _ in outcome.fields) == ["retry-after", "warning", "x-why"]


def test_a_redirection_takes_its_contacts_along() -> None:
    outcome = Outcome.of(refusal(302, ("Contact", "<sip:mobile@example.net>"), ("Contact", "<sip:home@example.net>")))
    assert [row for key, row in outcome.fields if key == "contact"] == [
        "Contact: <sip:mobile@example.net>", "Contact: <sip:home@example.net>",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "phone", "expected"), [(408, True, 408), (408, False, 408), (503, True, 480), (503, False, 500)]
)
def test_what_could_not_be_reached(status: int, phone: bool, expected: int) -> None:
    outcome = Outcome.unreached(status, phone=phone)
    assert (outcome.status, outcome.trouble) == (expected, expected != 480)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_trouble(status: int) -> None:
    assert Outcome(status, "").trouble


@pytest.mark.parametrize("status", [302, 404, 480, 486, 487, 488, 600, 603])
def test_no_trouble(status: int) -> None:
    assert not Outcome(status, "").trouble

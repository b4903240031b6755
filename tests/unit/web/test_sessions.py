"""Sessions: signed, ended by sign-out, by idle time, by age, by a newer password."""

from __future__ import annotations

from dataclasses import replace

from pbxcore.store.repo import User
from web.sessions import SESSIONS_PER_USER, Session, Sessions, password_mark

ANNA = User("anna", "hash", "agent", "101", 0.0)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def sessions(clock: Clock) -> Sessions:
    return Sessions(b"s" * 32, clock, idle=100, lifetime=1000)


def test_cookie_names_its_session_and_a_forged_one_names_none() -> None:
    kept = sessions(Clock())
    session, cookie = kept.start(ANNA)
    assert kept.find(cookie) is session
    assert kept.find(cookie[:-8] + ("a" if cookie[-8] != "a" else "b") + cookie[-7:]) is None
    assert kept.find(session.id) is None
    assert kept.find(None) is None
    other = Sessions(b"o" * 32, Clock())
    assert other.find(cookie) is None


def test_signed_out_session_stays_out_whoever_copied_its_cookie() -> None:
    kept = sessions(Clock())
    ended: list[Session] = []
    kept.on_end = ended.append
    session, cookie = kept.start(ANNA)
    kept.end(session)
    kept.end(session)
    assert kept.find(cookie) is None
    assert ended == [session]


def test_idle_time_ends_a_session_and_use_prolongs_it() -> None:
    clock = Clock()
    kept = sessions(clock)
    _, cookie = kept.start(ANNA)
    for _ in range(3):
        clock.now += 90
        assert kept.find(cookie) is not None
    clock.now += 101
    assert kept.find(cookie) is None


def test_an_open_stream_alone_does_not_prolong_a_session() -> None:
    clock = Clock()
    kept = sessions(clock)
    _, cookie = kept.start(ANNA)
    clock.now += 90
    assert kept.find(cookie, touch=False) is not None
    clock.now += 20
    assert kept.find(cookie, touch=False) is None


def test_nobody_stays_signed_in_for_ever() -> None:
    clock = Clock()
    kept = sessions(clock)
    _, cookie = kept.start(ANNA)
    for _ in range(11):
        clock.now += 95
        kept.find(cookie)
    assert kept.find(cookie) is None


def test_oldest_sessions_of_a_user_give_way() -> None:
    kept = sessions(Clock())
    cookies = [kept.start(ANNA)[1] for _ in range(SESSIONS_PER_USER + 2)]
    assert len(kept) == SESSIONS_PER_USER
    assert kept.find(cookies[0]) is None
    assert kept.find(cookies[1]) is None
    assert kept.find(cookies[2]) is not None


def test_sessions_that_ran_out_are_forgotten() -> None:
    clock = Clock()
    kept = sessions(clock)
    kept.start(ANNA)
    clock.now += 500
    kept.start(replace(ANNA, username="boris"))
    assert len(kept) == 1


def test_mark_changes_with_the_password() -> None:
    assert password_mark(ANNA) != password_mark(replace(ANNA, password="other"))


def test_form_token_must_come_back_in_both_places() -> None:
    kept = sessions(Clock())
    token = kept.new_form_token()
    assert kept.good_form_token(token, token)
    assert not kept.good_form_token(token, kept.new_form_token())
    assert not kept.good_form_token(token, "")
    assert not kept.good_form_token(None, token)
    assert not kept.good_form_token("forged", "forged")
    assert not kept.good_form_token("ü", "ü")

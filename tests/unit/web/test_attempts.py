"""Limits on failed sign-ins."""

from __future__ import annotations

from web.attempts import KEYS_LIMIT, PER_ADDRESS, PER_PAIR, PER_USER, WINDOW_SECONDS, Attempts


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_one_address_guessing_at_one_user_is_slowed_and_forgiven_in_time() -> None:
    clock = Clock()
    attempts = Attempts(clock)
    for _ in range(PER_PAIR):
        assert attempts.wait("a", "anna") == 0
        attempts.tried("a", "anna")
        clock.now += 1
    assert 0 < attempts.wait("a", "anna") <= WINDOW_SECONDS
    assert attempts.wait("a", "boris") == 0
    assert attempts.wait("b", "anna") == 0
    clock.now += WINDOW_SECONDS
    assert attempts.wait("a", "anna") == 0


def test_one_address_trying_many_names_is_slowed() -> None:
    attempts = Attempts(Clock())
    for i in range(PER_ADDRESS):
        attempts.tried("a", f"user{i}")
    assert attempts.wait("a", "fresh") > 0
    assert attempts.wait("b", "fresh") == 0


def test_many_addresses_guessing_at_one_user_are_slowed_but_he_is_not_locked_out() -> None:
    attempts = Attempts(Clock())
    attempts.succeeded("home", "anna")
    for i in range(PER_USER):
        attempts.tried(f"bot{i}", "anna")
    assert attempts.wait("bot-new", "anna") > 0
    assert attempts.wait("home", "anna") == 0


def test_success_clears_the_pair() -> None:
    attempts = Attempts(Clock())
    for _ in range(PER_PAIR):
        attempts.tried("a", "anna")
    attempts.succeeded("a", "anna")
    assert attempts.wait("a", "anna") == 0


def test_attempts_that_were_no_failures_do_not_count() -> None:
    attempts = Attempts(Clock())
    for _ in range(PER_ADDRESS * 2):
        attempts.tried("a", "anna")
        attempts.succeeded("a", "anna")
        attempts.tried("a", "boris")
        attempts.forgive("a", "boris")
    assert attempts.wait("a", "anna") == 0
    assert attempts.wait("a", "boris") == 0
    attempts.forgive("never", "seen")


def test_memory_is_bounded() -> None:
    attempts = Attempts(Clock())
    for i in range(KEYS_LIMIT):
        attempts.tried(f"a{i}", f"u{i}")
        attempts.succeeded(f"a{i}", f"u{i}")
    assert len(attempts._failures) <= KEYS_LIMIT
    assert len(attempts._known) <= KEYS_LIMIT

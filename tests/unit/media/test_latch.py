"""Symmetric RTP without RTP bleed: who is taken for the source, and when."""

from __future__ import annotations

from pbxcore.media.latch import LEARN_SECONDS, LINGER_SECONDS, YIELD_SECONDS, Latch, Phase

SDP = ("192.0.2.1", 4000)
NAT = ("198.51.100.7", 61234)
STRANGER = ("203.0.113.9", 4000)
HOSTS = ("192.0.2.1", "198.51.100.7")


def opened(now: float = 0.0) -> Latch:
    latch = Latch()
    assert latch.expect(SDP, HOSTS, now)
    return latch


def test_nobody_is_taken_before_an_sdp() -> None:
    latch = Latch()
    assert not latch.accept(SDP, True, 0.0)
    assert latch.remote is None


def test_sdp_address_latches_and_locks_at_once() -> None:
    latch = opened()
    assert latch.accept(SDP, True, 0.0)
    assert latch.phase is Phase.LOCKED
    assert not latch.accept(NAT, True, 0.0)
    assert not latch.accept(STRANGER, True, 0.0)


def test_media_goes_to_the_sdp_address_until_a_source_is_known() -> None:
    assert opened().remote == SDP


def test_stranger_is_refused_as_the_very_first() -> None:
    latch = opened()
    assert not latch.accept(STRANGER, True, 0.0)
    assert (latch.remote, latch.phase) == (SDP, Phase.LEARNING)


def test_phone_behind_nat_is_learnt_once() -> None:
    latch = opened()
    assert latch.accept(NAT, True, 1.0)
    assert latch.remote == NAT
    assert not latch.accept((NAT[0], NAT[1] + 1), True, 1.0)
    assert latch.accept(NAT, True, 1.1)


def test_same_host_other_port_is_nat_too() -> None:
    latch = opened()
    assert latch.accept((SDP[0], 5555), True, 0.0)


def test_sdp_address_displaces_a_nat_source_that_was_quicker() -> None:
    latch = opened()
    assert latch.accept(NAT, True, 0.0)
    assert latch.accept(SDP, True, YIELD_SECONDS / 2)
    assert latch.remote == SDP
    assert not latch.accept(NAT, True, YIELD_SECONDS / 2)


def test_nat_source_is_locked_once_it_needs_not_yield_any_more() -> None:
    latch = opened()
    assert latch.accept(NAT, True, 0.0)
    assert latch.accept(NAT, True, YIELD_SECONDS + 0.1)
    assert latch.phase is Phase.LOCKED
    assert not latch.accept(SDP, True, YIELD_SECONDS + 0.2)


def test_garbage_teaches_nothing() -> None:
    latch = opened()
    assert not latch.accept(NAT, False, 0.0)
    assert latch.phase is Phase.LEARNING


def test_window_closes_for_nat_but_never_for_the_sdp_address() -> None:
    latch = opened()
    late = LEARN_SECONDS + 0.1
    assert not latch.accept(NAT, True, late)
    assert latch.accept(SDP, True, late)


def test_next_answer_with_the_same_address_opens_the_window_again_while_nobody_was_learnt() -> None:
    latch = opened()
    assert not latch.expect(SDP, HOSTS, 30.0)
    assert latch.accept(NAT, True, 30.1)


def test_same_address_again_leaves_a_locked_latch_alone() -> None:
    latch = opened()
    latch.accept(NAT, True, 0.0)
    latch.accept(NAT, True, YIELD_SECONDS + 0.1)
    assert not latch.expect(SDP, HOSTS, 10.0)
    assert latch.remote == NAT
    assert not latch.accept(("198.51.100.7", 1), True, 10.0)


def test_changed_address_latches_anew() -> None:
    latch = opened()
    latch.accept(SDP, True, 0.0)
    moved = ("192.0.2.1", 4002)
    assert latch.expect(moved, HOSTS, 10.0)
    assert latch.remote == moved
    assert latch.accept(moved, True, 10.1)
    assert not latch.accept(SDP, True, 10.2)


def test_last_packets_of_the_old_source_are_not_taken_for_the_new_one() -> None:
    latch = opened()
    latch.accept(NAT, True, 0.0)
    latch.expect(("192.0.2.1", 4002), HOSTS, 10.0)
    assert not latch.accept(NAT, True, 10.01)
    again = (NAT[0], 61236)
    assert latch.accept(again, True, 10.02)
    assert latch.remote == again


def test_old_source_may_be_learnt_again_when_no_other_speaks() -> None:
    latch = opened()
    latch.accept(NAT, True, 0.0)
    latch.expect(("192.0.2.1", 4002), HOSTS, 10.0)
    assert latch.accept(NAT, True, 10.0 + LINGER_SECONDS + 0.1)


def test_closed_latch_takes_nobody_and_sends_nowhere() -> None:
    latch = opened()
    latch.accept(SDP, True, 0.0)
    latch.close()
    assert not latch.accept(SDP, True, 0.0)
    assert latch.remote is None
    assert latch.expect(SDP, HOSTS, 1.0)

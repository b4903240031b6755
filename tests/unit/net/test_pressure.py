"""When new calls are refused: only when messages wait too long, for longer than a burst takes; said once in the log."""

from __future__ import annotations

import logging

import pytest

from pbxcore.net.pressure import CALM, EASED, LATE, PATIENCE, Pressure

SOCKET, OTHER = "one socket", "another"
LONG = PATIENCE * 1.001
BETWEEN = (LATE + EASED) / 2


def behind() -> Pressure:
    """Since 10.0 + LONG."""
    pressure = Pressure()
    pressure.waited(SOCKET, LATE, 10.0)
    pressure.waited(SOCKET, LATE, 10.0 + LONG)
    assert pressure.behind
    return pressure


def test_a_burst_that_is_worked_off_in_time_refuses_nobody() -> None:
    pressure = Pressure()
    for number in range(10):    # after a pause of a second, and worked off before anybody loses patience
        pressure.waited(SOCKET, 1.0, 10.0 + number * PATIENCE / 10)
        assert (pressure.late, pressure.behind) == (True, False)
    pressure.eased(SOCKET, 10.0 + PATIENCE)
    assert (pressure.late, pressure.behind) == (False, False)
    pressure.waited(SOCKET, 1.0, 10.0 + PATIENCE * 1.5)     # the next one has its own time
    assert not pressure.behind


def test_a_full_socket_that_is_read_in_time_refuses_nobody() -> None:
    pressure = Pressure()
    for number in range(100):
        pressure.waited(SOCKET, LATE * 0.99, 10.0 + number)
        assert (pressure.late, pressure.behind) == (False, False)


def test_what_goes_on_for_too_long_refuses_until_it_is_clearly_better() -> None:
    pressure = behind()
    pressure.waited(SOCKET, BETWEEN, 10.3)
    assert (pressure.late, pressure.behind) == (True, True)
    pressure.waited(SOCKET, EASED, 10.4)
    assert (pressure.late, pressure.behind) == (False, False)


def test_datagrams_that_find_no_room_are_as_bad_as_late_ones() -> None:
    pressure = Pressure()
    pressure.waited(SOCKET, 0.01, 10.0, True)
    assert (pressure.late, pressure.behind) == (True, False)
    pressure.waited(SOCKET, 0.01, 10.0 + LONG, True)
    assert pressure.behind
    pressure.waited(SOCKET, 0.01, 10.0 + 2 * PATIENCE, True)
    assert pressure.behind
    pressure.waited(SOCKET, 0.01, 10.0 + 3 * PATIENCE)
    assert not pressure.behind


def test_patience_is_used_up_until_it_has_been_calm() -> None:
    pressure = behind()
    pressure.eased(SOCKET, 10.5)
    pressure.look(10.5 + CALM * 0.9)
    pressure.waited(SOCKET, LATE, 10.5 + CALM * 0.9)
    assert pressure.behind
    pressure.eased(SOCKET, 20.0)
    pressure.look(20.0 + CALM)
    pressure.waited(SOCKET, LATE, 20.0 + CALM)
    assert (pressure.late, pressure.behind) == (True, False)


def test_an_empty_socket_says_nothing_of_another() -> None:
    pressure = behind()
    pressure.eased(OTHER, 10.3)
    assert pressure.behind
    pressure.waited(OTHER, LATE, 10.3)
    pressure.eased(SOCKET, 10.4)
    assert pressure.behind
    pressure.eased(OTHER, 10.5)
    assert (pressure.late, pressure.behind) == (False, False)


def test_the_log_has_one_line_for_the_beginning_and_one_for_the_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    pressure = behind()
    at = 10.0 + LONG
    for _ in range(50):     # it goes up and down, as under a load that is too much throughout
        pressure.eased(SOCKET, at + 0.1)
        pressure.waited(SOCKET, LATE, at + 0.2)
        pressure.look(at + 0.2)
        at += 0.2
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "behind: messages wait for 100 ms; new calls are refused" in caplog.text
    pressure.look(at + CALM)    # it still is
    assert len(caplog.records) == 1
    pressure.eased(SOCKET, at)
    pressure.look(at + CALM)
    pressure.look(at + CALM + 1)
    assert len(caplog.records) == 2
    assert "no longer behind: new calls have been refused now and then for 10.0 s" in caplog.text

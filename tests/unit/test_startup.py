"""From the command to a running exchange: the log."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator

import pytest
import structlog

from pbxcore.startup import log_to_stderr


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_lines_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    log_to_stderr()
    structlog.get_logger("test").warning("something is odd", call="c1")
    [line] = stream.getvalue().splitlines()
    assert "something is odd" in line
    assert "call=c1" in line
    assert "\x1b" not in line


def speak() -> None:
    log = structlog.get_logger("test")
    log.error("first")
    try:
        raise KeyError("x")
    except KeyError:
        log.exception("second")


def test_a_log_that_nobody_reads_any_more_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`hookline serve 2>&1 | head`: a line of the log must not end a call."""
    reader, writer = os.pipe()
    broken = os.fdopen(writer, "w", buffering=1)
    os.close(reader)
    monkeypatch.setattr(sys, "stderr", broken)
    log_to_stderr()
    speak()
    with pytest.raises(BrokenPipeError):
        broken.close()


@pytest.mark.parametrize("there", [True, False])
def test_a_log_without_standard_error(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed while it runs, or before it began (`2>&-`)."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream if there else None)
    log_to_stderr()
    stream.close()
    speak()

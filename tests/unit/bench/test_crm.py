"""What asking costs: a CRM that counts and is late for some, and both schemes on a real exchange. Nothing is timed."""

from __future__ import annotations

import json
import time
import urllib.request

import pytest

from bench import budgets, crm, interpreter
from bench.crm_server import crm_server, told
from bench.machine import two_cpus
from bench.setup import Plan
from tests.unit.bench.runs import run

CPU = two_cpus()[1]


def post(url: str, kind: str, call_id: str, caller: str = "+12025550001") -> bytes:
    body = json.dumps({"type": kind, "data": {"call_id": call_id, "caller": caller}}).encode()
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, body, timeout=10) as answer:
        return bytes(answer.read())


def test_the_crm_counts_calls_not_messages() -> None:
    with crm_server(CPU) as url:
        assert b"Anna" in post(url, "call.incoming", "a")
        for call_id in ("a", "b", "b"):
            assert post(url, "call.ended", call_id) == b"null"
        assert told(url) == {"call.incoming": 1, "call.ended": 2}


def test_one_caller_in_ten_is_late() -> None:
    with crm_server(CPU, slow=0.2) as url:
        begun = time.monotonic()
        post(url, "call.incoming", "a", "+12025550007")
        assert time.monotonic() - begun >= 0.2


def test_who_is_late_is_told_apart_from_the_others() -> None:
    late = run(ringing={"p99": 5.0}, apart={"p50": 101.5})
    words = crm.late_words({budgets.BY_HTTP: [run(ringing={"p99": 4.0})], budgets.SLOWLY: [late]}, "")
    assert "p99 5.00 ms, 4.00 ms where nobody is late; the late ones' p50 101.5 ms" in words


def test_the_crm_is_told_nothing_while_a_first_party_workstation_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crm, "KEPT_SECONDS", 1.0)
    monkeypatch.setattr(crm, "TOLD_SECONDS", 3.0)
    on, off = crm.of_scheme("first-party", Plan(), interpreter.own())
    assert (on.workstation, on.calls, on.recorded, on.told) == ("on", 10, 10, 10)
    assert (off.workstation, off.calls, off.recorded, off.told) == ("off", 10, 10, 0)

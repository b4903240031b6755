"""The simulator's own tests: a fixed number of seeds, the same trace every time, and that it would see a broken
exchange."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from pbxcore.call.leg import Leg
from pbxcore.call.registrar import Registrar
from pbxcore.sip.layer import Layer
from tests.scenario.simulator.cli import main, quiet
from tests.scenario.simulator.disk import Cabinet
from tests.scenario.simulator.report import Report
from tests.scenario.simulator.run import KINDS, Result, run

SEEDS = 200
SECONDS = 90.0       # of the processor: a very slow machine plays fewer


@pytest.fixture(scope="module")
def cabinet() -> Iterator[Cabinet]:
    quiet()
    cabinet = Cabinet()
    yield cabinet
    cabinet.close()


@pytest.fixture(autouse=True, scope="module")
def log_as_before() -> Iterator[None]:
    """The simulator keeps the log quiet; the tests after these want it back."""
    yield
    structlog.reset_defaults()


def test_thousands_of_calls_with_faults(cabinet: Cabinet) -> None:
    until = time.process_time() + SECONDS
    done: Counter[str] = Counter()
    calls = 0
    for seed in range(1, SEEDS + 1):
        result = run(seed, cabinet)
        assert not result.violations, (
            f"python -m tests.scenario --replay {seed}\n" + "\n".join(result.violations)
        )
        calls += result.calls
        done.update(result.done)
        if time.process_time() > until:
            break
    assert calls >= 60 * seed
    if seed < 50:
        return      # a very slow machine has not seen everything
    seen = {what.partition(":")[0] for what in done}
    assert seen >= {"caller", "callee", "carrier", "talk", "phone", "stray", "net", "crm", "disk", "exchange", "race",
                    "refer", "early", "timer", "watcher", "subscribe", "text", "trunk"}  # fmt: skip


TRACES = """
import hashlib
from tests.scenario.simulator.cli import quiet, replay
quiet()
for seed in range(101, 106):
    print(hashlib.sha256("\\n".join(replay(seed, 30).ladder).encode()).hexdigest())
"""


def test_the_same_seed_gives_the_same_trace_byte_for_byte() -> None:
    """One seed of each kind, in processes of their own, whose sets are ordered otherwise."""
    one, other = _traces("1"), _traces("2")
    assert one == other
    assert len(set(one)) == len(KINDS)


def _traces(hash_seed: str) -> list[str]:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, "-c", TRACES], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_one_seed_after_another_is_as_good_as_alone(cabinet: Cabinet) -> None:
    """Nothing of a run is left in the next one."""
    alone = run(7, cabinet, calls=20, keep=True).ladder
    run(8, cabinet, calls=20)
    assert run(7, cabinet, calls=20, keep=True).ladder == alone


def _no_bye(monkeypatch: pytest.MonkeyPatch) -> None:
    def bye(self: Leg, fields: object = ()) -> None:
        self.ending, self.call = True, None
        self.leave()

    monkeypatch.setattr(Leg, "bye", bye)


def _cancel_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Leg, "on_cancel", lambda *_: None)


def _everything_is_sent_twice_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    from pbxcore.sip.transaction import Transaction

    monkeypatch.setattr(Transaction, "restart", lambda *_: None)


def _extra_answers_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    from pbxcore.call.branch import Branch

    monkeypatch.setattr(Branch, "_hang_up_extra", lambda *_: None)


def _dialogs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Leg, "leave", lambda self: setattr(self, "call", None))


def _anybody_may_call(monkeypatch: pytest.MonkeyPatch) -> None:
    from pbxcore.call.exchange import Exchange

    monkeypatch.setattr(Exchange, "_authenticate", lambda *_: "101")


def _the_crm_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from pbxcore.call import b2bua
    from tests.scenario.simulator import building

    monkeypatch.setattr(b2bua, "LATE", 60.0)
    monkeypatch.setattr(building, "BUDGET", 5.0)
    from tests.scenario.simulator import invariants

    monkeypatch.setattr(invariants, "BUDGET", 0.3)


def _stray_responses_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    def receive(self: Layer, response: object, now: float) -> None:
        raise LookupError("a response")

    monkeypatch.setattr(Layer, "_receive_response", receive)


def _records_are_written_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each write gets a record of its own, as with a journal that had no key."""
    from crmhooks.journal import Journal

    pack = Journal._pack
    count = iter(range(1_000_000))

    def another(self: Journal, noted: object) -> tuple[object, ...]:
        packed = pack(self, noted)  # type: ignore[arg-type]
        return (f"{packed[0]}-{next(count)}", *packed[1:])

    monkeypatch.setattr(Journal, "_pack", another)


def _bindings_do_not_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registrar, "on_timer", lambda *_: None)


def _transfers_are_never_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    from pbxcore.call.report import Report

    def close(self: Report, status: int, reason: str = "", then: Callable[[], None] | None = None) -> None:
        if then is not None:
            then()

    monkeypatch.setattr(Report, "close", close)


def _merged_calls_keep_their_records(monkeypatch: pytest.MonkeyPatch) -> None:
    from crmhooks.journal import Journal

    monkeypatch.setattr(Journal, "merge", lambda *_: None)


def _subscriptions_do_not_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    from pbxcore.call.subscriptions.subscription import Subscription

    monkeypatch.setattr(Subscription, "on_deadline", lambda *_: None)


def _lamps_are_not_put_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from pbxcore.call.subscriptions import calls

    take = calls._take

    def take_all_but_ends(entries: dict[str, calls.Entry], entry: calls.Entry) -> bool:
        return take(entries, entry) and entry.state != "terminated"

    monkeypatch.setattr(calls, "_take", take_all_but_ends)


def _texts_are_taken_and_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    from pbxcore.call.texts import Texts

    monkeypatch.setattr(Texts, "_put", lambda *_: None)


def _texts_go_to_the_next_desk(monkeypatch: pytest.MonkeyPatch) -> None:
    from pbxcore.call import exchange

    target = exchange.Target
    monkeypatch.setattr(exchange, "Target", lambda number, *rest: target("101", *rest))


def _nobody_minds_the_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    from math import inf

    from pbxcore.call.session_timer import SessionTimer

    monkeypatch.setattr(SessionTimer, "due", property(lambda self: inf))


def _the_crm_is_asked_about_calls_for_help(monkeypatch: pytest.MonkeyPatch) -> None:
    from pbxcore.call import b2bua

    monkeypatch.setattr(b2bua, "asks_crm", lambda *_: True)


def _registrations_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from pbxcore.call.registration import Registration

    monkeypatch.setattr(Registration, "_failed", lambda self, reason, now: self._lost(reason))


@pytest.mark.parametrize(
    ("mutation", "seen"),
    [
        (_no_bye, "still up"),
        (_cancel_is_not_answered, "late"),
        (_everything_is_sent_twice_and_no_more, ""),
        (_extra_answers_are_left, ""),
        (_dialogs_are_kept, "dialogs"),
        (_anybody_may_call, "allowed"),
        (_the_crm_is_waited_for, "for the CRM"),
        (_stray_responses_raise, "LookupError"),
        (_records_are_written_twice, "record"),
        (_bindings_do_not_expire, "bindings"),
        (_transfers_are_never_reported, "has no end"),
        (_merged_calls_keep_their_records, "has a record"),
        (_subscriptions_do_not_expire, "subscriptions"),
        (_lamps_are_not_put_out, "the lamp still shows"),
        (_texts_are_taken_and_dropped, "is gone"),
        (_texts_go_to_the_next_desk, "a text for"),
        (_nobody_minds_the_sessions, "nobody refreshed"),
        (_the_crm_is_asked_about_calls_for_help, "about calls for help"),
        (_registrations_are_given_up, "trunk carrier is"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_a_broken_exchange_is_seen(
    mutation: Callable[[pytest.MonkeyPatch], None], seen: str, monkeypatch: pytest.MonkeyPatch, cabinet: Cabinet
) -> None:
    """The simulator's tests of its own eyes: each way to break the exchange is reported within some seeds."""
    mutation(monkeypatch)
    found: list[str] = []
    for seed in range(1, 40):
        found = run(seed, cabinet, calls=40).violations
        if any(seen in one for one in found):
            return
    pytest.fail(f"nobody saw it: {found}")


def test_the_command_line_replays_a_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--replay", "3", "--calls", "10"]) == 0
    ladder = capsys.readouterr().out
    assert "INVITE sip:" in ladder
    assert "seed 3: " in ladder


def test_the_report_counts(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    assert main(["--seeds", "2", "--first", "11", "--calls", "10", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["seeds"] == 2
    assert report["first"] == 11
    assert report["calls"] >= 20
    assert report["violations"] == {}
    assert sum(report["done"].values()) > 20


def test_a_report_is_written_and_gone_on_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept, shown = tmp_path / "report.json", tmp_path / "REPORT.md"
    files = ["--report", str(kept), "--report", str(shown)]
    assert main(["--seeds", "2", "--first", "11", "--calls", "8", "--revision", "abc", *files]) == 0
    first = Report.read(kept)
    assert main(["--seeds", "3", "--resume", str(kept), *files]) == 0
    report = Report.read(kept)
    assert (report.first, report.seeds, report.next, report.calls_a_run) == (11, 5, 16, 8)
    assert report.calls > first.calls
    assert report.revision == "abc"
    assert report.done["callee: answers"] >= first.done["callee: answers"]
    text = shown.read_text()
    assert "Seeds 11 to 15, 8 planned calls each" in text
    assert "Revision: abc" in text
    assert "**Violations: 0**" in text
    assert "| two who talk |" in text
    assert "11 to 15" in capsys.readouterr().out


def test_violations_are_in_the_report() -> None:
    report = Report(7)
    report.add(Result(7, calls=3, violations=["a ghost", "a port"]))
    report.add(Result(8, calls=3))
    assert "**Violations: 2** in 1 seeds" in report.as_markdown()
    assert "seed 7 (python -m tests.scenario --replay 7):\n  a ghost\n  a port\n" in report.as_markdown()


def test_what_is_no_report_is_not_gone_on_from(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(SystemExit):
        main(["--resume", str(tmp_path / "none.json")])
    with pytest.raises(SystemExit):
        main(["--resume", str(tmp_path / "x.json")])

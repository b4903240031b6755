"""`python -m tests`: both groups run, what was late gets a second try, and what failed is named last."""

from __future__ import annotations

import json
import re
import socket
import textwrap
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

import tests.__main__ as running
import tests.workers as networks
from tests.conftest import require_root, require_tool
from tests.ports import PORTS, free_port
from tests.workers import HOST, own_network

pytest_plugins = ["pytester"]


class FakePytest:
    """Ends with the `statuses` one by one, and tells `outcomes`."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, statuses: Sequence[int], outcomes: Sequence[dict[str, str]] = ()
    ) -> None:
        self.statuses, self.outcomes = list(statuses), list(outcomes)
        self.asked: list[tuple[str, ...]] = []
        monkeypatch.setattr(running, "_pytest", self)

    def __call__(self, *arguments: str) -> int:
        self.asked.append(arguments)
        if self.outcomes:
            [path] = [argument.partition("=")[2] for argument in arguments if argument.startswith("--outcomes-to=")]
            Path(path).write_text(json.dumps(self.outcomes.pop(0)))
        return self.statuses.pop(0)


def test_what_is_alone_runs_first_and_everything_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakePytest(monkeypatch, [0, 0])
    assert running.main(["--workers", "7", "tests/unit", "-k", "some"]) == 0
    assert [(asked[:4], asked[-3:]) for asked in fake.asked] == [
        (("-m", "alone", "-n", "1"), ("tests/unit", "-k", "some")),
        (("-m", "not alone", "-n", "7"), ("tests/unit", "-k", "some")),
    ]


@pytest.mark.parametrize(
    ("statuses", "status"),
    [((0, 0), 0), ((5, 0), 0), ((0, 5), 0), ((5, 5), 5), ((1, 0), 1), ((0, 1), 1), ((5, 1), 1), ((3, 0), 3)],
)
def test_it_ends_well_only_if_both_did(monkeypatch: pytest.MonkeyPatch, statuses: tuple[int, int], status: int) -> None:
    FakePytest(monkeypatch, statuses)
    assert running.main([]) == status


UNIT, WIRE, MORE_WIRE = "tests/unit/test_a.py::test_one[a b]", "tests/wire/test_b.py::test_two", "tests/wire/c.py::test"


def test_the_last_lines_name_what_failed_in_either_and_count_all(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    FakePytest(monkeypatch, [1, 1], [{"a": "failed", "b": "passed"}, {UNIT: "failed", "c": "passed", "d": "skipped"}])
    assert running.main([]) == 1
    assert capfd.readouterr().out == f"\n2 failed:\na\n{UNIT}\n\n2 passed, 2 failed, 1 skipped\n"


def test_a_run_that_broke_off_says_so(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    FakePytest(monkeypatch, [0, 3], [{"a": "passed"}])
    assert running.main([]) == 3
    assert capfd.readouterr().out == "\npytest ended with status 3\n\n1 passed, 0 failed\n"


def test_what_was_late_beside_others_may_pass_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fake = FakePytest(
        monkeypatch, [0, 1, 0],
        [{"a": "passed"}, {"b": "passed", WIRE: "failed"}, {WIRE: "passed"}],
    )  # fmt: skip
    assert running.main(["-k", "some"]) == 0
    assert len(fake.asked) == 3
    assert fake.asked[2][:5] == ("-m", "not alone", "-n", "1", "--last-failed")
    assert fake.asked[2][-2:] == ("-k", "some")
    assert capfd.readouterr().out.split("\n")[-5:] == [
        "1 passed only when run alone:", WIRE, "", "3 passed, 0 failed", "",
    ]  # fmt: skip


def test_what_fails_again_has_failed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    FakePytest(
        monkeypatch, [5, 1, 1],
        [{}, {WIRE: "failed", MORE_WIRE: "failed"}, {WIRE: "failed", MORE_WIRE: "passed"}],
    )  # fmt: skip
    assert running.main([]) == 1
    assert capfd.readouterr().out.split("\n")[-8:] == [
        "1 passed only when run alone:", MORE_WIRE, "", "1 failed:", WIRE, "", "1 passed, 1 failed", "",
    ]  # fmt: skip


@pytest.mark.parametrize("status", [2, 3, 4, 5])
def test_a_second_try_that_came_to_nothing_is_no_success(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    FakePytest(monkeypatch, [0, 1, status], [{}, {WIRE: "failed"}])
    assert running.main([]) != 0


@pytest.mark.parametrize(
    ("statuses", "alone", "beside"),
    [
        ((0, 1), [], [UNIT]),
        ((0, 1), [], [WIRE, UNIT]),
        ((0, 1), [], [f"{WIRE}[{number}]" for number in range(6)]),
        ((0, 1), [], ["tests/contract/test_rest.py::test"]),
        ((1, 0), [WIRE], []),
        ((1, 1), [WIRE], [MORE_WIRE]),
        ((0, 2), [], ["tests/wire/test_cannot_be_collected.py"]),
    ],
)
def test_no_second_try(
    monkeypatch: pytest.MonkeyPatch, statuses: tuple[int, int], alone: list[str], beside: list[str]
) -> None:
    fake = FakePytest(monkeypatch, statuses, [dict.fromkeys(alone, "failed"), dict.fromkeys(beside, "failed")])
    assert running.main([]) == max(statuses)
    assert len(fake.asked) == 2


def test_the_rooms_of_a_second_try_are_there() -> None:
    assert all((running.ROOT / path).exists() for path in running.REAL)


def test_a_second_try_runs_what_has_failed_and_nothing_else(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(running.ROOT))
    pytester.makeini("[pytest]\nmarkers = alone\n")
    body = """
        from pathlib import Path
        import pytest
        RAN = Path(__file__).with_suffix(".ran")
        @pytest.mark.alone
        def test_alone(): pass
        @pytest.mark.parametrize("word", ["plain", "a b/c::d"])
        def test_late_once(word):
            again = RAN.exists() and word in RAN.read_text()
            with RAN.open("a") as file:
                print(word, file=file)
            assert again or word == "plain"
        @pytest.fixture
        def broken_once():
            yield
            assert RAN.read_text().count("b") > 1
        def test_broken_once(broken_once): pass
    """
    (pytester.path / "tests/wire").mkdir(parents=True)
    (pytester.path / "tests/wire/test_late.py").write_text(textwrap.dedent(body))
    assert running.main(["-p", "tests.conftest", "--workers", "2", "tests"]) == 0
    lines = capfd.readouterr().out.split("\n")
    where = "tests/wire/test_late.py::test"
    assert lines[-6:] == [
        "2 passed only when run alone:", f"{where}_broken_once", f"{where}_late_once[a b/c::d]", "",
        "4 passed, 0 failed", "",
    ]  # fmt: skip
    ran = (pytester.path / "tests/wire/test_late.ran").read_text()
    assert ran == "plain\na b/c::d\na b/c::d\n"


@pytest.mark.parametrize(("processors", "workers"), [(1, 2), (2, 3), (3, 4), (64, 4)])
def test_workers_for_processors(processors: int, workers: int) -> None:
    assert running.workers(processors) == workers


def test_a_run_tells_how_each_test_ended(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(running.ROOT))
    pytester.makepyfile(
        test_some="""
        import pytest
        def test_right(): pass
        def test_wrong(): assert False
        def test_skipped(): pytest.skip("not today")
        @pytest.fixture
        def broken(): raise OSError
        def test_broken(broken): pass
        @pytest.fixture
        def broken_after():
            yield
            raise OSError
        def test_broken_after(broken_after): pass
        """,
        test_torn="import nothing_like_it",
    )
    pytester.makeini("[pytest]")
    file = pytester.path / "outcomes"
    pytester.runpytest_subprocess(
        "-p", "tests.conftest", f"--outcomes-to={file}", "-n", "1", "--continue-on-collection-errors"
    )
    assert json.loads(file.read_text()) == {
        "test_some.py::test_right": "passed", "test_some.py::test_wrong": "failed",
        "test_some.py::test_skipped": "skipped", "test_some.py::test_broken": "failed",
        "test_some.py::test_broken_after": "failed", "test_torn.py": "failed",
    }  # fmt: skip


def test_a_worker_has_ports_of_its_own() -> None:
    require_root("networks of their own")
    require_tool("ip")
    seen: list[object] = []

    def worker(port: int) -> None:      # a thread, because it never comes back
        seen.append(own_network())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", port))
            sock.sendto(b"heard", ("127.0.0.1", port))
            seen.append(sock.recv(10))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("198.51.100.1", 9))
            seen.append(sock.getsockname()[0])

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        here.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=worker, args=(here.getsockname()[1],))
        thread.start()
        thread.join()
    assert seen == [True, b"heard", HOST]


def test_a_network_that_cannot_be_used_is_left_again(monkeypatch: pytest.MonkeyPatch) -> None:
    require_root("networks of their own")
    require_tool("ip")
    monkeypatch.setattr(networks, "COMMANDS", ("link set nothing_like_it up",))
    seen: list[object] = []

    def worker() -> None:
        where = networks.BEFORE.readlink()
        seen.extend((own_network(), networks.BEFORE.readlink() == where))

    thread = threading.Thread(target=worker)
    thread.start()
    thread.join()
    assert seen == [False, True]


def test_ports_that_are_free() -> None:
    given = [free_port() for _ in range(50)]
    assert len(set(given)) == 50
    assert set(given) <= set(PORTS)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))


def test_ports_are_none_that_the_kernel_hands_out() -> None:
    path = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not path.exists():
        pytest.skip("Linux alone says which those are")
    last = re.findall(r"\d+", path.read_text())[1]
    assert int(last) < PORTS.start

"""`python -m tests`: both groups run, and what failed is named last."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

import tests.__main__ as running
from tests.conftest import require_root, require_tool
from tests.ports import PORTS, free_port
from tests.workers import HOST, own_network

pytest_plugins = ["pytester"]


class FakePytest:
    """Ends with the `statuses` one by one, and writes down what `failed`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, statuses: Sequence[int], failed: Sequence[str] = ()) -> None:
        self.statuses, self.failed = list(statuses), list(failed)
        self.asked: list[tuple[str, ...]] = []
        monkeypatch.setattr(running, "_pytest", self)

    def __call__(self, *arguments: str) -> int:
        self.asked.append(arguments)
        [path] = [argument.partition("=")[2] for argument in arguments if argument.startswith("--failed-to=")]
        status = self.statuses.pop(0)
        if status == 1:
            with Path(path).open("a") as file:
                file.write(self.failed.pop(0) + "\n")
        return status


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
    FakePytest(monkeypatch, statuses, ["one", "two"])
    assert running.main([]) == status


def test_the_last_lines_name_what_failed_in_either(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    FakePytest(monkeypatch, [1, 1], ["tests/a.py::test_one[a b]", "tests/b.py::test_two"])
    assert running.main([]) == 1
    assert capfd.readouterr().out == "\n2 failed:\ntests/a.py::test_one[a b]\ntests/b.py::test_two\n"


@pytest.mark.parametrize(("processors", "workers"), [(1, 2), (2, 3), (3, 4), (64, 4)])
def test_workers_for_processors(processors: int, workers: int) -> None:
    assert running.workers(processors) == workers


def test_a_run_names_the_failed_the_broken_and_what_cannot_be_collected(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(running.ROOT))
    pytester.makepyfile(
        test_some="""
        import pytest
        def test_right(): pass
        def test_wrong(): assert False
        @pytest.fixture
        def broken(): raise OSError
        def test_broken(broken): pass
        """,
        test_torn="import nothing_like_it",
    )
    pytester.makeini("[pytest]")
    file = pytester.path / "failed"
    file.write_text("before\n")
    pytester.runpytest_subprocess("-p", "tests.conftest", f"--failed-to={file}", "-n", "1")
    found = file.read_text().split("\n")
    assert found[0] == "before"
    assert set(found[1:-1]) == {"test_some.py::test_wrong", "test_some.py::test_broken", "test_torn.py"}


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

"""What /proc says, in the forms that trip readers up."""

from __future__ import annotations

import os
import subprocess

from bench import machine
from bench.machine import Moment

UDP = """\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  306: 0100007F:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 12
  307: 0200007F:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000000000000000 5
  308: 0100007F:3AD4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4713 2 0000000000000000 0
"""


def test_a_command_name_with_blanks_and_brackets_shifts_no_field() -> None:
    numbers = " ".join(str(number) for number in range(1, 50))
    assert machine.parse_stat(f"77 (a) b (c) S {numbers}") == (1, 11 + 12, 13 + 14)


def test_guest_time_is_not_counted_twice() -> None:
    assert machine.parse_ticks("cpu  10 1 5 100 2 0 1 6 4 3\ncpu0 9 9 9") == (10 + 1 + 5 + 100 + 2 + 0 + 1 + 6, 6)


def test_drops_belong_to_one_socket_or_to_a_port() -> None:
    assert machine.parse_drops(UDP, 4712) == 5
    assert machine.parse_drops(UDP, 1) == 0
    assert machine.parse_port_drops(UDP, 0x13C4) == 17
    assert machine.parse_port_drops(UDP, 0x3AD4) == 0


def moment(at: float, ticks: int, stolen: int, **busy: int) -> Moment:
    return Moment(at, ticks, stolen, {int(name.removeprefix("p")): value for name, value in busy.items()})


def test_steal_is_a_share_of_the_time_in_between() -> None:
    assert machine.steal(moment(0, 1000, 10), moment(1, 1200, 14)) == 4 / 200
    assert machine.steal(moment(0, 1000, 10), moment(0, 1000, 10)) == 0.0


def test_our_own_work_is_not_a_neighbours() -> None:
    before = moment(10.0, 0, 0, p1=100, p2=50, p3=7)
    after = moment(12.0, 0, 0, p1=100 + machine.TICKS, p2=9999, p3=7)
    assert machine.others(before, after, {2}) == 0.5


def test_a_neighbour_that_ended_is_seen_by_what_its_parent_waited_for() -> None:
    before = moment(0.0, 0, 0, p1=10, p5=30)
    after = moment(1.0, 0, 0, p1=10 + 30 + machine.TICKS)
    assert machine.others(before, after, set()) == 1.0


def test_what_the_kernel_does_is_told_apart_from_neighbours() -> None:
    before = Moment(0.0, 0, 0, {1: 5}, kernel=100)
    after = Moment(2.0, 0, 0, {1: 5}, kernel=100 + machine.TICKS)
    assert machine.kernel(before, after) == 0.5
    assert machine.others(before, after, set()) == 0.0
    assert os.getpid() in machine.moment().busy


def test_cpu_seconds_of_a_process_that_works() -> None:
    before = machine.cpu_seconds(os.getpid())
    sum(range(200_000))
    assert machine.cpu_seconds(os.getpid()) > before
    assert machine.cpu_seconds(2**22 + 1) == 0.0     # beyond the largest process id


def test_a_process_that_ended_is_not_alive_although_it_has_a_number() -> None:
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert os.path.exists(f"/proc/{ended.pid}")
    assert not machine.alive(ended.pid)
    ended.wait()
    assert not machine.alive(ended.pid)
    assert machine.alive(os.getpid())


def test_a_processor_is_given_back() -> None:
    allowed = os.sched_getaffinity(0)
    with machine.on_cpu(min(allowed)):
        assert os.sched_getaffinity(0) == {min(allowed)}
    assert os.sched_getaffinity(0) == allowed
    assert set(machine.two_cpus()) <= allowed


def test_facts_stand_beside_every_figure() -> None:
    facts = machine.facts()
    assert "profile-guided" in facts["interpreter"]
    assert {"collector", "loop", "processors", "kernel"} <= facts.keys()

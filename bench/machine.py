"""Facts about the machine that must stand beside every figure, read from /proc (Linux), and what processes cost."""

from __future__ import annotations

import gc
import os
import platform
import socket
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
KTHREADD = 2                # the parent of all kernel threads


def facts() -> dict[str, str]:
    """Interpreter and its build, collector policy, processors, kernel."""
    return {
        "interpreter": interpreter(),
        "collector": collector(),
        "loop": loop(),
        "processors": f"{os.cpu_count()} x {_model()}{', virtual machine' if _virtual() else ''}",
        "kernel": platform.release(),
    }


def implementation() -> str:
    """CPython 3.11, PyPy 8.0: the implementation by its own version."""
    version = sys.implementation.version
    return f"{platform.python_implementation()} {version.major}.{version.minor}"


def interpreter() -> str:
    """This interpreter and how it was built."""
    if has_jit():
        version = sys.implementation.version
        return f"{implementation()}.{version.micro} (Python {platform.python_version()}), with a JIT"
    built = "with" if profile_guided() else "without"
    return f"{platform.python_implementation()} {platform.python_version()}, {built} profile-guided optimisation"


def has_jit() -> bool:
    """Whether this interpreter compiles while it runs: then the first calls cost many times the later ones."""
    return "pypyjit" in sys.builtin_module_names


def collector() -> str:
    """What this interpreter's collector of cycles does in the exchange (`pbxcore.collector`)."""
    if hasattr(gc, "freeze"):
        return "frozen after start, automatic collection off, explicit in quiet moments"
    return "the interpreter's own, in small steps"


def profile_guided() -> bool:
    """Whether this interpreter was built with profile-guided optimisation."""
    config = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    if "--enable-optimizations" in config or "-fprofile-use" in str(sysconfig.get_config_var("PY_CORE_CFLAGS")):
        return True
    # Debian's rules run `make profile-opt` themselves: the flags that are kept say nothing of it.
    return sys.base_prefix == "/usr" and Path("/etc/debian_version").exists()


def loop() -> str:
    """The event loop that the exchange takes on this interpreter."""
    try:
        return f"uvloop {metadata.version('uvloop')}"
    except metadata.PackageNotFoundError:
        return "asyncio"


def _cpuinfo() -> str:
    return Path("/proc/cpuinfo").read_text("utf-8")


def _model() -> str:
    for line in _cpuinfo().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _virtual() -> bool:
    return " hypervisor" in _cpuinfo()


# ---- processes


def parse_stat(text: str) -> tuple[int, int, int]:
    """Of a /proc/PID/stat: its parent, its ticks (user and system), and those of the children it has waited for."""
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all its threads, ended ones too. 0 when it is gone."""
    try:
        return time.clock_gettime((~pid << 3) | 2)      # the process' CPU clock: nanoseconds, where ticks are 10 ms
    except OSError:
        return 0.0


def alive(pid: int) -> bool:
    """Whether a process still runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def kernel_seconds() -> float:
    """CPU time of the kernel's own threads so far, to the nanosecond; what a thread that has ended used is lost."""
    total = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if parse_stat((entry / "stat").read_text("utf-8"))[0] == KTHREADD:
                    total += int((entry / "schedstat").read_text("utf-8").split()[0])
    return total / 1e9


def rss_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text("utf-8").split()[1]) * PAGE / 2**20


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def children(pid: int) -> list[int]:
    """Direct and indirect child processes."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            for child in (task / "children").read_text("utf-8").split():
                found += [int(child), *children(int(child))]
    return found


def waited_seconds(pid: int) -> float:
    """How long the threads of a process were ready to run and had no CPU."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            total += int((task / "schedstat").read_text("utf-8").split()[1])
    return total / 1e9


def two_cpus() -> tuple[int, int]:
    """The CPU for a server and the one for the load: the first two that we may use, or the only one twice."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[min(1, len(allowed) - 1)]


@contextmanager
def on_cpu(cpu: int | None) -> Iterator[None]:
    """What is started inside runs on that CPU alone, from its first instruction on."""
    before = os.sched_getaffinity(0)
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


# ---- sockets


def parse_drops(table: str, inode: int) -> int:
    """Packets that the socket of this inode had no room for, by a /proc/net/udp."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if fields[9] == str(inode):
            return int(fields[-1])
    return 0


def parse_port_drops(table: str, port: int) -> int:
    """The same of all sockets bound to a port."""
    rows = [line.split() for line in table.splitlines()[1:]]
    return sum(int(fields[-1]) for fields in rows if int(fields[1].rpartition(":")[2], 16) == port)


def socket_drops(sock: socket.socket) -> int:
    return parse_drops(Path("/proc/net/udp").read_text("utf-8"), os.fstat(sock.fileno()).st_ino)


def port_drops(port: int) -> int:
    return parse_port_drops(Path("/proc/net/udp").read_text("utf-8"), port)


# ---- the whole machine


@dataclass(frozen=True)
class Moment:
    """What all processors had done by then."""

    at: float
    ticks: int
    stolen: int
    busy: dict[int, int]        # ticks of every process, its waited-for children included
    kernel: int = 0             # ticks of all kernel threads: what the kernel does on somebody's behalf


def parse_ticks(text: str) -> tuple[int, int]:
    """All ticks of all processors, and those that were stolen, by a /proc/stat."""
    fields = [int(field) for field in text.split("\n", 1)[0].split()[1:]]
    return sum(fields[:8]), fields[7]       # what comes after steal is counted in user and nice already


def moment() -> Moment:
    ticks, stolen = parse_ticks(Path("/proc/stat").read_text("utf-8"))
    busy, kernel = {}, 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent, own, children_waited_for = parse_stat((entry / "stat").read_text("utf-8"))
                if parent == KTHREADD:
                    kernel += own
                else:
                    busy[int(entry.name)] = own + children_waited_for
    return Moment(time.monotonic(), ticks, stolen, busy, kernel)


def steal(before: Moment, after: Moment) -> float:
    """Share of CPU time that the hypervisor gave to others."""
    return (after.stolen - before.stolen) / max(1, after.ticks - before.ticks)


def kernel(before: Moment, after: Moment) -> float:
    """How many CPUs the kernel's own threads kept busy between two moments."""
    return (after.kernel - before.kernel) / TICKS / max(0.001, after.at - before.at)


def others(before: Moment, after: Moment, own: set[int]) -> float:
    """How many CPUs processes other than `own` kept busy between two moments.

    Summed over processes, because /proc/stat samples and misses what runs in step with the timer. What an ended process
    used is in its parent's sum; it is missed when nobody waited for it.
    """

    def total(moment: Moment) -> int:
        return sum(busy for pid, busy in moment.busy.items() if pid not in own)

    return max(0.0, (total(after) - total(before)) / TICKS / max(0.001, after.at - before.at))

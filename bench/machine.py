"""Facts about the machine that must stand beside every figure, read from /proc (Linux)."""

from __future__ import annotations

import os
import platform
import resource
import sysconfig
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def facts() -> dict[str, str]:
    """Interpreter and its build, collector policy, processors, kernel."""
    config = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    pgo = "with" if "--enable-optimizations" in config or "-fprofile-use" in str(
        sysconfig.get_config_var("PY_CORE_CFLAGS")
    ) else "without"
    return {
        "interpreter": f"CPython {platform.python_version()}, {pgo} profile-guided optimisation",
        "collector": "frozen after start, automatic collection off, explicit in quiet moments",
        "processors": f"{os.cpu_count()} x {_model()}",
        "kernel": platform.release(),
    }


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text("utf-8").split()[1]) * PAGE / 2**20


def children(pid: int) -> list[int]:
    """Direct and indirect child processes."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text("utf-8").split():
            found += [int(child), *children(int(child))]
    return found


def children_cpu() -> float:
    """CPU seconds of this process' children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def cpu_times() -> tuple[int, int]:
    """All ticks of all processors, and those that were stolen."""
    fields = [int(field) for field in Path("/proc/stat").read_text("utf-8").split("\n", 1)[0].split()[1:]]
    return sum(fields), fields[7]


def steal(before: tuple[int, int], after: tuple[int, int]) -> float:
    """Share of CPU time that the hypervisor gave to others."""
    return (after[1] - before[1]) / max(1, after[0] - before[0])

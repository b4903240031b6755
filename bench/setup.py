"""Call set-up: an exchange on one CPU, the load on another, the figures of both.

Starts `hookline serve` with a settings file of its own on loopback addresses, pinned to CPU 0; the load generator
(`bench.load`) runs on CPU 1. A carrier at 127.0.0.2 calls extension 101 from numbers of which nine in ten are in the
CRM. What is printed: offered and achieved rate, failures, retransmissions, latency from the intended arrival, CPU a
call of the signalling process and of its media workers, resident memory, and what must stand beside any such figure:
the interpreter's build, the collector's policy, the share of CPU that the hypervisor stole.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import machine
from bench.crm import crm_server
from bench.load import Figures, Options

SIP_PORT = 15060
CARRIER_PORT = 15062
CONTACTS = 900
CALLERS = 1000
SECRET = "whsec_" + "aG9va2xpbmUtYmVuY2gtc2VjcmV0LWtleSE="  # of the bench's own CRM, on loopback


@dataclass
class Run:
    """One run's figures. Latencies and CPU in milliseconds, memory in MiB."""

    rate: float
    achieved: float
    ok: int
    failed: int
    retransmissions: int
    ringing: dict[str, float]
    answered: dict[str, float]
    cpu_ms: float
    media_cpu_ms: float
    load_cpu_ms: float
    rss_mib: float
    steal: float
    late_ms: float
    statuses: dict[str, int] = field(default_factory=dict)
    records: int = 0
    activities: int = 0


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 and the worst; empty without values."""
    if not values:
        return {}
    ordered = sorted(values)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return {"p50": at(0.50), "p95": at(0.95), "p99": at(0.99), "max": ordered[-1]}


def settings_text(directory: Path, hook: str, password: str, hook_url: str) -> str:
    """The settings file of the exchange under test."""
    control = "first-party" if hook == "none" else "third-party"
    text = f"""
[office]
country = "US"
[sip]
listen = ["udp:127.0.0.1:{SIP_PORT}"]
max_calls = 20000
max_calls_per_second = 20000
[media]
ports = "20000-29999"
[web]
listen = "127.0.0.1:0"
[database]
url = "sqlite:///{directory}/bench.db"
[[extension]]
number = "101"
password = "{password}"
crm_control = "{control}"
[[trunk]]
name = "carrier"
server = "127.0.0.2:{CARRIER_PORT}"
[[inbound]]
number = "+12025550100"
to = "101"
"""
    if hook == "http":
        text += f'[[crm.hook]]\nkind = "http"\nname = "bench CRM"\nurl = "{hook_url}"\nsecret = "{SECRET}"\n'
    return text


@contextmanager
def exchange(directory: Path, hook: str, relay: bool, cpu: int, hook_url: str) -> Iterator[tuple[int, str]]:
    """A running exchange: its process id and the extension's password."""
    password = secrets.token_urlsafe(9)
    config = directory / "hookline.toml"
    config.write_text(settings_text(directory, hook, password, hook_url), "utf-8")
    _fill_crm(directory)
    command = [sys.executable, "-m", "bench.server", str(config), "--cpu", str(cpu)]
    if not relay:
        command.append("--no-relay")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("ready"):
                break
        else:
            raise RuntimeError("the exchange did not start; its own words are above")
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield process.pid, password
    finally:
        process.terminate()
        process.wait(30)


def _fill_crm(directory: Path) -> None:
    """Contacts for nine in ten of the callers, made by the exchange's own code."""
    subprocess.run(
        [sys.executable, "-m", "bench.server", str(directory / "hookline.toml"), "--contacts", str(CONTACTS)],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def measure(options: Options, hook: str, *, relay: bool, server_cpu: int, load_cpu: int) -> Run:
    """One run on a fresh exchange."""
    with tempfile.TemporaryDirectory(prefix="hookline-bench-") as name, crm_server(hook == "http") as hook_url:
        directory = Path(name)
        with exchange(directory, hook, relay, server_cpu, hook_url) as (pid, password):
            options.server = ("127.0.0.1", SIP_PORT)
            options.caller_port = CARRIER_PORT
            options.password = password
            options.callers = CALLERS
            return _loaded(options, directory, pid, load_cpu)


def _loaded(options: Options, directory: Path, pid: int, load_cpu: int) -> Run:
    children = machine.children(pid)
    before, media_before = machine.cpu_seconds(pid), sum(machine.cpu_seconds(child) for child in children)
    steal_before = machine.cpu_times()
    command = [sys.executable, "-m", "bench.load", json.dumps(asdict(options)), "--cpu", str(load_cpu)]
    usage = machine.children_cpu()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    load_cpu_seconds = machine.children_cpu() - usage
    figures = Figures(**json.loads(done.stdout))
    time.sleep(0.5)
    calls = max(1, figures.offered)
    run = Run(
        rate=options.rate,
        achieved=figures.ok / max(0.001, figures.elapsed),
        ok=figures.ok,
        failed=figures.failed,
        retransmissions=figures.retransmissions,
        ringing=percentiles(figures.ringing_ms),
        answered=percentiles(figures.answer_ms),
        cpu_ms=(machine.cpu_seconds(pid) - before) * 1000 / calls,
        media_cpu_ms=(sum(machine.cpu_seconds(child) for child in children) - media_before) * 1000 / calls,
        load_cpu_ms=load_cpu_seconds * 1000 / calls,
        rss_mib=machine.rss_mib(pid),
        steal=machine.steal(steal_before, machine.cpu_times()),
        late_ms=figures.late_ms,
        statuses=figures.statuses,
    )
    run.records, run.activities = _written(directory)
    return run


def _written(directory: Path) -> tuple[int, int]:
    """Call records and activities in the database, each call counted once."""
    with sqlite3.connect(f"file:{directory}/bench.db?mode=ro", uri=True) as database:
        records = database.execute("select count(distinct call_id) from calls where state = 'ended'").fetchone()[0]
        activities = database.execute("select count(distinct call_id) from activities").fetchone()[0]
    return int(records), int(activities)


def median_run(runs: Sequence[Run]) -> Run:
    """The run of the middle CPU a call: a whole run, not a mixture of several."""
    return sorted(runs, key=lambda run: run.cpu_ms)[(len(runs) - 1) // 2]


def report(runs: Sequence[Run], hook: str, relay: bool) -> dict[str, Any]:
    """What --json prints."""
    middle = median_run(runs)
    return {
        "bench": "setup",
        "hook": hook,
        "relay": relay,
        "machine": machine.facts(),
        "median": asdict(middle),
        "runs": [asdict(run) for run in runs],
        "cpu_ms_min_median_max": [
            min(run.cpu_ms for run in runs),
            statistics.median(run.cpu_ms for run in runs),
            max(run.cpu_ms for run in runs),
        ],
    }


def show(runs: Sequence[Run], hook: str, relay: bool) -> None:
    """The same for people."""
    for fact, value in machine.facts().items():
        print(f"{fact:<12} {value}")
    print(f"{'load':<12} {runs[0].rate:g} calls/s, hook {hook}, {'ports allocated' if relay else 'no relay'}")
    head = "ok,failed,rate,resent,180 p50,p99,200 p50,p99,CPU ms,media,RSS MiB,steal %"
    print("".join(f"{name:>9}" for name in head.split(",")))
    for run in runs:
        row = (
            run.ok, run.failed, f"{run.achieved:.0f}", run.retransmissions,
            f"{run.ringing.get('p50', 0):.2f}", f"{run.ringing.get('p99', 0):.2f}",
            f"{run.answered.get('p50', 0):.2f}", f"{run.answered.get('p99', 0):.2f}",
            f"{run.cpu_ms:.3f}", f"{run.media_cpu_ms:.3f}", f"{run.rss_mib:.0f}", f"{run.steal * 100:.1f}",
        )  # fmt: skip
        print("".join(f"{value!s:>9}" for value in row))
        if run.statuses:
            print(f"          failed with {run.statuses}")
        if run.records != run.ok:
            print(f"          {run.records} records and {run.activities} activities for {run.ok} calls")


def main(argv: list[str]) -> int:
    """`python -m bench setup`: 0 when no call failed."""
    parser = argparse.ArgumentParser(prog="python -m bench setup", description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=50, help="calls a second (default 50)")
    parser.add_argument("--seconds", type=float, default=10, help="length of a run after its warm-up (default 10)")
    parser.add_argument("--hook", choices=("none", "embedded", "http"), default="embedded")
    parser.add_argument("--media", action="store_true", help="offers and answers go through the relay, ports allocated")
    parser.add_argument("--hold", type=float, default=0.0, help="seconds that a call stays up")
    parser.add_argument("--runs", type=int, default=1, help="runs, each on a fresh exchange (default 1)")
    parser.add_argument("--cpus", default="0,1", help="CPU of the exchange and of the load (default 0,1)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    server_cpu, load_cpu = (int(cpu) for cpu in arguments.cpus.split(","))
    runs = []
    for number in range(arguments.runs):
        if not arguments.json:
            print(f"run {number + 1} of {arguments.runs} ...", file=sys.stderr)
        options = Options(("127.0.0.1", 0), rate=arguments.rate, seconds=arguments.seconds, hold=arguments.hold)
        runs.append(
            measure(options, arguments.hook, relay=arguments.media, server_cpu=server_cpu, load_cpu=load_cpu)
        )
    if arguments.json:
        print(json.dumps(report(runs, arguments.hook, arguments.media)))
    else:
        show(runs, arguments.hook, arguments.media)
    return 1 if any(run.failed for run in runs) else 0

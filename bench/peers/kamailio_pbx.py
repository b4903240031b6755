"""Kamailio doing the same job as ours in the same run (`kamailio_pbx.cfg`): the C yardstick like for like.

It looks the caller up before the call goes on, has media carried by an rtpengine on the same CPU, and writes one row a
call into SQLite. It stays a proxy. What it has written is counted after the run, as it is with ours.
"""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import machine
from bench.crm_server import crm_server
from bench.exchange import CONTACTS, WRITTEN_SECONDS
from bench.options import Options
from bench.peers import rtpengine_daemon
from bench.peers.kamailio import SHARED_MEMORY
from bench.subject import HOST, Subject, process, wait_for_sip

NAME = "Kamailio, same job"
CONFIG = Path(__file__).with_name("kamailio_pbx.cfg")
PATHS = "Default paths to modules:"     # of `kamailio -I`
RECEIVE_BUFFER = 4 << 20                # as ours asks for: what waits while the one worker waits
LOOK_UP = {"none": "no look-up", "embedded": "SQL look-up inline", "http": "a CRM asked by HTTP inline"}
NUMBERS = Options(("", 0)).callers
TABLES = """
pragma journal_mode = wal;
create table contacts (number text primary key, id text not null, name text not null) without rowid;
create table cdrs (
    id integer primary key, start_time datetime, end_time datetime, duration real, call_id text, caller text,
    contact text
);
"""


@dataclass(frozen=True)
class Job:
    """What ours does for a call in this run; `load_cpu` is that of a CRM asked by HTTP."""

    hook: str = "embedded"
    relay: bool = True
    load_cpu: int = 0

    def does(self) -> str:
        media = "media ports of rtpengine" if self.relay else "no media"
        return f"C; stateful proxy with dialogs, {LOOK_UP[self.hook]}, {media}, one record a call written"


def missing(path: str, job: Job) -> str:
    """Why it cannot do this job; empty when it can. `path` is Kamailio's."""
    said = subprocess.run([path, "-I"], capture_output=True, text=True, check=False).stdout if path else ""
    places = next((line.partition(PATHS)[2].strip() for line in said.splitlines() if PATHS in line), "")
    needed = {"db_sqlite.so": "kamailio-sqlite-modules"}
    needed |= {"http_client.so": "kamailio-utils-modules"} if job.hook == "http" else {}
    absent = [] if path else ["kamailio"]
    for module, package in needed.items():
        if not any(Path(place, module).exists() for place in places.split(":")):
            absent.append(package)
    if job.relay and not rtpengine_daemon.find():
        absent.append("rtpengine-daemon")
    return f"not installed (Debian: apt-get install {' '.join(absent)})" if absent else ""


def known(calls: int, job: Job) -> int:
    """How many of the first calls of a load come from somebody that the CRM knows."""
    if job.hook == "embedded":
        rounds, rest = divmod(calls, NUMBERS)
        return rounds * CONTACTS + min(rest, CONTACTS)
    return calls if job.hook == "http" else 0


def prepare(database: Path) -> None:
    """The CRM's contacts, and the table of records."""
    with closing(sqlite3.connect(database)) as opened:
        opened.executescript(TABLES)
        rows = ((f"+1202555{number:04d}", f"caller{number}", f"Caller {number}") for number in range(CONTACTS))
        opened.executemany("insert into contacts values (?, ?, ?)", rows)
        opened.commit()


def audit(database: Path, job: Job, relayed: Callable[[], int], loads: Sequence[int]) -> tuple[int, list[str]]:
    """How many records there are after loads of so many calls, once all are there or time is up, and what is wrong.
    `relayed` says how many calls rtpengine has had."""
    calls, expected = sum(loads), sum(known(load, job) for load in loads)
    deadline = time.monotonic() + WRITTEN_SECONDS
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        while True:
            records, whole, contacts = opened.execute(
                "select count(distinct call_id), count(case when end_time >= start_time then 1 end),"
                " count(nullif(contact, '')) from cdrs"
            ).fetchone()
            anchored = relayed() if job.relay else calls
            if min(records, anchored) >= calls or time.monotonic() > deadline:
                break
            time.sleep(0.1)
    told = {
        f"{records} call records for {calls} calls": records != calls,
        f"{whole} records with a start and an end for {calls} calls": whole != calls,
        f"{contacts} records with a contact for {expected} callers whom the CRM knows": contacts != expected,
        f"{anchored} calls in rtpengine for {calls} calls": anchored != calls,
    }
    return records, [what for what, holds in told.items() if holds]


def starter(path: str, job: Job) -> Callable[[Path, int, int, int], AbstractContextManager[Subject]]:
    """A `bench.peers.Starter`."""

    @contextmanager
    def start(directory: Path, cpu: int, port: int, callee_port: int) -> Iterator[Subject]:
        database = directory / "book.db"
        prepare(database)
        defines = {
            "CALLEE": f"sip:101@{HOST}:{callee_port}", "DATABASE": f"sqlite:///{database}",
            "BOOK": f"book=>sqlite:///{database}",
        }  # fmt: skip
        control, media = "", list[int]()
        with ExitStack() as stack:
            if job.hook == "embedded":
                defines["CRM"] = ""
            elif job.hook == "http":
                url = stack.enter_context(crm_server(job.load_cpu))
                defines["CRM_URL"] = f"crm=>{url.rpartition('/')[0]}"
            if job.relay:
                control, daemon = stack.enter_context(rtpengine_daemon.serving(HOST, cpu))
                defines["RTPENGINE"], media = f"udp:{control}", [daemon]
            command = [
                path, "-DD", "-E", "-f", str(CONFIG), "-l", f"udp:{HOST}:{port}", *SHARED_MEMORY,
                "-b", str(RECEIVE_BUFFER),
                "-w", str(directory), "-Y", str(directory), "-P", str(directory / "pid"),
                *(word for name, value in defines.items() for word in ("-A", f'{name}="{value}"')),
            ]  # fmt: skip
            started = stack.enter_context(process(command, cpu=cpu, directory=directory))
            wait_for_sip((HOST, port), started, directory)
            yield Subject(
                NAME, (HOST, port), callee_port, signalling=[started.pid, *machine.children(started.pid)], media=media,
                database=database, audit=partial(audit, database, job, lambda: rtpengine_daemon.calls(control)),
            )  # fmt: skip

    return start

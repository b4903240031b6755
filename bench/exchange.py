"""Our own exchange as a subject: settings of its own on loopback addresses, a filled CRM, its database afterwards."""

from __future__ import annotations

import secrets
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from bench import machine, wire
from bench.crm_server import SECRET
from bench.interpreter import Interpreter
from bench.subject import HOST, ROOT, CannotStart, Subject, last_words, process

CARRIER = "127.0.0.2"
CONTACTS = 900              # of 1000 numbers that call: nine in ten are known
START_SECONDS = 60.0        # a JIT that is cold takes its time
WRITTEN_SECONDS = 5.0       # that the journal gets to reach the database


def settings_text(
    directory: Path, hook: str, *, sip_port: int, carrier_port: int, password: str, hook_url: str = ""
) -> str:
    """The settings file of the exchange under test."""
    control = "first-party" if hook == "none" else "third-party"
    text = f"""
[office]
country = "US"
[sip]
listen = ["udp:{HOST}:{sip_port}"]
max_calls = 20000
max_calls_per_second = 20000
drain_seconds = 0
[media]
ports = "20000-29999"
[web]
listen = "{HOST}:0"
[database]
url = "sqlite:///{directory}/bench.db"
[[extension]]
number = "101"
password = "{password}"
crm_control = "{control}"
[[trunk]]
name = "carrier"
server = "{CARRIER}:{carrier_port}"
[[inbound]]
number = "+12025550100"
to = "101"
"""
    if hook == "http":
        text += f'[[crm.hook]]\nkind = "http"\nname = "bench CRM"\nurl = "{hook_url}"\nsecret = "{SECRET}"\n'
    return text


@contextmanager
def exchange(
    hook: str, *, on: Interpreter, relay: bool, cpu: int, load_cpu: int, hook_url: str = "", stages: Path | None = None
) -> Iterator[Subject]:
    """A running exchange on this interpreter; at `hook_url` is the CRM of an HTTP hook, `stages` is where it writes
    when it ends what its calls spent their time in. Raises CannotStart."""
    with tempfile.TemporaryDirectory(prefix="hookline-bench-") as name, machine.on_cpu(load_cpu):
        directory = Path(name)
        sip_port, carrier_port, password = wire.free_port(HOST), wire.free_port(CARRIER), secrets.token_urlsafe(9)
        config = directory / "hookline.toml"
        text = settings_text(
            directory, hook, sip_port=sip_port, carrier_port=carrier_port, password=password, hook_url=hook_url
        )
        config.write_text(text, "utf-8")
        command = ["-m", "bench.server", str(config)]
        fill = [sys.executable, *command, "--contacts", str(CONTACTS)]
        subprocess.run(fill, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        command = [on.path, *command]
        command += [] if relay else ["--no-relay"]
        command += ["--stages", str(stages)] if stages is not None else []
        with process(command, cpu=cpu, directory=directory) as started:
            panel = _ready(started, directory)
            yield Subject(
                name=on.name,
                server=(HOST, sip_port),
                callee_port=wire.free_port(HOST),
                caller_port=carrier_port,
                password=password,
                signalling=[started.pid],
                media=machine.children(started.pid),
                panel=panel,
                database=directory / "bench.db",
                config=config,
            )


def _ready(started: subprocess.Popen[bytes], directory: Path) -> str:
    """Wait for the line `ready ...`; the panel's URL."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and started.poll() is None:
        for line in (directory / "output").read_text("utf-8", "replace").splitlines():
            if line.startswith("ready ") and " panel=" in line:
                return line.rpartition(" panel=")[2].strip()
        time.sleep(0.05)
    raise CannotStart(last_words(directory))


class Book(NamedTuple):
    """What is in the database: ended calls, those among them that were answered and whose caller the CRM knew, and
    activities. Each call counts once."""

    records: int
    answered: int
    known: int
    activities: int


def written(database: Path, offered: int) -> Book:
    """The book, once all calls are in it or time is up."""
    deadline = time.monotonic() + WRITTEN_SECONDS
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        while True:
            calls = opened.execute(
                "select count(distinct call_id), count(distinct case when answered_at is not null then call_id end),"
                " count(distinct case when contact_id is not null then call_id end) from calls where state = 'ended'"
            ).fetchone()
            activities = opened.execute("select count(distinct call_id) from activities").fetchone()
            book = Book(*calls, *activities)
            if min(book.records, book.activities) >= offered or time.monotonic() > deadline:
                return book
            time.sleep(0.1)


def book_faults(offered: int, ok: int, failed: int, book: Book, *, look_up: bool, refused: int = 0) -> list[str]:
    """What the database says otherwise than the phones. A call that failed may or may not have been answered, and one
    that was refused with 503 may have been turned away at the door: that leaves nothing."""
    answered = not ok <= book.answered <= ok + failed
    calls = range(offered - refused, offered + 1)
    told = {
        f"{book.records} call records for {offered} calls": book.records not in calls,
        f"{book.activities} activities for {offered} calls": book.activities not in calls,
        f"{book.answered} records of answered calls for {ok} that were answered": answered,
        "the CRM knew nobody: no look-up was measured": look_up and not book.known,
    }
    return [what for what, holds in told.items() if holds]


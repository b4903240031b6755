"""A real Tryton with the module `party` on SQLite, as a second process:

    python -m tests.contract.tryton_server DIRECTORY PORT

It makes its database `office` (user `admin`, password `PASSWORD`), prints `ready`, and serves until its input ends.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path
from zlib import crc32

KEPT = Path(__file__).parents[2] / ".pytest_cache" / "made"
DATABASE, USER, PASSWORD = "office", "admin", "tryton-of-the-tests"


def main(directory: Path, port: int) -> None:
    sys.modules["phonenumbers"] = None  # type: ignore[assignment]  # its own choice: without it, numbers stay as typed
    configuration, password = directory / "trytond.conf", directory / "password"
    configuration.write_text(f"[database]\nuri = sqlite://\npath = {directory}\n\n[session]\nmax_attempt = 100000\n")
    password.write_text(PASSWORD)
    os.environ |= {"TRYTOND_CONFIG": str(configuration), "TRYTONPASSFILE": str(password)}
    os.environ |= {"TRYTOND_DATABASE_NAMES": DATABASE, "TRYTOND_LOGGING_LEVEL": str(logging.CRITICAL)}
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    _make_database(directory)
    from trytond.application import app  # reads the configuration when it is imported
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", port, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)


def _make_database(directory: Path) -> None:
    """A copy of one that is made once, by whichever process comes first: it takes ten seconds of a processor."""
    versions = "-".join(version(name) for name in ("trytond", "trytond-party"))
    made = KEPT / f"tryton-{versions}-{crc32(Path(__file__).read_bytes()):08x}.sqlite"
    KEPT.mkdir(parents=True, exist_ok=True)
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            database = directory / f"{DATABASE}.sqlite"
            database.touch()
            program = "from trytond.cli.admin import main; main()"
            wanted = ["-d", DATABASE, "-u", "party", "--activate-dependencies", "--email", "admin@example.net"]
            subprocess.run([sys.executable, "-c", program, *wanted], check=True, stdin=subprocess.DEVNULL)
            being_copied = made.with_suffix(".new")
            shutil.copyfile(database, being_copied)
            being_copied.replace(made)
    shutil.copyfile(made, directory / f"{DATABASE}.sqlite")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

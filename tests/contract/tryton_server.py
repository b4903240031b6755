"""A real Tryton with the module `party` on SQLite, as a second process:

    python -m tests.contract.tryton_server DIRECTORY PORT

It makes its database `office` (user `admin`, password `PASSWORD`), prints `ready`, and serves until its input ends.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

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
    (directory / f"{DATABASE}.sqlite").touch()
    program = "from trytond.cli.admin import main; main()"
    wanted = ["-d", DATABASE, "-u", "party", "--activate-dependencies", "--email", "admin@example.net"]
    subprocess.run([sys.executable, "-c", program, *wanted], check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

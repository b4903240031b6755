"""A real PostgreSQL of our own for a test run: a temporary cluster on a free loopback port, thrown away at the end."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.ports import free_port

SYSTEM_USER = "postgres"


def binaries() -> Path | None:
    """The newest installed server's programs (Debian's layout), or those on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


class Cluster:
    """Started by `start`; `stop` may be as rude as a power cut. The server refuses to run as root: then it runs as the
    user that the package made."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._as = ["runuser", "-u", SYSTEM_USER, "--"] if os.geteuid() == 0 else []
        self._home = Path(tempfile.mkdtemp(prefix="hookline-postgres-"))
        self._data = self._home / "data"
        if self._as:
            shutil.chown(self._home, SYSTEM_USER, SYSTEM_USER)
        self.port = free_port()
        self.user = SYSTEM_USER if self._as else getpass.getuser()
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-U", self.user, "-E", "UTF8", "--no-sync")

    def url(self, database: str) -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self.port} -k {self._home} -c fsync=off -c max_connections=40"
        log = str(self._home / "log")
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "60", "-l", log, "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """`fast` ends sessions, `immediate` is a crash."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "60", "-m", mode, "stop")

    def sql(self, statement: str, database: str = "postgres") -> str:
        return self._run(
            "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", self.user, "-d", database, "-Atc", statement
        )

    def remove(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self._home, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> str:
        command = [*self._as, str(self._programs / program), *arguments]
        # No pipe for pg_ctl: the server would inherit it and keep it open.
        with tempfile.TemporaryFile() as output:
            code = subprocess.run(command, stdout=output, stderr=output, cwd="/", check=False).returncode
            output.seek(0)
            text = output.read().decode(errors="replace")
        if code:
            raise RuntimeError(f"{program} failed: {text}")
        return text.strip()

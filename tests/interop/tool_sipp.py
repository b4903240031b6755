"""SIPp 3.6 as caller, callee and carrier; its scenarios are in `sipp/`, named by the trouble they make."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import require_tool

SCENARIOS = Path(__file__).parent / "sipp"


def filled_in(scenario: str, words: Mapping[str, str]) -> str:
    text = (SCENARIOS / f"{scenario}.xml").read_text("utf-8")
    for word, value in words.items():
        text = text.replace(f"{{{{{word}}}}}", value)
    assert "{{" not in text, f"{scenario} wants more words"
    return text


class Sipp:
    """One SIPp at work. Its exit status is 0 when every call went as the scenario says."""

    def __init__(
        self,
        scenario: str,
        directory: Path,
        remote: str,
        *options: str,
        host: str = "127.0.0.1",
        port: int = 0,
        calls: int = 1,
        transport: str = "u1",
        seconds: float = 60.0,
        trace: bool = True,
        **words: str,
    ) -> None:
        """`remote` is host:port; `words` fill in the scenario's own {{words}}, in its attributes too."""
        stem = f"{scenario}-{host}-{port}-{time.monotonic_ns()}"
        played = directory / f"{stem}.xml"
        played.write_text(filled_in(scenario, words), "utf-8")
        self.scenario = scenario
        self.errors = directory / f"{stem}.errors"
        self.messages = directory / f"{stem}.messages"
        self._seconds = seconds
        self._process = subprocess.Popen(
            [
                require_tool("sipp"), "-sf", str(played), "-nostdin", "-t", transport,
                "-i", host, *(("-p", str(port)) if port else ()), "-m", str(calls),
                "-trace_err", "-error_file", str(self.errors),
                *(("-trace_msg", "-message_file", str(self.messages)) if trace else ()),
                "-timeout", str(int(seconds)), "-timeout_error", *options, remote,
            ],
            cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def __enter__(self) -> Sipp:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def wait(self) -> None:
        """Until the scenario has been played; fails with SIPp's own words."""
        try:
            status = self._process.wait(self._seconds + 10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f"{self.scenario} hangs\n{self.log()}") from None
        assert status == 0, f"{self.scenario}: SIPp ended with {status}\n{self.log()}"

    def log(self) -> str:
        return "\n".join(_text(path) for path in (self.errors, self.messages))

    def seen(self) -> str:
        """Every message that went and came."""
        return _text(self.messages)


def _text(path: Path) -> str:
    return path.read_text("utf-8", "replace") if path.exists() else ""

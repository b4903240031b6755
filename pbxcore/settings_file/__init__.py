"""hookline.toml to settings, and back. All faults of a file come out at once, each with its line and its mend."""

from __future__ import annotations

import copy
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pbxcore.settings import Settings
from pbxcore.settings_file import dialplan, exchange, services, types, values
from pbxcore.settings_file.dialplan import Stored
from pbxcore.settings_file.effective import effective
from pbxcore.settings_file.lines import Lines

__all__ = ["Problem", "SettingsError", "Stored", "effective", "load", "loads"]

_AT_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a file. `line` counts from 1 and is 0 when the fault is the file itself; `key` is dotted, with the
    place in a list counted from 1: `extension[2].password`."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}, line {self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class SettingsError(Exception):
    """A file that cannot be used; `problems` is never empty and in the order of lines."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def load(path: str | Path, *, stored: Stored | None = None) -> Settings:
    """The settings in a file. `stored(database_url)` gives the extensions kept in the database; without it those of
    the file are all there are. Raises SettingsError."""
    try:
        text = Path(path).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError([Problem(str(path), 0, "", "is not UTF-8 text; save it as UTF-8")]) from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingsError([Problem(str(path), 0, "", f"cannot be read: {reason}")]) from error
    return loads(text, str(path), stored=stored)


def loads(text: str, file: str = "hookline.toml", *, stored: Stored | None = None) -> Settings:
    """As `load`, for text; `file` is its name in messages. Raises SettingsError."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([_syntax(error, text, file)]) from error
    findings = [*exchange.check(raw), *dialplan.check(raw, stored), *services.check(raw, stored)]
    settings = None
    try:
        settings = Settings.model_validate(_normal(raw) if not findings else raw)
    except ValidationError as error:
        findings += types.faults(error)
    if settings is None or findings:
        lines = Lines(text)
        problems = [_problem(finding, lines, file) for finding in findings]
        raise SettingsError(sorted(problems, key=lambda problem: problem.line))
    return settings


def _syntax(error: tomllib.TOMLDecodeError, text: str, file: str) -> Problem:
    message = str(error)
    match = _AT_LINE.search(message)
    if match is None:
        return Problem(file, 0, "", f"is not TOML: {message}")
    line = int(match[1]) if match[1] else text.count("\n") + 1
    return Problem(file, line, "", f"is not TOML: {message[: match.start()]}")


def _problem(finding: values.Finding, lines: Lines, file: str) -> Problem:
    parts: list[str] = []
    for part in finding.path:
        if isinstance(part, int) and parts:
            parts[-1] += f"[{part + 1}]"
        else:
            parts.append(str(part))
    line = lines.find(finding.path) if finding.value is None else lines.find_value(finding.path, finding.value)
    return Problem(file, line, ".".join(parts), finding.message)


def _normal(raw: dict[str, Any]) -> dict[str, Any]:
    """The document with its numbers in E.164, its country in capitals, and listening addresses with their ports."""
    normal = copy.deepcopy(raw)
    sip = values.table(normal, "sip")
    if isinstance(sip.get("listen"), list):
        sip["listen"] = [values.full_listen(spec) if isinstance(spec, str) else spec for spec in sip["listen"]]
    office = values.table(normal, "office")
    country = values.text(office, "country").upper()
    if country:
        office["country"] = country
    for _, row in [*values.rows(normal, "trunk"), *values.rows(normal, "extension")]:
        if isinstance(row.get("caller_id"), str):
            row["caller_id"] = values.PUNCTUATION.sub("", row["caller_id"])
        if isinstance(row.get("numbers"), list):
            row["numbers"] = [values.normal_number(n, country) if isinstance(n, str) else n for n in row["numbers"]]
    for _, row in values.rows(normal, "inbound"):
        if isinstance(row.get("number"), str):
            row["number"] = values.normal_number(row["number"], country)
    return normal

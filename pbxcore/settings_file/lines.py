"""Where each key of a TOML document stands, because `tomllib` reads values and forgets their lines.

A scanner for documents that `tomllib` has accepted already; it checks nothing itself. Keys inside inline tables are
not told apart: they stand where their table does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Path = tuple[str | int, ...]

_KEY = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)\s*""")
# Longest first, so that the quotes of a multi-line string are not read as an empty string.
_STRING = re.compile(r"\"\"\"(?:[^\\]|\\.)*?\"{3,5}|'''.*?'{3,5}|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'", re.DOTALL)
_PLAIN = re.compile(r"""[^"'#\[\]{}\n]+""")


@dataclass(frozen=True, slots=True)
class Span:
    """First and last line of a key with its value; the first line is 1."""

    first: int
    last: int


class Lines:
    """The lines of one document: `find` answers for a path such as `("extension", 1, "password")`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._rows = text.split("\n")
        self._spans: dict[Path, Span] = {}
        self._counts: dict[Path, int] = {}
        self._scan()

    def find(self, path: Path) -> int:
        """The line of the deepest part of `path` that is in the text; 1 when none of it is."""
        for length in range(len(path), 0, -1):
            span = self._spans.get(path[:length])
            if span is not None:
                return span.first
        return 1

    def find_value(self, path: Path, value: object) -> int:
        """The line of one value in the list at `path`, which may go over several lines."""
        span = self._spans.get(path)
        if span is None:
            return self.find(path)
        rows = enumerate(self._rows[span.first - 1 : span.last], span.first)
        spelled = (f'"{value}"', f"'{value}'") if isinstance(value, str) else (str(value),)
        return next((number for number, row in rows if any(word in row for word in spelled)), span.first)

    def _scan(self) -> None:
        table: Path = ()
        at = 0
        while at < len(self._text):
            start = at
            if self._text[at] in " \t\r\n":
                at += 1
            elif self._text[at] == "#":
                at = self._end_of_line(at)
            elif self._text[at] == "[":
                twice = self._text.startswith("[[", at)
                names, at = self._key(at + 1 + twice)
                table = self._open(names, twice)
                at = self._end_of_line(at)
                self._note(table, start, start)
            else:
                names, at = self._key(at)
                at = self._value_end(at + 1)
                self._note((*table, *names), start, at - 1)

    def _note(self, path: Path, start: int, end: int) -> None:
        """Keep the span of `path`; what it lies in stands where its first part stands."""
        first = self._text.count("\n", 0, start) + 1
        span = Span(first, first + self._text.count("\n", start, end))
        for length in range(1, len(path) + 1):
            self._spans.setdefault(path[:length], span)

    def _key(self, at: int) -> tuple[tuple[str, ...], int]:
        names = []
        while (match := _KEY.match(self._text, at)) is not None:
            names.append(match[1].strip("\"'"))
            at = match.end()
            if not self._text.startswith(".", at):
                break
            at += 1
        return tuple(names), at

    def _open(self, names: tuple[str, ...], twice: bool) -> Path:
        """The path of a table; names that were opened with two brackets stand for their last element."""
        path: Path = ()
        for place, name in enumerate(names):
            path = (*path, name)
            if twice and place == len(names) - 1:
                self._counts[path] = self._counts.get(path, -1) + 1
            if path in self._counts:
                path = (*path, self._counts[path])
        return path

    def _end_of_line(self, at: int) -> int:
        end = self._text.find("\n", at)
        return len(self._text) if end < 0 else end + 1

    def _value_end(self, at: int) -> int:
        """The index after the line on which the value that starts at `at` ends."""
        depth = 0
        while at < len(self._text):
            here = self._text[at]
            match = _STRING.match(self._text, at) or _PLAIN.match(self._text, at)
            if match is not None:
                at = match.end()
                continue
            if here == "#":
                newline = self._text.find("\n", at)
                at = len(self._text) if newline < 0 else newline
                continue
            if here in "[{":
                depth += 1
            elif here in "]}":
                depth -= 1
            elif here == "\n" and depth == 0:
                return at + 1
            at += 1
        return at

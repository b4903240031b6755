"""Header rows that are not as RFC 3261 section 7.3 has them: folds, bare line feeds, unknown names, faults.

What `message.parse` does when it meets them. Knows no message.
"""

from __future__ import annotations

from pbxcore.sip.headers import MAX_HEADERS, WS, is_token, known_key


def repair(data: bytes) -> tuple[list[str], bytes, str | None]:
    """Rows that end in a bare LF, as some devices send them, or a message without an empty line behind its headers."""
    ends = [(at, len(mark)) for mark in (b"\n\r\n", b"\n\n") if (at := data.find(mark)) >= 0]
    end, mark = min(ends, default=(len(data), 0))
    text = data[:end].decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    lines = text.removesuffix("\r").rstrip("\n").split("\n")
    problem = None
    if any("\r" in line for line in lines):  # some peers would take it for a line end: never passed on
        lines = [line.replace("\r", " ") for line in lines]
        problem = "Bare CR in a header"
    return lines, data[end + mark :], problem


def careful_fields(lines: list[str]) -> tuple[list[tuple[str, str]], str | None]:
    """Header rows with folds, unknown names and faults; the first fault is told and its row left out."""
    rows: list[list[str]] = []
    problem = None
    for line in lines:
        if line[:1] in WS and line:
            if rows:
                rows[-1].append(line)
            else:
                problem = "Malformed header"
        elif line:
            rows.append([line])
    if len(rows) > MAX_HEADERS:
        problem = "Too many headers"
    fields: list[tuple[str, str]] = []
    for row in rows[:MAX_HEADERS]:
        name, colon, _ = row[0].partition(":")
        name = name.rstrip(WS)
        if colon and is_token(name):
            name = name.lower()
            fields.append((known_key(name) or name, "\r\n".join(row)))
        else:
            problem = problem or "Malformed header"
    return fields, problem

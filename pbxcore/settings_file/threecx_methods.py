"""The methods that 3CX templates call on values, which are .NET's of String, DateTime, TimeSpan and numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

Value = str | bool | float | datetime | timedelta

FUNCTIONS = {"iif": 3}      # and how many values each takes
LONGEST_PAD = 1000
_TOKENS = re.compile(
    r"\\.|'[^']*'|\"[^\"]*\"|yyyy|yy|MMMM|MMM|MM|M|dddd|ddd|dd|d|HH|H|hh|h|mm|m|ss|s|f+|tt|zzz|zz|K|.", re.DOTALL
)
_SPAN_TOKENS = re.compile(r"\\.|'[^']*'|d+|hh|h|mm|m|ss|s|f+|.", re.DOTALL)
_STANDARD = {"s": "yyyy-MM-ddTHH:mm:ss", "u": "yyyy-MM-dd HH:mm:ssZ", "o": "yyyy-MM-ddTHH:mm:ss.fffffffK",
             "O": "yyyy-MM-ddTHH:mm:ss.fffffffK", "d": "MM/dd/yyyy", "t": "HH:mm", "T": "HH:mm:ss"}  # fmt: skip
PLAIN = "yyyy-MM-dd HH:mm:ss"


def written(value: Value) -> str:
    """As it is put into a text: truth as .NET writes it, time as 2026-11-23 06:15:00, spans as 00:01:30."""
    match value:
        case bool():
            return str(value)
        case float():
            return f"{value:.15g}"
        case datetime():
            return moment(value, PLAIN)
        case timedelta():
            return span(value, r"hh\:mm\:ss")
    return value


def true(value: Value) -> bool:
    return value if isinstance(value, bool) else written(value).strip().lower() == "true"


def call_method(value: Value, name: str, arguments: Sequence[Value]) -> Value:
    """What the method gives; the value itself where it has no such method, or is given what it cannot use."""
    try:
        return METHODS[name](value, arguments)
    except (ValueError, IndexError, TypeError, OverflowError):
        return value


def moment(at: datetime, form: str) -> str:
    """By a custom or standard format string of .NET's DateTime."""
    return "".join(_part(at, token) for token in _TOKENS.findall(_STANDARD.get(form, form)))


def _part(at: datetime, token: str) -> str:
    if token[0] == "\\":
        return token[1:]
    if token[0] in "'\"":
        return token[1:-1]
    if token[0] == "f":
        return f"{at.microsecond:06}0"[: len(token)]
    known: Mapping[str, Callable[[], str]] = {
        "yyyy": lambda: f"{at.year:04}", "yy": lambda: f"{at.year % 100:02}",
        "MMMM": lambda: at.strftime("%B"), "MMM": lambda: at.strftime("%b"),
        "MM": lambda: f"{at.month:02}", "M": lambda: str(at.month),
        "dddd": lambda: at.strftime("%A"), "ddd": lambda: at.strftime("%a"),
        "dd": lambda: f"{at.day:02}", "d": lambda: str(at.day),
        "HH": lambda: f"{at.hour:02}", "H": lambda: str(at.hour),
        "hh": lambda: f"{at.hour % 12 or 12:02}", "h": lambda: str(at.hour % 12 or 12),
        "mm": lambda: f"{at.minute:02}", "m": lambda: str(at.minute),
        "ss": lambda: f"{at.second:02}", "s": lambda: str(at.second),
        "tt": lambda: "AM" if at.hour < 12 else "PM",
        "zzz": lambda: at.strftime("%z")[:3] + ":" + at.strftime("%z")[3:5], "zz": lambda: at.strftime("%z")[:3],
        "K": lambda: "Z" if at.utcoffset() == timedelta() else at.strftime("%z")[:3] + ":" + at.strftime("%z")[3:5],
    }  # fmt: skip
    made = known.get(token)
    return token if made is None else made()


def span(length: timedelta, form: str) -> str:
    """By a custom format string of .NET's TimeSpan; `c`, `g` and `G` are hours, minutes and seconds."""
    seconds = int(length.total_seconds())
    if form in ("", "c", "g", "G"):
        form = r"hh\:mm\:ss"
    amounts = {"d": seconds // 86_400, "h": seconds // 3600 % 24, "m": seconds // 60 % 60, "s": seconds % 60}
    made = ""
    for token in _SPAN_TOKENS.findall(form):
        if token[0] == "\\":
            made += token[1:]
        elif token[0] == "'":
            made += token[1:-1]
        elif token[0] == "f":
            made += f"{length.microseconds:06}0"[: len(token)]
        elif token[0] in amounts:
            made += f"{amounts[token[0]]:0{len(token)}}"
        else:
            made += token
    return made


def _to_string(value: Value, arguments: Sequence[Value]) -> Value:
    form = written(arguments[0]) if arguments else ""
    if isinstance(value, datetime):
        return moment(value, form or PLAIN)
    if isinstance(value, timedelta):
        return span(value, form)
    digits = re.fullmatch(r"([FfNn])(\d{0,2})|0(?:\.(0+))?", form)
    if isinstance(value, float) and digits is not None:
        places = int(digits[2] or 2) if digits[1] else len(digits[3] or "")
        return f"{value:{',' if (digits[1] or '') in 'Nn' and digits[1] else ''}.{places}f}"
    return written(value)


def _text(make: Callable[..., Value]) -> Callable[[Value, Sequence[Value]], Value]:
    return lambda value, arguments: make(written(value), *map(written, arguments))


def _substring(text: str, start: str, length: str = "") -> str:
    begin = max(0, int(start))
    return text[begin : begin + max(0, int(length))] if length else text[begin:]


def _pad(text: str, width: str, fill: str = " ", *, left: bool) -> str:
    wide = min(int(width), LONGEST_PAD)
    return text.rjust(wide, fill) if left else text.ljust(wide, fill)


def _time(make: Callable[[datetime, float], Value]) -> Callable[[Value, Sequence[Value]], Value]:
    def method(value: Value, arguments: Sequence[Value]) -> Value:
        if not isinstance(value, datetime):
            raise TypeError
        return make(value, float(written(arguments[0])) if arguments else 0.0)

    return method


def _total(unit: float) -> Callable[[Value, Sequence[Value]], Value]:
    def method(value: Value, _arguments: Sequence[Value]) -> Value:
        if not isinstance(value, timedelta):
            raise TypeError
        return value.total_seconds() / unit

    return method


METHODS: Mapping[str, Callable[[Value, Sequence[Value]], Value]] = {
    "ToString": _to_string,
    "Replace": _text(lambda text, old, new="": text.replace(old, new) if old else text),
    "Substring": _text(_substring),
    "ToUpper": _text(lambda text: text.upper()),
    "ToLower": _text(lambda text: text.lower()),
    "Trim": _text(lambda text, some=None: text.strip(some)),
    "TrimStart": _text(lambda text, some=None: text.lstrip(some)),
    "TrimEnd": _text(lambda text, some=None: text.rstrip(some)),
    "PadLeft": _text(lambda text, width, fill=" ": _pad(text, width, fill, left=True)),
    "PadRight": _text(lambda text, width, fill=" ": _pad(text, width, fill, left=False)),
    "StartsWith": _text(lambda text, part: text.startswith(part)),
    "EndsWith": _text(lambda text, part: text.endswith(part)),
    "Contains": _text(lambda text, part: part in text),
    "IndexOf": _text(lambda text, part: float(text.find(part))),
    "get_Length": _text(lambda text: float(len(text))),
    "AddDays": _time(lambda at, count: at + timedelta(days=count)),
    "AddHours": _time(lambda at, count: at + timedelta(hours=count)),
    "AddMinutes": _time(lambda at, count: at + timedelta(minutes=count)),
    "AddSeconds": _time(lambda at, count: at + timedelta(seconds=count)),
    "ToUniversalTime": _time(lambda at, _: at.astimezone(UTC)),
    "get_TotalDays": _total(86_400.0),
    "get_TotalHours": _total(3600.0),
    "get_TotalMinutes": _total(60.0),
    "get_TotalSeconds": _total(1.0),
    "get_TotalMilliseconds": _total(0.001),
}

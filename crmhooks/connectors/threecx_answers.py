"""What 3CX templates read from answers: the records in one, and values of a record by dotted paths.

A path is given from the top of the answer, and goes through lists as if they were not there: `contacts.phones.number`.
The outermost list on the way of the first rule holds the records, one an entry; without one the answer is the record. A
filter chooses among the lists inside of it. XML is read as objects of that shape (attributes too); in plain text a path
is a regular expression, and its first group the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crmhooks.connectors.site import JSON, Form
from pbxcore.settings_file.markup import Element, parse
from pbxcore.settings_file.threecx_template import Reading, Rule

MOST_RECORDS = 50
LONGEST_TEXT = 65_536      # characters that a regular expression looks through

Path = tuple[str, ...]
Bound = Mapping[Path, Any]     # lists, by where they are, and the entry that stands for each


@dataclass(frozen=True, slots=True)
class Record:
    """One of an answer's records."""

    answer: Any
    bound: Bound

    def value(self, reading: Reading, ethalon: Callable[[Rule], str]) -> str:
        """What the variable is; empty when there is nothing. `ethalon` gives what a rule compares with."""
        if isinstance(self.answer, str):
            return next(_matches(self.answer, reading.path), "")
        for leaf, bound in _walk(self.answer, _parts(reading.path), (), self.bound):
            if all(Record(self.answer, bound).obeys(rule, ethalon(rule)) for rule in reading.filters):
                said = _written(leaf)
                if said:
                    return said
        return ""

    def obeys(self, rule: Rule, ethalon: str) -> bool:
        if isinstance(self.answer, str):
            said = list(_matches(self.answer, rule.path))
        else:
            leaves = [leaf for leaf, _ in _walk(self.answer, _parts(rule.path), (), self.bound)]
            if rule.kind in ("Any", "None"):      # an object counts, too
                return any(leaf not in (None, "", [], {}) for leaf in leaves) is (rule.kind == "Any")
            said = [_written(leaf) for leaf in leaves]
        return _OBEYS[rule.kind](said, ethalon)


def records(
    answer: Any, rules: Sequence[Rule], readings: Sequence[Reading], ethalon: Callable[[Rule], str]
) -> list[Record]:
    """Those that obey all rules."""
    path = rules[0].path if rules else readings[0].path if readings else ""
    found = (Record(answer, bound) for bound in _entries(answer, _parts(path)))
    return [record for record in found if all(record.obeys(rule, ethalon(rule)) for rule in rules)][:MOST_RECORDS]


def _parts(path: str) -> Path:
    return tuple(part for part in path.strip().split(".") if part)


def _entries(answer: Any, parts: Path) -> Iterator[Bound]:
    """The outermost list on the way."""
    for depth in range(len(parts) + 1):
        if isinstance(answer, list):
            yield from ({parts[:depth]: entry} for entry in answer)
            return
        if depth < len(parts) and isinstance(answer, dict):
            answer = answer.get(parts[depth])
    yield {}


def _walk(value: Any, parts: Path, at: Path, bound: Bound) -> Iterator[tuple[Any, Bound]]:
    """Whatever is at the path, with the entries of lists that lead to it."""
    if isinstance(value, list):
        for entry in [bound[at]] if at in bound else value:
            if not isinstance(entry, list):
                yield from _walk(entry, parts, at, {**bound, at: entry})
    elif not parts:
        yield value, bound
    elif isinstance(value, dict) and parts[0] in value:
        yield from _walk(value[parts[0]], parts[1:], (*at, parts[0]), bound)


def _written(leaf: Any) -> str:
    """As 3CX, a .NET program, puts it into a variable."""
    if isinstance(leaf, bool):
        return str(leaf)
    if isinstance(leaf, float):
        return f"{leaf:.15g}"
    return str(leaf) if isinstance(leaf, str | int) else ""


def _matches(answer: str, pattern: str) -> Iterator[str]:
    for match in re.finditer(pattern, answer[:LONGEST_TEXT]):
        yield (match[1] if match.re.groups else match[0]) or ""


def _tree(element: Element) -> Any:
    """An element as an object; one that has nothing but text as its text, several of a name as a list."""
    found: dict[str, Any] = dict(element.attributes)
    for child in element.children:
        inner = _tree(child)
        if child.tag in found:
            earlier = found[child.tag]
            found[child.tag] = [*earlier, inner] if isinstance(earlier, list) else [earlier, inner]
        else:
            found[child.tag] = inner
    return found or element.text.strip()


def _xml(raw: bytes) -> Any:
    """What is in the outermost element; it goes by its name, too."""
    root = parse(raw)
    tree = _tree(root)
    return {root.tag: tree, **tree} if isinstance(tree, dict) else {root.tag: tree}


FORMS = {"Json": JSON, "Xml": Form("XML", _xml), "Text": Form("text", lambda raw: raw.decode("utf-8", "replace"))}
_OBEYS: Mapping[str, Callable[[list[str], str], bool]] = {
    "Any": lambda said, _: any(said),
    "None": lambda said, _: not any(said),
    "Equals": lambda said, ethalon: ethalon in said,
    "NotEquals": lambda said, ethalon: ethalon not in said,
    "Contains": lambda said, ethalon: any(ethalon in one for one in said),
    "StartsWith": lambda said, ethalon: any(one.startswith(ethalon) for one in said),
    "EndsWith": lambda said, ethalon: any(one.endswith(ethalon) for one in said),
    "Regex": lambda said, ethalon: any(re.search(ethalon, one[:LONGEST_TEXT]) for one in said),
}

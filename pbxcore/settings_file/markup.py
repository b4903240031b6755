"""Reading XML of others without trusting it: no document type, so no entities but the five of XML itself, no depth
without end; and each element knows its line. Names are taken without their namespace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

DEEPEST = 64


class MarkupError(ValueError):
    """What is no XML, or more than plain XML; `line` is where."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


@dataclass(slots=True)
class Element:
    """`text` is what stands between its tags, without its children's."""

    tag: str
    attributes: dict[str, str]
    line: int
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def all(self, tag: str) -> Iterator[Element]:
        return (child for child in self.children if child.tag == tag)

    def first(self, tag: str) -> Element | None:
        return next(self.all(tag), None)

    def get(self, name: str) -> str:
        return self.attributes.get(name, "")


def parse(raw: bytes | str) -> Element:
    """The root. Raises MarkupError."""
    builder = _Builder()
    try:
        builder.parser.Parse(raw, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        if isinstance(error, MarkupError):
            raise
        line = getattr(error, "lineno", 1)
        code = getattr(error, "code", None)
        said = expat.ErrorString(code) if isinstance(code, int) else str(error)
        raise MarkupError(line, f"is no XML: {said}") from None
    assert builder.root is not None     # expat takes no document without one
    return builder.root


class _Builder:
    def __init__(self) -> None:
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.EntityDeclHandler = self._refuse
        self.root: Element | None = None
        self._open: list[Element] = []

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        line = self.parser.CurrentLineNumber
        if len(self._open) >= DEEPEST:
            raise MarkupError(line, f"goes deeper than {DEEPEST} elements")
        element = Element(_local(tag), {_local(name): value for name, value in attributes.items()}, line)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def _end(self, _tag: str) -> None:
        self._open.pop()

    def _characters(self, text: str) -> None:
        self._open[-1].text += text

    def _refuse(self, *_: object) -> None:
        raise MarkupError(self.parser.CurrentLineNumber, "has a document type (<!DOCTYPE ...>): take it out")


def _local(name: str) -> str:
    return name.rpartition(":")[2]

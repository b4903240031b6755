"""What stands in brackets in a 3CX template: `[Number]`, `[[Number].Replace("+","")]`, `[IIf([CallType]==Missed,a,b)]`.

`{{`, `}}` and `^^` are `[`, `]` and `"`. `[[Subject]]` is the text of the parameter Subject with what stands in
brackets there. Only the office's own parameters are read so a second time: what callers and CRMs say is never an
expression. Read here into nodes, which `evaluate` and `render` go through; nothing is known of calls, nothing executed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pbxcore.settings_file.threecx_methods import FUNCTIONS, METHODS, Value, call_method, true, written
from pbxcore.settings_file.values import did_you_mean

DEEPEST = 16       # brackets in brackets; parameters in parameters
OPERATORS = ("||", "&&", "==", "!=", ">=", "<=", ">", "<")
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_METHOD = re.compile(r"\.([A-Za-z_]\w*)\(", re.ASCII)
_FUNCTION = re.compile(r"([A-Za-z_]\w*)\(", re.ASCII)
_ESCAPES = {"{{": "[", "}}": "]", "^^": '"'}


class ExpressionError(ValueError):
    """An expression that cannot be followed; the message quotes it."""


@dataclass(frozen=True, slots=True)
class Literal:
    text: str


@dataclass(frozen=True, slots=True)
class Variable:
    name: str


@dataclass(frozen=True, slots=True)
class Again:
    """What it gives is read once more, where that is a parameter's text."""

    inner: Node


@dataclass(frozen=True, slots=True)
class Join:
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """`IIf(condition, one, other)`."""

    condition: Node
    one: Node
    other: Node


@dataclass(frozen=True, slots=True)
class Method:
    target: Node
    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    operator: str
    left: Node
    right: Node


Node = Literal | Variable | Again | Join | Choice | Method | Operation
Text = tuple[str | Node, ...]
"""Text as it stands, and what stands in brackets between."""


class Scope(Protocol):
    """Whoever knows the variables. What is not known is empty."""

    def value(self, name: str) -> Value: ...

    def parameter(self, name: str) -> Text | None:
        """The text of a parameter of the office's; None for a variable of another origin."""
        ...


Spell = Callable[[str, bool], str]
"""How a value is written where it is put: the value, and whether it is the office's own text."""


def read_text(source: str) -> Text:
    """Raises ExpressionError."""
    parts: list[str | Node] = []
    plain, at = "", 0
    while at < len(source):
        if source[at : at + 2] in _ESCAPES:
            plain += _ESCAPES[source[at : at + 2]]
            at += 2
        elif source[at] == "[":
            node, at = _Reader(source).bracket(at, 0)
            parts += [plain, node] if plain else [node]
            plain = ""
        else:
            plain += source[at]
            at += 1
    return (*parts, plain) if plain else tuple(parts)


def read_condition(source: str) -> Node | None:
    """A condition, whose brackets are variables (`[A]!=True||[B]==""`); None for an empty one. Raises
    ExpressionError."""
    if not source.strip():
        return None
    reader = _Reader(source)
    node, at = reader.expression(0, "", 0)
    if at != len(source):
        raise ExpressionError(f"{_shown(source)} has a {source[at]} too much")
    return node


def variables(part: Text | Node) -> set[str]:
    """The names that it asks for."""
    match part:
        case Variable(name):
            return {name}
        case Again(inner):
            return variables(inner)
        case Choice(condition, one, other):
            return variables(condition) | variables(one) | variables(other)
        case Method(target, _, arguments):
            return set().union(variables(target), *map(variables, arguments))
        case Operation(_, left, right):
            return variables(left) | variables(right)
        case Join(parts):
            return set().union(*map(variables, parts))
        case Literal():
            return set()
    return set().union(*(variables(one) for one in part if not isinstance(one, str)))


def as_it_is(value: str, own: bool) -> str:
    return value


def render(text: Text, scope: Scope, spell: Spell = as_it_is, *, passes: int = 1, depth: int = 0) -> str:
    """The text with its values. With two passes the text of parameters is read, too, wherever they stand. Raises
    ExpressionError for a parameter that leads to itself."""
    if depth > DEEPEST:
        raise ExpressionError("its parameters lead to each other without end")
    found = ""
    for part in text:
        inner = part.inner if isinstance(part, Again) else part
        again = isinstance(part, Again) or passes > 1
        own = scope.parameter(inner.name) if isinstance(inner, Variable) and again else None
        if isinstance(part, str):
            found += part if depth == 0 else spell(part, True)
        elif own is not None:
            found += render(own, scope, spell, passes=passes, depth=depth + 1)
        else:
            ours = all(scope.parameter(name) is not None for name in variables(part))
            found += spell(written(evaluate(part, scope)), ours)
    return found


def evaluate(node: Node, scope: Scope, depth: int = 0) -> Value:
    match node:
        case Literal(text):
            return text
        case Variable(name):
            return scope.value(name)
        case Again(inner):
            own = scope.parameter(inner.name) if isinstance(inner, Variable) else None
            return evaluate(inner, scope, depth) if own is None else render(own, scope, depth=depth + 1)
        case Join(parts):
            return "".join(written(evaluate(part, scope, depth)) for part in parts)
        case Choice(condition, one, other):
            return evaluate(one if true(evaluate(condition, scope, depth)) else other, scope, depth)
        case Method(target, name, arguments):
            given = [evaluate(argument, scope, depth) for argument in arguments]
            return call_method(evaluate(target, scope, depth), name, given)
    left = evaluate(node.left, scope, depth)
    if node.operator in ("||", "&&"):
        return true(left) if true(left) is (node.operator == "||") else true(evaluate(node.right, scope, depth))
    return _compared(node.operator, written(left), written(evaluate(node.right, scope, depth)))


def _compared(operator: str, left: str, right: str) -> bool:
    if operator in ("==", "!="):
        return (left == right) is (operator == "==")
    try:
        one, other = float(left), float(right)
    except ValueError:
        return False
    return {">": one > other, "<": one < other, ">=": one >= other, "<=": one <= other}[operator]


class _Reader:
    """Reads one source; each method gives a node and the index after it."""

    def __init__(self, source: str) -> None:
        self._source = source

    def bracket(self, at: int, depth: int) -> tuple[Node, int]:
        """From `[` to its `]`."""
        if depth > DEEPEST:
            raise ExpressionError(f"{_shown(self._source[at:])} has too many brackets in each other")
        name = _NAME.match(self._source, at + 1)
        if name is not None and self._source.startswith("]", name.end()):
            return Variable(name[0]), name.end() + 1
        node, end = self.expression(at + 1, "]", depth + 1)
        if end >= len(self._source):
            raise ExpressionError(f"{_shown(self._source[at:])} has no ] at its end; a plain bracket is written {{{{")
        if isinstance(node, Literal):
            mend = "a variable has letters and digits; a plain bracket is written {{ and }}"
            raise ExpressionError(f"[{node.text[:60]}] is neither a variable nor a function: {mend}")
        return (Again(node) if isinstance(node, Variable | Again) else node), end + 1

    def expression(self, at: int, stops: str, depth: int, level: int = 0) -> tuple[Node, int]:
        """Up to one of `stops`, or the end; `||` binds least, comparisons most."""
        if level == 3:
            return self._operand(at, stops, depth)
        operators = (("||",), ("&&",), OPERATORS[2:])[level]
        node, at = self.expression(at, stops, depth, level + 1)
        while (operator := next((one for one in operators if self._source.startswith(one, at)), None)) is not None:
            right, at = self.expression(at + len(operator), stops, depth, level + 1)
            node = Operation(operator, node, right)
        return node, at

    def _operand(self, at: int, stops: str, depth: int) -> tuple[Node, int]:
        parts: list[Node] = []
        plain, nested = "", 0
        while at < len(self._source):
            here = self._source[at]
            if not nested and (here in stops or self._source.startswith(OPERATORS, at)):
                break
            function = _FUNCTION.match(self._source, at) if not plain.strip() or not plain[-1].isalnum() else None
            node: Node | None = None
            if here == "[":
                node, at = self.bracket(at, depth)
            elif here == '"' or self._source.startswith("^^", at):
                node, at = self._quoted(at)
            elif here == "(" and not parts and not plain.strip() and (end := self._group(at)) is not None:
                node, _ = self.expression(at + 1, ")", depth + 1)
                at = end
            elif function is not None and (known := FUNCTIONS.get(function[1].lower())) is not None:
                node, at = self._choice(function, known, depth)
            elif function is not None and not parts and not plain.strip():
                raise ExpressionError(f"there is no function {function[1]}{did_you_mean(function[1], ('IIf',))}")
            else:
                nested += (here == "(") - (here == ")" and nested > 0)
                plain += here
                at += 1
                continue
            node, at = self._methods(node, at, depth)
            parts += [Literal(plain), node] if plain.strip() else [node]
            plain = ""
        if plain.strip():
            parts.append(Literal(plain.strip() if not parts else plain.rstrip()))
        if not parts:
            return Literal(""), at
        first = parts[0]
        if isinstance(first, Literal) and len(parts) > 1:
            parts[0] = Literal(first.text.lstrip())
        return (parts[0] if len(parts) == 1 else Join(tuple(parts))), at

    def _group(self, at: int) -> int | None:
        """The index after the `)` of this `(`, where a condition stands between; None for plain text in parentheses."""
        nested = 0
        for place in range(at, len(self._source)):
            nested += (self._source[place] == "(") - (self._source[place] == ")")
            if nested == 0:
                inside = self._source[at:place]
                return place + 1 if any(operator in inside for operator in OPERATORS) else None
        return None

    def _quoted(self, at: int) -> tuple[Node, int]:
        mark = '"' if self._source[at] == '"' else "^^"
        end = self._source.find(mark, at + len(mark))
        if end < 0:
            raise ExpressionError(f"{_shown(self._source[at:])} has no closing quote")
        return Join((Literal(self._source[at + len(mark) : end]),)), end + len(mark)

    def _methods(self, node: Node, at: int, depth: int) -> tuple[Node, int]:
        while (method := _METHOD.match(self._source, at)) is not None:
            if method[1] not in METHODS:
                raise ExpressionError(f"there is no method {method[1]}(){did_you_mean(method[1], METHODS)}")
            arguments, at = self._arguments(method.end(), depth)
            node = Method(node, method[1], tuple(arguments))
        return node, at

    def _choice(self, function: re.Match[str], known: int, depth: int) -> tuple[Node, int]:
        arguments, at = self._arguments(function.end(), depth)
        if len(arguments) != known:
            raise ExpressionError(f"{function[1]}() takes {known} values, not {len(arguments)}")
        return Choice(*arguments), at

    def _arguments(self, at: int, depth: int) -> tuple[Sequence[Node], int]:
        if depth > DEEPEST:
            raise ExpressionError(f"{_shown(self._source)} has too many functions in each other")
        found: list[Node] = []
        while True:
            argument, at = self.expression(at, ",)", depth + 1)
            if at >= len(self._source):
                raise ExpressionError(f"{_shown(self._source)} has no ) at the end of a function")
            found.append(argument)
            at += 1
            if self._source[at - 1] == ")":
                empty = len(found) == 1 and found[0] == Literal("")
                return ([] if empty else found), at


def _shown(source: str) -> str:
    return f'"{source[:60]}{"..." if len(source) > 60 else ""}"'

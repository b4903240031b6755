"""A 3CX server-side CRM template, read as it is: its elements as values, and what is wrong with it by element and line.

Scenarios of REST are understood, JSON, XML and text as answers. Look-ups by e-mail, searches, chats and questions of
call flows are passed over: nobody asks them here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pbxcore.settings_file.markup import Element, MarkupError, parse
from pbxcore.settings_file.rest_template import TemplateError
from pbxcore.settings_file.threecx_expressions import ExpressionError, Node, Text, Variable, read_condition, read_text
from pbxcore.settings_file.values import did_you_mean

PREFIXES = ("AsIs", "Off", "Plus", "Zeros")
AUTHENTICATIONS = ("No", "Basic", "Scenario")
METHODS = ("Get", "Post", "Put", "Patch", "Delete")
ENCODINGS = ("UrlEncoded", "Json", "Xml", "Text")
ANSWERS = ("Json", "Xml", "Text")
RULES = ("Any", "None", "Equals", "NotEquals", "Contains", "StartsWith", "EndsWith", "Regex")
POSTED = {"Value": "value", "Object": "object", "Array": "array"}
NAMES = ("FirstName", "LastName", "FullName", "CompanyName")
LOOKUP, REPORT = "", "ReportCall"
CREATING = ("CreateContactRecordFromClient", "CreateContactRecord")
MOST_BYTES = 1 << 20
SECRET = ("Password", "OAuth")

NOTHING: Text = ()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Posted:
    """A field of a body, or an object or array of them; `kind` is value, object or array."""

    kind: str
    key: str
    text: Text
    type: str
    passes: int
    only_if: Node | None
    skip_if: Node | None
    children: tuple[Posted, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    url: Text
    method: str
    encoding: str
    content_type: str
    answer: str
    message: Text | None
    passes: int
    skip_if: Node | None
    headers: tuple[tuple[str, Text], ...] = ()
    post: Posted | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    kind: str
    ethalon: Text
    path: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A variable that is read from an answer."""

    name: str
    path: str
    filters: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    kind: str
    text: Text
    passes: int


@dataclass(frozen=True, slots=True)
class Scenario:
    id: str
    line: int
    request: Request
    rules: tuple[Rule, ...] = ()
    readings: tuple[Reading, ...] = ()
    outputs: tuple[Output, ...] = ()
    next: str = ""
    allow_empty: bool = True


@dataclass(frozen=True, slots=True)
class Template:
    """`parameters` are those with their values: the office's, else the template's defaults."""

    name: str
    prefix: str
    length: Text
    parallel: int
    parameters: Mapping[str, str]
    basic: Text | None = None
    signing_in: str = ""
    scenarios: tuple[Scenario, ...] = ()

    def all(self, scenario: str) -> tuple[Scenario, ...]:
        return tuple(one for one in self.scenarios if one.id == scenario)

    def first(self, *ids: str) -> Scenario | None:
        return next((one for name in ids for one in self.all(name)), None)


def read(file: str, given: Mapping[str, str]) -> Template:
    """The template with the office's parameters. Raises TemplateError with all that is wrong with either."""
    try:
        raw = Path(file).read_bytes()
    except OSError as error:
        raise TemplateError(f"{file} cannot be read: {(error.strerror or str(error)).lower()}") from None
    if len(raw) > MOST_BYTES:
        raise TemplateError(f"{file} is longer than {MOST_BYTES >> 20} MB: is it a template?")
    try:
        root = parse(raw)
    except MarkupError as error:
        raise TemplateError(f"{file}, line {error.line}: {error}") from None
    reader = _Reader(given)
    template = reader.template(root)
    if reader.faults:
        raise TemplateError("\n".join(f"{file}, line {line}: {said}" for line, said in sorted(set(reader.faults))))
    return template


@dataclass(slots=True)
class _Reader:
    given: Mapping[str, str]
    faults: list[tuple[int, str]] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)      # of parameters

    def template(self, root: Element) -> Template:
        if root.tag != "Crm":
            self._fault(root, f"is no 3CX template: its outermost element is <{root.tag}>, not <Crm>")
            return Template("", "AsIs", (), 1, {})
        number, connection = root.first("Number") or _absent("Number"), root.first("Connection") or _absent("")
        parameters = self._parameters(root)
        authentication = root.first("Authentication") or _absent("Authentication")
        kind = self._one_of(authentication, "Type", AUTHENTICATIONS, "No")
        value = authentication.first("Value")
        said = value.text.strip() if value is not None else ""
        if kind != "No" and not said:
            self._fault(authentication, f'Type="{kind}" needs a <Value>: {_EXAMPLES[kind]}')
        scenarios = tuple(self._scenarios(root))
        found = Template(
            root.get("Name"),
            self._one_of(number, "Prefix", PREFIXES, "AsIs"),
            self._text(number, "MaxLength"),
            self._count(connection, "MaxConcurrentRequests", 2),
            parameters,
            self._read(authentication, "Value", said, read_text, NOTHING) if kind == "Basic" else None,
            said if kind == "Scenario" else "",
            scenarios,
        )
        self._whole(root, authentication, found)
        return found

    def _parameters(self, root: Element) -> dict[str, str]:
        section = root.first("Parameters") or _absent("Parameters")
        found: dict[str, str] = {}
        for element in section.all("Parameter"):
            name = element.get("Name")
            if not name:
                self._fault(element, 'needs a Name: <Parameter Name="ApiKey" ...>')
                continue
            found[name], self.lines[name] = self.given.get(name, element.get("Default")), element.line
            if element.get("Type") in SECRET and not found[name]:
                self._fault(element, f'{name} has no value; give it one: parameters = {{ {name} = "..." }}')
        for name in self.given:
            if name not in found and name != "MaxLength":
                self._fault(section, f"has no parameter {name}{did_you_mean(name, found)}")
        return {**found, **{name: value for name, value in self.given.items() if name == "MaxLength"}}

    def _scenarios(self, root: Element) -> Iterator[Scenario]:
        for element in (root.first("Scenarios") or _absent("Scenarios")).all("Scenario"):
            name = element.get("Id")
            if _passed_over(name):
                continue
            kind, request = element.get("Type") or "REST", element.first("Request")
            if kind != "REST":
                self._fault(element, f'Id="{name}" is of Type="{kind}"; only REST can be carried out')
            elif request is None:
                self._fault(element, f'Id="{name}" has no <Request Url="...">')
            else:
                outputs = element.first("Outputs") or _absent("Outputs")
                rules = element.first("Rules") or _absent("Rules")
                yield Scenario(
                    name,
                    element.line,
                    self._request(request),
                    tuple(map(self._rule, rules.all("Rule"))),
                    tuple(self._readings(element)),
                    tuple(self._outputs(outputs)),
                    outputs.get("Next"),
                    outputs.get("AllowEmpty").lower() != "false",
                )

    def _request(self, element: Element) -> Request:
        post = element.first("PostValues")
        message = element.get("Message")
        if not element.get("Url"):
            self._fault(element, 'needs a Url: <Request Url="https://crm.example.net/..." ...>')
        headers = element.first("Headers") or _absent("Headers")
        method = self._one_of(element, "RequestType", METHODS, "Post" if post is not None or message else "Get")
        return Request(
            self._text(element, "Url"),
            method.upper(),
            self._one_of(element, "RequestEncoding", ENCODINGS, "UrlEncoded"),
            element.get("RequestContentType"),
            self._one_of(element, "ResponseType", ANSWERS, "Json"),
            self._text(element, "Message") if message else None,
            self._count(element, "MessagePasses", 0),
            self._condition(element, "SkipIf"),
            tuple((one.get("Key"), self._content(one)) for one in headers.all("Value") if one.get("Key")),
            None if post is None or message else self._posted(post, "object"),
        )

    def _posted(self, element: Element, kind: str) -> Posted:
        for child in element.children:
            if child.tag not in POSTED:
                self._fault(child, f"is none of {', '.join(f'<{tag}>' for tag in POSTED)}")
        return Posted(
            kind,
            element.get("Key"),
            self._content(element) if kind == "value" else (),
            element.get("Type") or "String",
            self._count(element, "Passes", 0),
            self._condition(element, "If"),
            self._condition(element, "SkipIf"),
            tuple(self._posted(one, POSTED[one.tag]) for one in element.children if one.tag in POSTED),
        )

    def _rule(self, element: Element) -> Rule:
        kind, path = self._one_of(element, "Type", RULES, "Any"), element.text.strip()
        if kind == "Regex":
            self._pattern(element, element.get("Ethalon"))
        return Rule(kind, self._text(element, "Ethalon") if kind != "Regex" else (element.get("Ethalon"),), path)

    def _readings(self, scenario: Element) -> Iterator[Reading]:
        request = scenario.first("Request")
        for element in (scenario.first("Variables") or _absent("Variables")).all("Variable"):
            path = element.get("Path") or element.text.strip()
            if not element.get("Name"):
                self._fault(element, 'needs a Name: <Variable Name="FirstName" Path="..." />')
            if request is not None and request.get("ResponseType") == "Text":
                self._pattern(element, path)
            chosen = element.first("Filter") or _absent("Filter")
            yield Reading(element.get("Name"), path, tuple(map(self._rule, chosen.all("Rule"))))

    def _outputs(self, section: Element) -> Iterator[Output]:
        for element in section.all("Output"):
            if not element.get("Type"):
                self._fault(element, 'needs a Type: <Output Type="FirstName" Value="[FirstName]" />')
            yield Output(element.get("Type"), self._text(element, "Value"), self._count(element, "Passes", 0))

    # -- what no element alone can say

    def _whole(self, root: Element, authentication: Element, found: Template) -> None:
        ids = [one.id for one in found.scenarios if one.id]
        if found.signing_in and found.signing_in not in ids:
            said = f'names the scenario "{found.signing_in}", and there is none{did_you_mean(found.signing_in, ids)}'
            self._fault(authentication, said)
        for one in found.scenarios:
            if one.next and one.next not in ids:
                self.faults.append((one.line, f"<Outputs>: Next=\"{one.next}\" is no scenario's Id"
                                              f"{did_you_mean(one.next, ids)}"))  # fmt: skip
            self._address(one, found.parameters)
        self._circles(found)
        if not any(_finds(one) for one in found.scenarios) and found.first(REPORT) is None and not self.faults:
            said = 'asks for nobody and reports no call: it needs a <Scenario Id=""> whose <Outputs> have a name and a'
            self._fault(root, f'{said} number (Type="FirstName", Type="PhoneBusiness"), or a <Scenario Id="{REPORT}">')

    def _address(self, one: Scenario, parameters: Mapping[str, str]) -> None:
        """An address that begins with a parameter begins with what the office wrote there."""
        if not one.request.url:
            return      # that was said
        first = one.request.url[0]
        if isinstance(first, Variable) and first.name in parameters:
            name, address = first.name, parameters[first.name]
        elif isinstance(first, str):
            name, address = "", first
        else:
            return
        if not address.startswith(("http://", "https://")):
            place = f"<Parameter> {name}:" if name else f'<Scenario Id="{one.id}"> <Request Url>:'
            mend = f'parameters = {{ {name} = "https://crm.example.net" }}' if name else 'Url="https://..."'
            line = self.lines[name] if name else one.line
            self.faults.append((line, f'{place} "{address[:60]}" is no web address; write {mend}'))

    def _circles(self, found: Template) -> None:
        following = {one.id: one.next for one in found.scenarios if one.id}
        for one in found.scenarios:
            seen, name = {one.id}, one.next
            while name and name not in seen:
                seen.add(name)
                name = following.get(name, "")
            if name:
                self.faults.append((one.line, f'<Outputs>: Next="{one.next}" leads round in a circle'))

    # -- attributes

    def _one_of(self, element: Element, name: str, known: tuple[str, ...], default: str) -> str:
        said = element.get(name)
        for one in known:
            if said.lower() == one.lower():
                return one
        if said:
            self._fault(element, f'{name}="{said}" is not known{did_you_mean(said, known)}')
        return default

    def _count(self, element: Element, name: str, default: int) -> int:
        said = element.get(name).strip()
        if said and not (said.isascii() and said.isdigit()):
            self._fault(element, f'{name}="{said}" is no number')
            return default
        return int(said) if said else default

    def _text(self, element: Element, name: str) -> Text:
        return self._read(element, name, element.get(name), read_text, NOTHING)

    def _content(self, element: Element) -> Text:
        return self._read(element, element.get("Key"), element.text, read_text, NOTHING)

    def _condition(self, element: Element, name: str) -> Node | None:
        return self._read(element, name, element.get(name), read_condition, None)

    def _read(self, element: Element, name: str, source: str, reader: Callable[[str], T], default: T) -> T:
        try:
            return reader(source)
        except ExpressionError as error:
            self._fault(element, f"{name}: {error}")
            return default

    def _pattern(self, element: Element, pattern: str) -> None:
        try:
            re.compile(pattern)
        except re.error as error:
            self._fault(element, f'"{pattern[:60]}" is no regular expression: {error}')

    def _fault(self, element: Element, said: str) -> None:
        self.faults.append((max(element.line, 1), f"<{element.tag}> {said}"))


def _absent(tag: str) -> Element:
    """Stands for an element that is left out."""
    return Element(tag, {}, 1)


def _passed_over(scenario: str) -> bool:
    return scenario == "ReportChat" or scenario.startswith(("LookupByEmail", "SearchContacts", "LookupFromCFD"))


def _finds(one: Scenario) -> bool:
    kinds = {output.kind for output in one.outputs}
    return bool(kinds & set(NAMES)) and any(kind.startswith(("Phone", "Fax")) for kind in kinds)


_EXAMPLES = {"Basic": "<Value>[User]:[Password]</Value>", "Scenario": "the Id of the one that signs in"}

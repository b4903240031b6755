"""Carries out the scenarios of a 3CX template: requests made of variables, records read from answers, chains of both.

Values are written as the place demands into which they are put (in an address, in JSON, in XML), so that no name and no
number becomes a part of it; the office's own parameters stand in addresses as they are.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

from crmhooks.connector import Refused
from crmhooks.connectors.common import Tools
from crmhooks.connectors.site import Answer, Denied, Site, Unauthorised
from crmhooks.connectors.threecx_answers import FORMS, Record, records
from crmhooks.text import one_line
from pbxcore.settings_file.threecx_expressions import Text, evaluate, read_text, render
from pbxcore.settings_file.threecx_methods import Value, true
from pbxcore.settings_file.threecx_template import Output, Posted, Request, Rule, Scenario, Template

LIFETIME = 3300.0      # seconds of a sign-in whose template does not say
CONTENT_TYPES = {
    "UrlEncoded": "application/x-www-form-urlencoded", "Json": "application/json", "Xml": "text/xml",
    "Text": "text/plain",
}  # fmt: skip
OPEN = "%,:@~!$'()*"       # signs that mean nothing in an address; what is escaped already stays so


@dataclass(frozen=True, slots=True)
class Variables:
    """A scope of expressions: the call's, those read from answers, and the office's parameters beneath them."""

    parameters: Mapping[str, str]
    texts: Mapping[str, Text]
    values: Mapping[str, Value] = field(default_factory=dict)

    def value(self, name: str) -> Value:
        return self.values[name] if name in self.values else self.parameters.get(name, "")

    def parameter(self, name: str) -> Text | None:
        return None if name in self.values else self.texts.get(name)

    def with_(self, more: Mapping[str, Value]) -> Variables:
        return Variables(self.parameters, self.texts, {**self.values, **more})


@dataclass(frozen=True, slots=True)
class Found:
    """The end of a chain: its outputs. `asked` says whether its request was made, or skipped."""

    outputs: Mapping[str, str]
    asked: bool


class Engine:
    """One template. Raises what `Site.ask` raises, and Refused for an address that is none."""

    def __init__(self, template: Template, tools: Tools) -> None:
        self._template = template
        self._clock = tools.clock
        self._site = Site("", tools.wall, describe=_message, timeout=tools.timeout, transport=tools.transport)
        self._room = asyncio.Semaphore(max(1, template.parallel))
        self._signing_in = asyncio.Lock()
        self._granted: dict[str, Value] = {}       # variables of the sign-in
        self._headers: dict[str, str] = {}
        self._until = 0.0
        self._base = Variables(template.parameters, _readable(template.parameters))

    def scope(self, values: Mapping[str, Value]) -> Variables:
        return self._base.with_(values)

    def skips(self, scenario: Scenario, values: Mapping[str, Value]) -> bool:
        """Whether its condition keeps it from being carried out with these values."""
        condition = scenario.request.skip_if
        return condition is not None and true(evaluate(condition, self.scope(values)))

    def say(self, text: Text, values: Mapping[str, Value]) -> str:
        return render(text, self.scope(values))

    async def run(
        self, scenario: Scenario, values: Mapping[str, Value], headers: Mapping[str, str] | None = None
    ) -> list[Found]:
        """Carry it out, and those that follow it, one after the other for each record; signed in as the template
        says, and once anew when that has run out."""
        for last in (False, True):
            granted = await self._sign_in()
            try:
                return await self._chain(scenario, self.scope({**granted, **values}), headers or {})
            except Unauthorised:
                if last or not self._template.signing_in:
                    raise
                if granted is self._granted:       # else somebody else has signed in meanwhile
                    self._until = 0.0
        return []

    async def close(self) -> None:
        await self._site.close()

    async def _chain(self, scenario: Scenario, scope: Variables, headers: Mapping[str, str]) -> list[Found]:
        if scenario.request.skip_if is not None and true(evaluate(scenario.request.skip_if, scope)):
            return await self._after(scenario, [], scope, headers, asked=False)
        if scenario.rules or scenario.readings:
            found = self._records(scenario, await self._ask(scenario.request, scope, headers), scope)
        else:      # nothing is read from its answer: whatever it is written in, it is a yes
            await self._ask(scenario.request, scope, headers, "Text")
            found = [Record(None, {})]
        return await self._after(scenario, found, scope, headers, asked=True)

    async def _after(
        self, scenario: Scenario, found: list[Record], scope: Variables, headers: Mapping[str, str], *, asked: bool
    ) -> list[Found]:
        scopes = [scope.with_(_read(scenario, record, scope)) for record in found]
        if not scopes and scenario.next and scenario.allow_empty:
            scopes = [scope]
        ends: list[Found] = []
        for one in scopes:
            following = self._template.first(scenario.next) if scenario.next else None
            if following is not None:
                ends += await self._chain(following, one, headers)
            else:
                ends.append(Found({output.kind: _output(output, one) for output in scenario.outputs}, asked))
        return ends

    def _records(self, scenario: Scenario, answer: Answer, scope: Variables) -> list[Record]:
        body = answer.body if answer.body is not None else {}
        return records(body, scenario.rules, scenario.readings, _comparing(scope))

    # -- signing in

    async def _sign_in(self) -> Mapping[str, Value]:
        if not self._template.signing_in:
            return self._granted
        async with self._signing_in:       # however many ask at once
            if self._clock() >= self._until:
                await self._grant()
            return self._granted

    async def _grant(self) -> None:
        scenario = self._template.first(self._template.signing_in)
        granted: dict[str, Value] = {}
        lasts, name, value = LIFETIME, "", ""
        self._headers = {}
        while scenario is not None:
            scope = self.scope(granted)
            try:
                found = self._records(scenario, await self._ask(scenario.request, scope, {}), scope)
            except Denied as error:
                raise Unauthorised(f"lets nobody sign in: {error}") from None
            if not found:
                raise Unauthorised(f'lets nobody sign in: <Scenario Id="{scenario.id}"> finds nothing in its answer')
            granted |= _read(scenario, found[0], scope)
            outputs = {output.kind: _output(output, self.scope(granted)) for output in scenario.outputs}
            name, value = outputs.get("HeaderName", name), outputs.get("HeaderValue", value)
            minutes = outputs.get("BearerExpiration", "")
            lasts = float(minutes) * 60 if minutes.isascii() and minutes.isdigit() else lasts
            self._headers = {name.lower(): one_line(value)} if name and value else {}
            scenario = self._template.first(scenario.next) if scenario.next else None
        self._granted, self._until = granted, self._clock() + lasts

    # -- requests

    async def _ask(
        self, request: Request, scope: Variables, headers: Mapping[str, str], form: str | None = None
    ) -> Answer:
        sent = {**self._authorised(scope), **headers}
        sent |= {name.lower(): one_line(render(text, scope)) for name, text in request.headers}
        url = _address(request.url, scope)
        if not url.startswith(("http://", "https://")):
            raise Refused(f'its template asks at "{one_line(url[:60])}", which is no web address')
        more = _body(request, scope, sent)
        async with self._room:
            return await self._site.ask(request.method, url, headers=sent, answer=FORMS[form or request.answer], **more)

    def _authorised(self, scope: Variables) -> dict[str, str]:
        if self._template.basic is None:
            return dict(self._headers)
        pair = render(self._template.basic, scope).encode()
        return {"authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _read(scenario: Scenario, record: Record, scope: Variables) -> dict[str, Value]:
    if record.answer is None:
        return {}
    comparing = _comparing(scope)
    return {reading.name: record.value(reading, comparing) for reading in scenario.readings}


def _comparing(scope: Variables) -> Callable[[Rule], str]:
    """A pattern stands as it is; other ethalons may name variables."""
    return lambda rule: "".join(map(str, rule.ethalon)) if rule.kind == "Regex" else render(rule.ethalon, scope)


def _output(output: Output, scope: Variables) -> str:
    return render(output.text, scope, passes=max(1, output.passes)).strip()


def _readable(parameters: Mapping[str, str]) -> dict[str, Text]:
    """Parameters as texts with variables; one that is none, such as a password with a bracket, is but text."""
    found: dict[str, Text] = {}
    for name, value in parameters.items():
        try:
            found[name] = read_text(value)
        except ValueError:
            found[name] = (value,)
    return found


def _address(url: Text, scope: Variables) -> str:
    """What stands at its beginning may be a whole address; of everything else no value is more than a part of it."""
    first = render(url[:1], scope)
    rest = render(url[1:], scope, lambda value, own: value if own else quote(value, safe=OPEN))
    return first + rest


def _body(request: Request, scope: Variables, headers: dict[str, str]) -> dict[str, Any]:
    if request.message is not None:
        kind = request.content_type or CONTENT_TYPES[request.encoding]
        headers.setdefault("content-type", kind)
        text = render(request.message, scope, _spelling(kind), passes=max(1, request.passes))
        return {"content": text.encode()}
    if request.post is None:
        return {}
    if request.encoding == "Json":
        return {"json": _object(request.post, scope)}
    fields = [(one.key, _text(one, scope)) for one in request.post.children if _wanted(one, scope)]
    return {"form": dict(fields)}


def _spelling(kind: str) -> Callable[[str, bool], str]:
    if "json" in kind:
        return lambda value, own: json.dumps(value, ensure_ascii=False)[1:-1]
    if "xml" in kind:
        return lambda value, own: escape(value, {'"': "&quot;"})
    if "urlencoded" in kind:
        return lambda value, own: quote_plus(value)
    return lambda value, own: value


def _object(posted: Posted, scope: Variables) -> Any:
    wanted = [one for one in posted.children if _wanted(one, scope)]
    if posted.kind == "value":
        return _typed(_text(posted, scope), posted.type)
    if posted.kind == "array":
        return [_object(one, scope) for one in wanted]
    return {one.key: _object(one, scope) for one in wanted}


def _wanted(posted: Posted, scope: Variables) -> bool:
    if posted.skip_if is not None and true(evaluate(posted.skip_if, scope)):
        return False
    return posted.only_if is None or true(evaluate(posted.only_if, scope))


def _text(posted: Posted, scope: Variables) -> str:
    return render(posted.text, scope, passes=max(1, posted.passes))


def _typed(text: str, kind: str) -> Any:
    """A number that is none stays the text that it is."""
    try:
        match kind.lower():
            case "integer" | "int" | "long":
                return int(text)
            case "double" | "decimal" | "float":
                return float(text)
            case "boolean" | "bool":
                return text.strip().lower() == "true"
    except ValueError:
        return text
    return text


def _message(body: Any) -> str:
    """Where vendors put their words."""
    for key in ("error_description", "message", "error", "detail", "title"):
        said = body.get(key) if isinstance(body, dict) else None
        if isinstance(said, dict):
            said = said.get("message")
        if isinstance(said, str) and said:
            return said
    return ""


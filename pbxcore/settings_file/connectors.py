"""Faults of `[[crm.connector]]`: which kinds there are, and which keys each of them needs and takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pbxcore.settings import CrmConnector
from pbxcore.settings_file import rest_template, threecx_template
from pbxcore.settings_file.values import NAME, Finding, Findings, Path, did_you_mean, quoted, rows, text, texts


@dataclass(frozen=True, slots=True)
class Kind:
    """Keys besides those that every kind takes."""

    needs: tuple[str, ...]
    takes: tuple[str, ...] = ()


KINDS = {   # `crmhooks/connectors/<module_of(kind)>.py`
    "3cx": Kind(("template",), ("parameters",)),
    "amocrm": Kind(("url", "api_key"), ("client_id", "client_secret", "redirect_uri")),
    "bitrix24": Kind(("url", "api_key")),
    "dataverse": Kind(("url", "tenant", "client_id", "client_secret"), ("external_id_field",)),
    "espocrm": Kind(("url", "api_key"), ("external_id_field",)),
    "hubspot": Kind(("api_key",), ("url", "external_id_field")),
    "odoo": Kind(("url",), ("api_key", "database", "username", "password", "external_id_field")),
    "rest": Kind(("url", "template"), ("api_key", "username", "password")),
    "salesforce": Kind(("url", "client_id", "client_secret"), ("external_id_field",)),
    "sipgate": Kind(("url",), ("username", "password")),
    "suitecrm": Kind(("url", "client_id", "client_secret"), ("external_id_field",)),
    "tryton": Kind(("url", "database", "username", "password")),
    "zammad": Kind(("url", "api_key")),
}
MODULES = {"3cx": "threecx"}      # of kinds that are no name in Python
COMMON = ("kind", "name", "users", "deadline_ms")
EXAMPLES = {
    "url": '"https://crm.example.net"',
    "users": '["101=5f2c..."]',
    "template": '"crm.toml"',
}


def module_of(kind: str) -> str:
    return MODULES.get(kind, kind)


def check(crm: Mapping[str, Any]) -> Findings:
    names: dict[str, int] = {}
    for index, connector in rows(crm, "connector"):
        path: Path = ("crm", "connector", index)
        name = text(connector, "kind")
        kind = KINDS.get(name)
        if kind is not None:
            yield from _keys(connector, path, name, kind)
        elif name:
            yield Finding((*path, "kind"), f'there is no connector of kind "{name}"{did_you_mean(name, KINDS)}')
        yield from _values(connector, path)
        name = text(connector, "name") or name
        if name in names:
            message = f'connector {names[name] + 1} is called "{name}" already; give this one a name of its own'
            yield Finding((*path, "name") if "name" in connector else path, message)
        names.setdefault(name, index)


def _keys(connector: Mapping[str, Any], path: Path, name: str, kind: Kind) -> Findings:
    for key in kind.needs:
        if not connector.get(key):
            yield Finding(path, f'a connector of kind "{name}" needs {key}: {key} = {EXAMPLES.get(key, _SOMETHING)}')
    known = (*COMMON, *kind.needs, *kind.takes)
    for key in connector:
        if key in CrmConnector.model_fields and key not in known and connector[key]:
            mend = f"it takes {', '.join(quoted((*kind.needs, *kind.takes)))}"
            yield Finding((*path, key), f'a connector of kind "{name}" has no {key}; {mend}')


def _template(connector: Mapping[str, Any], path: Path) -> Findings:
    file, parameters = text(connector, "template"), connector.get("parameters", {})
    try:
        if text(connector, "kind") == "rest":
            rest_template.read(file)
        elif isinstance(parameters, dict):
            threecx_template.read(file, {key: value for key, value in parameters.items() if isinstance(value, str)})
    except rest_template.TemplateError as error:
        for fault in str(error).splitlines():
            yield Finding((*path, "template"), fault)


def _values(connector: Mapping[str, Any], path: Path) -> Findings:
    if text(connector, "kind") in ("rest", "3cx") and text(connector, "template"):
        yield from _template(connector, path)
    name, url = text(connector, "name"), text(connector, "url")
    if name and NAME.fullmatch(name) is None:
        yield Finding((*path, "name"), f'"{name}" is no name; write it with letters, digits, ".", "_" and "-"')
    if url and not _is_web_address(url):
        yield Finding((*path, "url"), f'"{url}" is no web address; write it like "https://crm.example.net"')
    for user in texts(connector, "users"):
        extension, equals, own = user.partition("=")
        if not (extension.strip() and equals and own.strip()):
            yield Finding((*path, "users"), f'"{user}" is no user; write "101=" and the id that 101 has there', user)


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not parts.query
    except ValueError:
        return False


_SOMETHING = '"..."'

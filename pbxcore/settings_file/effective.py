"""The settings in force, written as the TOML file that would give them; secrets are masked."""

from __future__ import annotations

import re

from pydantic import SecretStr

from pbxcore.settings import Section, Settings

MASK = "********"

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_CREDENTIALS = re.compile(r"(://[^:@/]*:)[^@/]*@")


def effective(settings: Settings) -> str:
    """Every key with its value, defaults included; what has no value (`None`) is left out."""
    return "\n".join(_section("", settings)).strip() + "\n"


def _section(name: str, section: Section) -> list[str]:
    lines: list[str] = []
    below: list[str] = []
    for key in type(section).model_fields:
        value = getattr(section, key)
        path = f"{name}.{key}" if name else key
        if isinstance(value, Section):
            below += ["", f"[{path}]", *_section(path, value)]
        elif isinstance(value, tuple) and value and isinstance(value[0], Section):
            for item in value:
                below += ["", f"[[{path}]]", *_section(path, item)]
        elif value is not None and not (value == () and _is_table_list(section, key)):
            lines.append(f"{key} = {_value(value)}")
    return lines + below


def _is_table_list(section: Section, key: str) -> bool:
    annotation = str(type(section).model_fields[key].annotation)
    return "str" not in annotation


def _value(value: object) -> str:
    match value:
        case SecretStr():
            return f'"{MASK}"' if value.get_secret_value() else '""'
        case bool():
            return str(value).lower()
        case tuple():
            return f"[{', '.join(_value(item) for item in value)}]"
        case dict():
            return f"{{ {', '.join(f'{_key(name)} = {_value(item)}' for name, item in value.items())} }}"
        case list():
            return _value(tuple(value))
        case str():
            masked = _CREDENTIALS.sub(rf"\g<1>{MASK}@", value)
            return f'"{masked.translate(_ESCAPES)}"'
        case _:
            return str(value)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)

"""A connector as the exchange makes it of its settings."""

from __future__ import annotations

from typing import Any

from crmhooks.build import build_connectors
from crmhooks.connector import CrmConnector
from crmhooks.connectors.common import Tools
from pbxcore.settings import Crm, Settings
from pbxcore.settings import CrmConnector as Section


def made(keys: dict[str, Any], tools: Tools | None = None) -> CrmConnector:
    section = Section.model_validate(keys | {"name": "crm"})
    [connector] = build_connectors(Settings(crm=Crm(connector=(section,))), tools or Tools("US", timeout=30.0))
    return connector

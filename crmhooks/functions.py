"""Which of the eight functions of a CRM with telephony a connector carries, by what it declares itself.

Calls from the CRM, planned calls, cards that are handed over and the agent who is left alone while he writes are the
exchange's own work, whatever CRM is connected; a connector differs in what of it reaches its CRM.
"""

from __future__ import annotations

from crmhooks.connector import CrmConnector

FUNCTIONS = (
    "search by number", "activities", "instruction", "calls from the CRM", "planned calls", "transfer with card",
    "new numbers", "after-call work",
)  # fmt: skip


def carried(connector: CrmConnector) -> tuple[str, ...]:
    """One short text for each of `FUNCTIONS`."""
    can = connector.can
    keeps = "revise" in can
    record = "ordered at the API, recorded" if keeps else "ordered at the API, told"
    return (
        "yes" if "lookup" in can else "no",
        "opened, completed by the summary" if keeps else "told as the call goes on",
        f"`{connector.instructs}`" if connector.instructs else "the panel's",
        record,
        record,
        "yes; recorded" if keeps else "yes; told",
        "yes" if "create" in can else "no",
        "yes; it gets the summary" if keeps else "yes; it gets no summary",
    )

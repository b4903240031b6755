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
    keeps, follows = "revise" in can, "follow" in can
    told = "told as the call goes on" if follows else "told when it is over"
    record = "ordered at the API, recorded" if keeps else "ordered at the API, told"
    return (
        "yes" if "lookup" in can else "no",
        "opened, completed by the summary" if keeps else told,
        f"`{connector.instructs}`" if connector.instructs else "the panel's",
        record,
        record,
        "yes; recorded" if keeps else "yes; told",
        "yes" if "create" in can else "no",
        f"yes; it gets {'the summary' if keeps else 'no summary' if follows else 'what is written by its end'}",
    )

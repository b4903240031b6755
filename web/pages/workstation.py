"""First-party control from the panel: the agent's own browser carries the calls of his extension to the CRM.

The exchange gives the page, the events and the calls; what is posted goes from the browser to the CRM, signed with a
secret that is kept there and never comes here. The page's content security policy names the CRM's origin, no other
page's does.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from web.panel import carries_calls, page, panel_of, user_of, words_of
from web.security import policy

SAID = (
    "waiting", "lost", "elsewhere", "keyless", "insecure", "rings", "answered", "ended", "waiting_line", "withheld",
    "untold", "unreached", "late", "answered_status", "exchange_status", "no_json", "bad_secret",
)  # fmt: skip


async def show(request: Request) -> Response:
    words, target = words_of(request), panel_of(request).settings.crm.workstation_url
    carries = carries_calls(panel_of(request), user_of(request))
    response = page(
        request, "workstation.html", target=target, carries=carries,
        says={name: words(f"workstation.say.{name}") for name in SAID},
    )  # fmt: skip
    if carries:
        parts = urlsplit(target)
        response.headers["Content-Security-Policy"] = policy(f"{parts.scheme}://{parts.netloc}")
    return response

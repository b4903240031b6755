"""The card of a caller as a phone fetches it (RFC 9796, RFC 7095): open to whoever has its address, which nobody can
guess and which is soon gone."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from web.panel import panel_of

MEDIA_TYPE = "application/vcard+json"


async def card(request: Request) -> Response:
    return Response(panel_of(request).control.caller_card(request.path_params["token"]), media_type=MEDIA_TYPE)

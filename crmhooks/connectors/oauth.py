"""Access tokens by client credentials or a password (RFC 6749 sections 4.3, 4.4): fetched when needed, kept until
shortly before they run out, and fetched anew once when the CRM does not take one any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from crmhooks.connector import Unreachable
from crmhooks.connectors.common import needed
from crmhooks.connectors.site import Answer, Denied, Site, Unauthorised
from pbxcore.settings import CrmConnector

EARLY = 120.0        # seconds before its end that a token is not used any more
LIFETIME = 3600.0    # of one whose answer does not say


def client_credentials(settings: CrmConnector) -> dict[str, str]:
    """What is posted for a token of the application's own (RFC 6749 section 4.4.2, and 2.3.1)."""
    secret = settings.client_secret.get_secret_value()
    return {"grant_type": "client_credentials", "client_id": settings.client_id, "client_secret": secret}


class Tokens:
    """`url` is the token endpoint, `form` what is posted there. `clock` is monotonic seconds."""

    def __init__(self, site: Site, url: str, form: Mapping[str, str], clock: Callable[[], float]) -> None:
        self._site = site
        self._url = url
        self._form = form
        self._clock = clock
        self._token = ""
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def token(self) -> str:
        """Raises Unreachable, also for credentials that are not taken: that is nothing of one call."""
        async with self._lock:       # however many ask at once
            if not self._token or self._clock() >= self._until:
                await self._fetch()
            return self._token

    def drop(self, token: str) -> None:
        """It was not taken; another one may have been fetched meanwhile."""
        if token == self._token:
            self._token = ""

    async def _fetch(self) -> None:
        try:
            answer = await self._site.ask("POST", self._url, form=self._form)
        except Denied as error:
            raise Unauthorised(f"gives no access token: {error}") from None
        self._take(answer.body)

    def _take(self, body: Any) -> None:
        token = needed(body, "access_token")
        lasts = body.get("expires_in")
        seconds = float(lasts) if isinstance(lasts, int | float) else LIFETIME
        self._token, self._until = token, self._clock() + max(seconds - EARLY, 0.0)


class Authorised:
    """A site that is asked with a token."""

    def __init__(self, site: Site, tokens: Tokens) -> None:
        self.site = site
        self._tokens = tokens

    async def ask(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Answer:
        """As `Site.ask`. What it did not take for its token it has not done: it is asked again with a fresh one."""
        for last in (False, True):
            token = await self._tokens.token()
            try:
                return await self.site.ask(
                    method, path, headers={**(headers or {}), "authorization": f"Bearer {token}"}, **more
                )
            except Unauthorised:
                self._tokens.drop(token)
                if last:
                    raise
        raise Unreachable("no token")

    async def close(self) -> None:
        await self.site.close()

"""Signed-in browsers: an itsdangerous-signed cookie names a session that this process remembers.

The memory is on purpose: a session that was signed out is gone for good, whoever copied its cookie. A restart of the
exchange signs everybody out. Times are monotonic seconds from the clock that is given.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from hmac import compare_digest

from itsdangerous import BadSignature, URLSafeSerializer

from pbxcore.store.repo import User

IDLE_SECONDS = 8 * 3600.0  # a shift: who does nothing for so long is signed out
LIFETIME_SECONDS = 24 * 3600.0  # and everybody once a day
SESSIONS_PER_USER = 16


class Session:
    """One signed-in browser."""

    __slots__ = ("csrf", "id", "mark", "seen", "started", "username")

    def __init__(self, username: str, mark: str, now: float) -> None:
        self.id = secrets.token_urlsafe(24)
        self.csrf = secrets.token_urlsafe(24)
        self.username = username
        self.mark = mark
        self.started = now
        self.seen = now


class TokenSession(Session):
    """One request of a program, by its token: `mark` is the token's key. No cookie names it, so it needs no token
    against forgery either."""


def password_mark(user: User) -> str:
    """Changes with the password: a session made before the change is no longer good."""
    return hashlib.sha256(user.password.encode()).hexdigest()[:16]


class Sessions:
    """All live sessions, at most `SESSIONS_PER_USER` a user; the oldest gives way."""

    def __init__(
        self,
        secret_key: bytes,
        clock: Callable[[], float],
        *,
        idle: float = IDLE_SECONDS,
        lifetime: float = LIFETIME_SECONDS,
    ) -> None:
        self._signer = URLSafeSerializer(secret_key, salt="hookline-session")
        self._forms = URLSafeSerializer(secret_key, salt="hookline-sign-in-form")
        self._clock = clock
        self._idle = idle
        self._lifetime = lifetime
        self._live: dict[str, Session] = {}
        self.on_end: Callable[[Session], None] = lambda session: None

    def __len__(self) -> int:
        return len(self._live)

    def start(self, user: User) -> tuple[Session, str]:
        """A new session and the cookie that names it."""
        self._sweep()
        mine = [s for s in self._live.values() if s.username == user.username]
        for old in mine[: max(0, len(mine) - SESSIONS_PER_USER + 1)]:
            self.end(old)
        session = Session(user.username, password_mark(user), self._clock())
        self._live[session.id] = session
        return session, str(self._signer.dumps(session.id))

    def find(self, cookie: str | None, *, touch: bool = True) -> Session | None:
        """The live session that a cookie names; `touch` starts its idle time anew."""
        if not cookie:
            return None
        try:
            name = self._signer.loads(cookie)
        except BadSignature:
            return None
        session = self._live.get(name) if isinstance(name, str) else None
        if session is None or not self.alive(session):
            return None
        if touch:
            session.seen = self._clock()
        return session

    def alive(self, session: Session) -> bool:
        """Whether the session is still good; one that has run out is ended here."""
        now = self._clock()
        if session.id not in self._live:
            return False
        if now - session.seen > self._idle or now - session.started > self._lifetime:
            self.end(session)
            return False
        return True

    def end(self, session: Session) -> None:
        if self._live.pop(session.id, None) is not None:
            self.on_end(session)

    def _sweep(self) -> None:
        for session in list(self._live.values()):
            self.alive(session)

    def new_form_token(self) -> str:
        """A token for the sign-in form: it goes into a cookie and into the form, and both must come back alike."""
        return str(self._forms.dumps(secrets.token_urlsafe(16)))

    def good_form_token(self, cookie: str | None, field: str | None) -> bool:
        if not cookie or not field or not compare_digest(cookie.encode(), field.encode()):
            return False
        try:
            self._forms.loads(cookie)
        except BadSignature:
            return False
        return True

"""Who may sign in: users, their roles, and passwords kept as argon2id hashes.

Does not keep users (a `UserStore` does) nor sessions (`web.sessions`), and never logs or returns a password twice.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Protocol

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from pbxcore.store.repo import Role, User

ROLES: tuple[Role, ...] = ("admin", "supervisor", "agent")

# OWASP's second set for argon2id: a check costs about 20 ms of one core, which the exchange can spare beside calls.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_WAITING_LIMIT = 32


class Overloaded(Exception):
    """So many passwords wait to be checked that this one is refused: the calls come first."""


class UserStore(Protocol):
    """Where users are kept: `pbxcore.store.repo.Users`. `password` is the hash that is made here."""

    async def find(self, username: str) -> User | None: ...

    async def all(self) -> list[User]: ...

    async def create(self, username: str, password: str, role: Role, extension: str | None, now: float) -> User:
        """Raises Invalid for a name that is taken."""
        ...

    async def change(
        self,
        username: str,
        *,
        password: str | None = None,
        role: Role | None = None,
        extension: str | None = None,
    ) -> User:
        """Raises NotFound, Invalid."""
        ...

    async def delete(self, username: str) -> None:
        """Raises NotFound."""
        ...


class TokenStore(Protocol):
    """Where tokens of programs are kept: `pbxcore.store.tokens.ApiTokens`."""

    async def find(self, key: str) -> User | None:
        """Whose token has this key."""
        ...


def sees_all(user: User) -> bool:
    """Supervisors and administrators see every call; an agent sees those of his own extension."""
    return user.role != "agent"


def new_password() -> str:
    """A random password of about 99 bits that can be read out over a telephone."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(4))


def hash_password(password: str) -> str:
    return _HASHER.hash(password)


class Passwords:
    """Checks passwords in a worker thread, one at a time, so that a flood of sign-ins cannot starve the calls.

    An unknown user is checked against a hash that nothing matches: both answers take the same time.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0
        self._nobody = hash_password(secrets.token_urlsafe(16))

    async def check(self, user: User | None, password: str) -> bool:
        """True when this is the user's password. Raises Overloaded."""
        if self._waiting >= _WAITING_LIMIT:
            raise Overloaded
        self._waiting += 1
        try:
            async with self._turn:
                kept = self._nobody if user is None else user.password
                right = await asyncio.to_thread(_matches, kept, password)
        finally:
            self._waiting -= 1
        return right and user is not None

    async def hash(self, password: str) -> str:
        async with self._turn:
            return await asyncio.to_thread(hash_password, password)


def _matches(kept: str, password: str) -> bool:
    try:
        return _HASHER.verify(kept, password)
    except (VerificationError, InvalidHashError):
        return False


async def first_admin(users: UserStore, now: float) -> str | None:
    """When there is no user yet: make `admin` with a random password and return it, to be printed once."""
    if await users.all():
        return None
    password = new_password()
    await users.create("admin", hash_password(password), "admin", None, now)
    return password

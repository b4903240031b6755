"""Users and passwords."""

from __future__ import annotations

import pytest
from argon2 import extract_parameters

from tests.unit.web.fakes import PASSWORD, FakeUsers
from web import auth
from web.auth import Overloaded, Passwords, first_admin, hash_password, new_password, sees_all


async def test_first_admin_is_made_once_and_its_password_works() -> None:
    users = FakeUsers()
    password = await first_admin(users, 1.0)
    assert password is not None
    admin = await users.find("admin")
    assert admin is not None
    assert admin.role == "admin"
    assert password not in admin.password
    assert await Passwords().check(admin, password)
    assert await first_admin(users, 2.0) is None


def test_random_passwords_differ_and_are_long() -> None:
    made = {new_password() for _ in range(50)}
    assert len(made) == 50
    assert all(len(password.replace("-", "")) == 20 for password in made)


async def test_wrong_password_unknown_user_and_broken_hash_are_refused() -> None:
    users = FakeUsers()
    users.put("anna", "agent", "101")
    users.rows["bad"] = await users.create("bad", "not a hash", "agent", None, 0.0)
    passwords = Passwords()
    anna = await users.find("anna")
    assert await passwords.check(anna, PASSWORD)
    assert not await passwords.check(anna, PASSWORD + "x")
    assert not await passwords.check(None, PASSWORD)
    assert not await passwords.check(await users.find("bad"), PASSWORD)


async def test_unknown_user_costs_the_same_work_as_a_wrong_password(monkeypatch: pytest.MonkeyPatch) -> None:
    users = FakeUsers()
    users.put("anna", "agent", "101")
    passwords = Passwords()
    asked: list[str] = []
    matches = auth._matches

    def counted(kept: str, password: str) -> bool:
        asked.append(kept)
        return matches(kept, password)

    monkeypatch.setattr(auth, "_matches", counted)
    assert not await passwords.check(await users.find("anna"), "wrong")
    assert not await passwords.check(None, "wrong")
    known, unknown = (extract_parameters(kept) for kept in asked)
    assert known == unknown


async def test_flood_of_checks_is_refused_not_queued_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords()
    monkeypatch.setattr("web.auth._WAITING_LIMIT", 0)
    with pytest.raises(Overloaded):
        await passwords.check(None, "x")


async def test_only_agents_are_confined_to_their_own_calls() -> None:
    users = FakeUsers()
    for role in ("admin", "supervisor", "agent"):
        users.put(role, role)  # type: ignore[arg-type]  # the three roles
    assert [sees_all(user) for user in await users.all()] == [True, True, False]


def test_hashes_are_salted_argon2id() -> None:
    one, two = hash_password("same"), hash_password("same")
    assert one != two
    assert one.startswith("$argon2id$")

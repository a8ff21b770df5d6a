"""Accounts that differ by the case of their address alone, from before that told nobody apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from alembic import command

from api import CHEAP, Api
from folkmoot.postgres import revisions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testing.cluster import Cluster

ADDRESSES = ["Ada@example.com", "ada@example.com", "ADA@EXAMPLE.COM", "ben@example.com"]


@pytest.fixture
def upgraded(cluster18: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """A database built by the guide, in which the password of each account is its address, upgraded."""
    name = cluster18.create_database()
    monkeypatch.setenv("DATABASE_URL", cluster18.url(name))
    command.upgrade(revisions.config(), "c47ecbf163d4")
    with cluster18.connect(name) as connection:
        for address in ADDRESSES:
            connection.execute(
                "INSERT INTO users (email, password) VALUES (%s, %s)", [address, CHEAP.hash(address)]
            )
        connection.execute("INSERT INTO posts (title, content, owner_id) SELECT 't', 'c', id FROM users")
    command.upgrade(revisions.config(), "head")
    with Api(cluster18, name) as api:
        yield api


def test_none_is_lost_renamed_or_locked_out(upgraded: Api) -> None:
    with upgraded.connect() as connection:
        rows = connection.execute(
            "SELECT u.email, count(p.id) FROM users u JOIN posts p ON p.owner_id = u.id"
            " GROUP BY u.id ORDER BY u.id"
        ).fetchall()
    assert rows == [(address, 1) for address in ADDRESSES]
    for address in ADDRESSES:
        assert upgraded.login(address, address).status_code == 200, address


def test_another_spelling_finds_the_oldest(upgraded: Api) -> None:
    answer = upgraded.login("aDA@example.com", "Ada@example.com")
    me = upgraded.get("/users/me", headers={"Authorization": f"Bearer {answer.json()['access_token']}"})
    assert me.json()["email"] == "Ada@example.com"


@pytest.mark.one_in(3)
@pytest.mark.parametrize("address", [*ADDRESSES, "aDA@example.com", "BEN@example.com"])
def test_no_further_account_shares_the_address(upgraded: Api, address: str) -> None:
    assert upgraded.register(address).status_code == 409


def test_a_duplicate_that_takes_an_address_of_its_own_is_an_account_like_any_other(upgraded: Api) -> None:
    tokens = upgraded.login("ADA@EXAMPLE.COM", "ADA@EXAMPLE.COM").json()
    change = {"email": "countess@example.com", "current_password": "ADA@EXAMPLE.COM"}
    header = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert upgraded.patch("/users/me", json=change, headers=header).status_code == 200
    assert upgraded.login("Countess@example.com", "ADA@EXAMPLE.COM").status_code == 200

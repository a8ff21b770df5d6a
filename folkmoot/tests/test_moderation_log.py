"""The moderation log, and the commands that say who is an administrator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from folkmoot.commands.main import program
from test_moderation import WHY, administrator, log, remove, write

if TYPE_CHECKING:
    from api import Api, Person


@pytest.fixture
def admin(api: Api) -> Person:
    return administrator(api)


def test_the_log_stays_when_people_and_posts_go(api: Api, admin: Person) -> None:
    ada, other = api.person(), administrator(api)
    post = write(api, ada)
    remove(api, admin, post)
    api.delete_with_password("/users/me", ada.auth)
    with api.connect() as connection:
        connection.execute("DELETE FROM users WHERE id = %s", [admin.id])
    entry = api.get("/moderation-log", headers=other.auth).json()["items"][0]
    assert (entry["administrator_id"], entry["administrator"]) == (admin.id, None)
    assert (entry["person_id"], entry["post_id"], entry["reason"]) == (ada.id, post, WHY["reason"])


def test_the_log_is_read_page_by_page(api: Api, admin: Person) -> None:
    ada = api.person()
    post = write(api, ada)
    for number in range(5):
        remove(api, admin, post, reason=f"reason {number}")
    first = api.get("/moderation-log?limit=3", headers=admin.auth).json()
    more = api.get(f"/moderation-log?limit=3&cursor={first['next_cursor']}", headers=admin.auth).json()
    reasons = [entry["reason"] for entry in first["items"] + more["items"]]
    assert (reasons, more["next_cursor"]) == ([f"reason {number}" for number in (4, 3, 2, 1, 0)], None)
    assert first["items"][0]["administrator"] == "The reeve"


def test_a_command_makes_an_administrator_and_ends_it_and_the_log_has_it(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", api.cluster.url(api.database))
    ada = api.person("Ada@example.com")

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(program(arguments[0]), [*arguments])
        return done.exit_code, done.output

    granted = f"Person {ada.id} is an administrator.\n"
    assert run("grant-admin", "aDA@example.com") == (0, granted)
    assert run("grant-admin", "ada@example.com") == (0, granted), "once more changes nothing"
    assert log(api, ada) == [(None, "grant-admin", ada.id, None, None)]
    assert run("revoke-admin", "ada@example.com") == (0, f"Person {ada.id} is no administrator any more.\n")
    assert api.get("/moderation-log", headers=ada.auth).status_code == 403
    status, said = run("grant-admin", "nobody@example.com")
    assert (status, said) == (2, "There is no account with the address nobody@example.com.\n")

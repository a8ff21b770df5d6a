from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from api import PASSWORD
from folkmoot.people.common_passwords import COMMON

if TYPE_CHECKING:
    from api import Api


def test_registering_answers_with_the_account_and_where_it_is(api: Api) -> None:
    answer = api.register("Ada@Example.com", display_name="Ada", phone_number="+493012345678")
    assert answer.status_code == 201
    account = answer.json()
    assert answer.headers["location"] == f"/users/{account['id']}"
    assert account["email"] == "Ada@example.com"
    assert account["display_name"] == "Ada"
    assert account["phone_number"] == "+493012345678"
    assert "password" not in account


@pytest.mark.parametrize("again", ["ada@example.com", "ADA@example.com", "Ada@EXAMPLE.com"])
def test_an_address_is_taken_whatever_its_case(api: Api, again: str) -> None:
    api.register("ada@example.com")
    answer = api.register(again)
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "/errors/email-taken"


def test_of_a_hundred_registrations_of_one_address_at_once_one_succeeds(api: Api) -> None:
    answers = api.at_once(*[lambda: api.register("ada@example.com")] * 100)
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 99


def test_a_public_profile_shows_neither_address_nor_phone_number(api: Api) -> None:
    account = api.register(display_name="Ada", phone_number="+493012345678").json()
    profile = api.get(f"/users/{account['id']}").json()
    assert profile == {
        "id": account["id"],
        "display_name": "Ada",
        "created_at": account["created_at"],
    }
    assert api.get("/users").json() == {"items": [profile], "next_cursor": None}


def test_profiles_are_paged_to_the_end_while_others_join(api: Api) -> None:
    ids = [api.register().json()["id"] for _ in range(5)]
    seen: list[int] = []
    cursor = None
    while True:
        page = api.get("/users", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [profile["id"] for profile in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        if len(ids) < 7:
            ids.append(api.register().json()["id"])
    assert seen == ids


def test_an_altered_cursor_is_refused(api: Api) -> None:
    for _ in range(3):
        api.register()
    cursor = api.get("/users", params={"limit": 1}).json()["next_cursor"]
    for place in range(len(cursor)):
        altered = cursor[:place] + ("A" if cursor[place] != "A" else "B") + cursor[place + 1 :]
        answer = api.get("/users", params={"cursor": altered})
        assert answer.status_code == 422, altered
        assert answer.json()["type"] == "/errors/invalid-cursor"


def test_an_account_is_read_and_changed_by_its_person(api: Api) -> None:
    ada = api.person(display_name="Ada", phone_number="+493012345678")
    changed = api.patch(
        "/users/me", json={"display_name": "Countess", "phone_number": None}, headers=ada.auth
    )
    assert changed.status_code == 200
    assert changed.json()["display_name"] == "Countess"
    assert changed.json()["phone_number"] is None
    assert api.get("/users/me", headers=ada.auth).json() == changed.json()


@pytest.mark.parametrize("change", [{"password": "another password"}, {"email": "new@example.com"}])
def test_a_new_password_or_address_needs_the_old_password(api: Api, change: dict[str, str]) -> None:
    ada = api.person()
    assert api.patch("/users/me", json=change, headers=ada.auth).status_code == 403
    wrong = api.patch("/users/me", json={**change, "current_password": "wrong"}, headers=ada.auth)
    assert wrong.status_code == 403
    right = api.patch("/users/me", json={**change, "current_password": PASSWORD}, headers=ada.auth)
    assert right.status_code == 200
    email, password = change.get("email", ada.email), change.get("password", PASSWORD)
    assert api.login(email, password).status_code == 200


def test_a_new_password_ends_the_other_sessions_and_keeps_this_one(api: Api) -> None:
    ada = api.person()
    elsewhere = api.login(ada.email).json()
    change = {"password": "another password", "current_password": PASSWORD}
    assert api.patch("/users/me", json=change, headers=ada.auth).status_code == 200
    other = {"Authorization": f"Bearer {elsewhere['access_token']}"}
    assert api.get("/users/me", headers=other).status_code == 401
    refused = api.post("/login/refresh", data={"refresh_token": elsewhere["refresh_token"]})
    assert refused.status_code == 400
    assert api.get("/users/me", headers=ada.auth).status_code == 200
    assert api.login(ada.email).status_code == 400


def test_changing_to_a_taken_address_is_a_conflict(api: Api) -> None:
    api.register("ada@example.com")
    ben = api.person("ben@example.com")
    change = {"email": "ADA@example.com", "current_password": PASSWORD}
    assert api.patch("/users/me", json=change, headers=ben.auth).status_code == 409


def test_a_deleted_account_takes_its_posts_votes_and_sessions_along(api: Api) -> None:
    ada, ben = api.person(), api.person()
    with api.connect() as connection:
        connection.execute(
            "INSERT INTO posts (title, content, owner_id) VALUES ('t', 'c', %s), ('t', 'c', %s)",
            [ada.id, ben.id],
        )
        connection.execute("INSERT INTO votes (user_id, post_id) SELECT u.id, p.id FROM users u, posts p")
    assert api.delete_with_password("/users/me", ada.auth).status_code == 204
    with api.connect() as connection:
        left = connection.execute(
            "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM posts),"
            " (SELECT count(*) FROM votes), (SELECT count(*) FROM sessions WHERE user_id = %s)",
            [ada.id],
        ).fetchone()
    assert left == (1, 1, 1, 0)
    assert api.get("/users/me", headers=ada.auth).status_code == 401
    assert api.get("/users", headers=ada.auth).status_code == 401
    assert api.get(f"/users/{ada.id}").status_code == 404
    assert api.login(ada.email).status_code == 400


def test_the_export_has_all_of_a_persons_data_and_nobody_elses(api: Api) -> None:
    ada, ben = api.person(display_name="Ada"), api.person()
    with api.connect() as connection:
        connection.execute(
            "INSERT INTO posts (title, content, owner_id, published)"
            " VALUES ('mine', 'a draft', %s, FALSE), ('other', 'c', %s, TRUE)",
            [ada.id, ben.id],
        )
        connection.execute("INSERT INTO votes (user_id, post_id) SELECT u.id, p.id FROM users u, posts p")
    answer = api.get("/users/me/export", headers=ada.auth)
    assert answer.status_code == 200
    export = answer.json()
    assert export["account"] == api.get("/users/me", headers=ada.auth).json()
    assert [(post["title"], post["published"]) for post in export["posts"]] == [("mine", False)]
    assert len(export["votes"]) == 2
    assert len(export["sessions"]) == 1
    assert not [key for key in export["sessions"][0] if "hash" in key]


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"email": "nobody"}, "#/email"),
        ({"email": "a@b@example.com"}, "#/email"),
        ({"email": "nobody@folkmoot.invalid"}, "#/email"),
        ({"email": "a\x00@example.com"}, "#/email"),
        ({"email": None}, "#/email"),
        ({"password": "short"}, "#/password"),
        ({"password": "x" * 1025}, "#/password"),
        ({"password": 12345678}, "#/password"),
        ({"display_name": ""}, "#/display_name"),
        ({"display_name": "x" * 101}, "#/display_name"),
        ({"display_name": "a\x00b"}, "#/display_name"),
        ({"display_name": " \u00a0\u3000"}, "#/display_name"),
        ({"display_name": "\u200b\u200d\u2060\ufeff"}, "#/display_name"),
        ({"display_name": "\u3164\u2800"}, "#/display_name"),
        ({"display_name": "Ada\u202e nimda"}, "#/display_name"),
        ({"display_name": "Ada\u2066"}, "#/display_name"),
        ({"display_name": "Ada\u0085"}, "#/display_name"),
        ({"display_name": "Ada\u2028Ben"}, "#/display_name"),
        ({"phone_number": "030 12345"}, "#/phone_number"),
        ({"phone_number": "+999123456789"}, "#/phone_number"),
        ({"phone_number": "+1"}, "#/phone_number"),
        ({"emial": "x"}, "#/emial"),
    ],
)
def test_what_is_wrong_with_a_registration_is_named(api: Api, fields: dict[str, object], where: str) -> None:
    body = {"email": "ada@example.com", "password": PASSWORD, **fields}
    answer = api.post("/users", json=body)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [where]


@pytest.mark.parametrize(
    "name",
    [
        "Ada Lovelace",
        "\u0645\u06cc\u200c\u062e",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "a\u0301\u200f",
        "李",
    ],
)
def test_a_name_is_written_in_any_script(api: Api, name: str) -> None:
    assert api.register(display_name=name).json()["display_name"] == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/posts?limit=1&limit=2", "limit"),
        ("/posts?sort=new&limit=1&sort=new", "sort"),
        ("/posts?q=a&%71=b", "q"),
        ("/posts?owner=1&owner=", "owner"),
        ("/users?limit=1&cursor=a&cursor=b", "cursor"),
        ("/sessions?limit=1&limit=1", "limit"),
    ],
)
def test_a_parameter_is_given_once(api: Api, path: str, name: str) -> None:
    answer = api.get(path, headers=api.person().auth)
    assert answer.status_code == 422
    assert [(error["parameter"], error["in"]) for error in answer.json()["errors"]] == [(name, "query")]


def test_a_password_of_any_characters_is_accepted(api: Api) -> None:
    password = "пароль \x00 \N{GRINNING FACE}"
    api.register("ada@example.com", password=password)
    assert api.login("ada@example.com", password).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/users/0", 422),
        ("/users/-1", 422),
        ("/users/1.0", 422),
        ("/users/1_0", 422),
        ("/users/%201", 422),
        ("/users/9007199254740992", 422),
        ("/users/9007199254740991", 404),
        ("/users/2147483648", 404),
        ("/users/x", 422),
        ("/users/%00", 422),
        ("/users?limit=0", 422),
        ("/users?limit=101", 422),
        ("/users?limit=-1", 422),
        ("/users?limit=", 422),
        ("/users?limit=1&limit=x", 422),
        ("/users?cursor=%00", 422),
        ("/users?cursor=%ff%fe", 422),
        ("/users?cursor=" + "A" * 513, 422),
        ("/users?cursor=", 422),
    ],
)
def test_bad_parameters_are_refused(api: Api, path: str, status: int) -> None:
    answer = api.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_with_public_read_off_only_members_read(api: Api) -> None:
    ada = api.person()
    api.application.state.settings = (settings := api.application.state.settings).model_copy(
        update={"public_read": False}
    )
    try:
        answer = api.get("/users")
        assert answer.status_code == 401
        assert answer.json()["type"] == "/errors/login-required"
        assert api.get("/users", headers=ada.auth).status_code == 200
    finally:
        api.application.state.settings = settings


@pytest.mark.parametrize(
    ("password", "fields"),
    [
        ("password", {}),
        ("PassWord", {}),
        ("1234567890", {}),
        ("qwertyuiop", {}),
        ("Folkmoot2026!", {}),
        ("ada@example.com", {}),
        ("adalovelace", {"email": "adalovelace@example.com"}),
        ("Ada Lovelace 1815", {"display_name": "Ada Lovelace"}),
    ],
)
def test_a_password_that_is_guessed_first_is_refused(api: Api, password: str, fields: dict[str, str]) -> None:
    answer = api.register(**{"email": "ada@example.com", "password": password, **fields})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["#/password"]
    ben = api.person(**fields)
    change = {
        "password": password,
        "current_password": PASSWORD,
        **fields,
        "email": fields.get("email", "ada@example.com"),
    }
    assert api.patch("/users/me", json=change, headers=ben.auth).status_code == 422


@pytest.mark.parametrize("password", ["x" * 64, "aaaabaaa", " " * 8, "ein langer Satz ohne Zeichen"])
def test_a_password_needs_length_and_nothing_else(api: Api, password: str) -> None:
    api.register("ada@example.com", password=password)
    assert api.login("ada@example.com", password).status_code == 200


def test_the_list_of_common_passwords_has_the_three_thousand_that_count() -> None:
    assert len(COMMON) > 3000
    assert min(map(len, COMMON)) == 8

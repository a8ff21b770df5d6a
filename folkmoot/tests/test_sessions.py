from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import bcrypt
import pytest
from argon2 import PasswordHasher

from api import PASSWORD

if TYPE_CHECKING:
    import httpx

    from api import Api


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def refresh(api: Api, token: str) -> httpx.Response:
    return api.post("/login/refresh", data={"grant_type": "refresh_token", "refresh_token": token})


def test_a_login_answers_as_rfc_6749_has_it(api: Api) -> None:
    api.register("ada@example.com")
    answer = api.post(
        "/login", data={"grant_type": "password", "username": "ada@example.com", "password": PASSWORD}
    )
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    tokens = answer.json()
    assert tokens["token_type"] == "bearer"
    assert tokens["expires_in"] == 30 * 60
    assert api.get("/users/me", headers=bearer(tokens["access_token"])).json()["email"] == "ada@example.com"


@pytest.mark.parametrize("username", ["ada@example.com", "ADA@example.com", "Ada@Example.COM"])
def test_a_login_heeds_no_case_in_the_address(api: Api, username: str) -> None:
    api.register("Ada@example.com")
    assert api.login(username).status_code == 200


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("ada@example.com", "wrong"),
        ("nobody@example.com", PASSWORD),
        ("a\x00b", "x"),
        ("x" * 3000, "x" * 9000),
    ],
)
def test_wrong_credentials_are_an_invalid_grant(api: Api, username: str, password: str) -> None:
    api.register("ada@example.com")
    answer = api.login(username, password)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["error"] == "invalid_grant"
    assert answer.json()["detail"] == "The e-mail address or the password is wrong."


def test_an_account_that_nobody_can_log_in_to_is_refused_like_any_other(api: Api) -> None:
    with api.connect() as connection:
        connection.execute("INSERT INTO users (email, password) VALUES ('nobody@folkmoot.invalid', '!')")
    for password in ("!", PASSWORD):
        assert api.login("nobody@folkmoot.invalid", password).status_code == 400


def test_a_hash_with_outdated_parameters_is_replaced_on_login(api: Api) -> None:
    api.register("ada@example.com")
    with api.connect() as connection:
        before = connection.execute("SELECT password FROM users").fetchall()
        outdated = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1).hash(PASSWORD)
        connection.execute("UPDATE users SET password = %s", [outdated])
        assert api.login("ada@example.com").status_code == 200
        after = connection.execute("SELECT password FROM users").fetchall()
    assert before != after
    assert after[0][0].split("$")[3] == before[0][0].split("$")[3]
    assert api.login("ada@example.com").status_code == 200


@pytest.mark.parametrize("password", [PASSWORD, "x" * 72])
def test_a_bcrypt_hash_of_the_course_is_taken_and_replaced(api: Api, password: str) -> None:
    hashed = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(rounds=4)).decode()
    with api.connect() as connection:
        connection.execute("INSERT INTO users (email, password) VALUES ('ada@example.com', %s)", [hashed])
        assert api.login("ada@example.com", "wrong").status_code == 400
        assert api.login("ada@example.com", "nul \x00").status_code == 400
        assert api.login("ada@example.com", password).status_code == 200
        (kept,) = connection.execute("SELECT password FROM users").fetchone() or ("",)
    assert kept.startswith("$argon2id$")
    assert api.login("ada@example.com", password).status_code == 200


@pytest.mark.parametrize("hashed", ["$2b$", "$2b$04$short", "$2b$99$" + "x" * 53, "$argon2id$v=19$", ""])
def test_a_broken_hash_lets_nobody_in(api: Api, hashed: str) -> None:
    with api.connect() as connection:
        connection.execute("INSERT INTO users (email, password) VALUES ('ada@example.com', %s)", [hashed])
    assert api.login("ada@example.com").status_code == 400


def test_a_refresh_gives_new_tokens_of_the_same_session(api: Api) -> None:
    ada = api.person()
    answer = refresh(api, ada.tokens["refresh_token"])
    assert answer.status_code == 200
    assert answer.json()["refresh_token"] != ada.tokens["refresh_token"]
    assert api.get("/users/me", headers=bearer(answer.json()["access_token"])).status_code == 200
    assert len(api.get("/sessions", headers=ada.auth).json()["items"]) == 1


def test_a_refresh_also_takes_json(api: Api) -> None:
    ada = api.person()
    answer = api.post("/login/refresh", json={"refresh_token": ada.tokens["refresh_token"]})
    assert answer.status_code == 200


def test_a_refresh_token_used_twice_ends_its_session(api: Api) -> None:
    ada = api.person()
    second = refresh(api, ada.tokens["refresh_token"]).json()
    again = refresh(api, ada.tokens["refresh_token"])
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert api.get("/users/me", headers=bearer(second["access_token"])).status_code == 401
    assert refresh(api, second["refresh_token"]).status_code == 400


def test_of_refreshes_at_once_exactly_one_wins_and_the_session_ends(api: Api) -> None:
    ada = api.person()
    answers = api.at_once(*[lambda: refresh(api, ada.tokens["refresh_token"])] * 8)
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 7
    assert api.get("/users/me", headers=ada.auth).status_code == 401


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "1",
        "1.",
        "1..",
        "1.x.y",
        "0.x.y",
        "-1.x.y",
        "9223372036854775808.x.y",
        "1.\x00.\x00",
        "1.é.ü",
    ],
)
def test_a_made_up_refresh_token_is_refused_and_ends_nothing(api: Api, token: str) -> None:
    ada = api.person()
    assert refresh(api, token).status_code == 400
    assert api.get("/users/me", headers=ada.auth).status_code == 200


@pytest.mark.parametrize("charset", ["utf-8", "punycode", "unicode_escape", "idna", "undefined", "zlib"])
def test_a_form_of_several_parts_is_not_supported_in_any_charset(api: Api, charset: str) -> None:
    parts = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in (("username", "a" * 20_000), ("password", "\\ud800"), ("_charset_", charset))
    )
    kind = f"multipart/form-data; boundary=x; charset={charset}"
    for path in ("/login", "/login/refresh"):
        answer = api.post(path, content=f"{parts}--x--\r\n".encode(), headers={"Content-Type": kind})
        assert answer.status_code == 415, path


@pytest.mark.parametrize("charset", ["utf-16", "latin-1", "punycode", "idna", "undefined"])
def test_a_form_is_utf_8(api: Api, charset: str) -> None:
    kind = "application/x-www-form-urlencoded"
    headers = {"Content-Type": f"{kind}; charset={charset}"}
    assert api.post("/login", content=b"username=a&password=b", headers=headers).status_code == 415
    for body in (b"username=\xff&password=b", b"username=%ff&password=b", b"&a" * 30):
        assert api.post("/login", content=body, headers={"Content-Type": kind}).status_code == 400


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"refresh_token": 1}', b"[" * 60_000])
def test_a_broken_refresh_is_a_bad_request(api: Api, body: bytes) -> None:
    answer = api.post("/login/refresh", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400


def test_refresh_tokens_and_passwords_are_kept_as_hashes_only(api: Api) -> None:
    ada = api.person()
    secret = ada.tokens["refresh_token"].split(".")[2]
    with api.connect() as connection:
        rows = connection.execute("SELECT users::text, sessions::text FROM users, sessions").fetchall()
    assert rows
    assert PASSWORD not in str(rows)
    assert secret not in str(rows)


def test_a_logout_ends_the_session(api: Api) -> None:
    ada = api.person()
    assert api.post("/logout", headers=ada.auth).status_code == 204
    assert api.get("/users/me", headers=ada.auth).status_code == 401
    assert refresh(api, ada.tokens["refresh_token"]).status_code == 400


def test_sessions_are_listed_with_when_and_from_where(api: Api) -> None:
    ada = api.person()
    api.post(
        "/login",
        data={"username": ada.email, "password": PASSWORD},
        headers={"X-Forwarded-For": "2001:db8::7", "User-Agent": "a browser"},
    )
    page = api.get("/sessions", headers=ada.auth).json()
    new, mine = page["items"]
    assert (new["client"], new["user_agent"], new["current"]) == ("2001:db8::7", "a browser", False)
    assert (mine["client"], mine["current"]) == ("192.0.2.1", True)
    assert mine["created_at"] <= mine["last_used_at"] < mine["expires_at"]
    first = api.get("/sessions", params={"limit": 1}, headers=ada.auth).json()
    second = api.get(
        "/sessions", params={"limit": 1, "cursor": first["next_cursor"]}, headers=ada.auth
    ).json()
    assert first["items"] + second["items"] == page["items"]
    assert second["next_cursor"] is None


def test_the_last_use_of_a_session_is_noted_now_and_then(api: Api) -> None:
    ada = api.person()
    with api.connect() as connection:
        connection.execute("UPDATE sessions SET last_used_at = last_used_at - interval '1 hour'")
        (before,) = connection.execute("SELECT last_used_at FROM sessions").fetchone() or ()
        api.get("/users/me", headers=ada.auth)
        (noted,) = connection.execute("SELECT last_used_at FROM sessions").fetchone() or ()
        api.get("/users/me", headers=ada.auth)
        (after,) = connection.execute("SELECT last_used_at FROM sessions").fetchone() or ()
    assert noted - before >= timedelta(minutes=59)
    assert after == noted


def test_a_person_ends_one_session_or_all(api: Api) -> None:
    ada, ben = api.person(), api.person()
    other = api.login(ada.email).json()
    session = api.get("/sessions", headers=ada.auth).json()["items"][0]["id"]
    assert api.delete(f"/sessions/{session}", headers=ben.auth).status_code == 404
    assert api.delete(f"/sessions/{session}", headers=ada.auth).status_code == 204
    assert api.delete(f"/sessions/{session}", headers=ada.auth).status_code == 404
    assert api.get("/users/me", headers=bearer(other["access_token"])).status_code == 401
    assert api.get("/users/me", headers=ada.auth).status_code == 200
    assert api.delete_with_password("/sessions", ada.auth).status_code == 204
    assert api.get("/users/me", headers=ada.auth).status_code == 401
    assert api.get("/users/me", headers=ben.auth).status_code == 200


def test_an_expired_session_is_refused_whatever_its_token_says(api: Api) -> None:
    ada = api.person()
    with api.connect() as connection:
        connection.execute("UPDATE sessions SET expires_at = now() - interval '1 second'")
    assert api.get("/users/me", headers=ada.auth).status_code == 401
    assert refresh(api, ada.tokens["refresh_token"]).status_code == 400
    api.login(ada.email)
    with api.connect() as connection:
        assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (1,)


def test_a_session_ends_at_its_greatest_age_however_often_it_is_refreshed(api: Api) -> None:
    ada = api.person()
    with api.connect() as connection:
        connection.execute("UPDATE sessions SET created_at = now() - interval '89 days'")
        tokens = refresh(api, ada.tokens["refresh_token"]).json()
        assert connection.execute(
            "SELECT expires_at = created_at + interval '90 days' FROM sessions"
        ).fetchone() == (True,)
        connection.execute("UPDATE sessions SET created_at = now() - interval '90 days'")
    assert refresh(api, tokens["refresh_token"]).status_code == 400


def test_whoever_has_the_most_sessions_loses_the_oldest(api: Api) -> None:
    ada = api.person()
    most = api.application.state.settings.sessions_per_person
    logins = [partial(api.login, ada.email)] * most
    assert [answer.status_code for answer in api.at_once(*logins)] == [200] * most
    assert api.get("/users/me", headers=ada.auth).status_code == 401
    with api.connect() as connection:
        assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (most,)


@pytest.mark.parametrize("path", ["/sessions", "/users/me"])
def test_what_cannot_be_undone_asks_for_the_password_again(api: Api, path: str) -> None:
    ada = api.person()
    assert api.delete(path, headers=ada.auth).status_code == 403
    assert api.delete_with_password(path, ada.auth, "wrong").status_code == 403
    assert api.get("/users/me", headers=ada.auth).status_code == 200
    assert api.delete_with_password(path, ada.auth).status_code == 204
    assert api.get("/users/me", headers=ada.auth).status_code == 401

"""Access tokens: which are taken, and what whoever sends another is told."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from api import SECRET
from folkmoot.http.problems import TokenRefused
from folkmoot.people.tokens import Claims, Tokens

if TYPE_CHECKING:
    from api import Api, Person


def forged(ada: Person) -> dict[str, str]:
    """Tokens that must be refused, by what is wrong with them."""
    claims = jwt.decode(ada.tokens["access_token"], SECRET, ["HS256"], audience="folkmoot")
    later = int(time.time()) + 600

    def sign(key: str = SECRET, algorithm: str = "HS256", typ: str = "at+jwt", **changed: Any) -> str:
        made = {name: value for name, value in {**claims, **changed}.items() if value is not None}
        return jwt.encode(made, key, algorithm, headers={"typ": typ})

    unsigned = jwt.encode(claims, "", "none", headers={"typ": "at+jwt"})
    head, body, _ = ada.tokens["access_token"].split(".")
    return {
        "alg none": unsigned,
        "no signature": f"{head}.{body}.",
        "another key": sign("f" * 32),
        "another algorithm": sign(SECRET * 2, "HS512"),
        "expired": sign(exp=int(time.time()) - 1),
        "no expiry": sign(exp=None),
        "expiry of another type": sign(exp="soon"),
        "no subject": sign(sub=None),
        "subject that is no number": sign(sub="ada"),
        "subject beyond bigint": sign(sub="9223372036854775808"),
        "negative subject": sign(sub="-1"),
        "subject in other digits": sign(sub="\N{ARABIC-INDIC DIGIT ONE}"),
        "somebody else": sign(sub=str(ada.id + 1)),
        "no session": sign(sid=None),
        "session of another type": sign(sid=str(claims["sid"])),
        "session true": sign(sid=True),
        "session beyond bigint": sign(sid=2**63),
        "unknown session": sign(sid=claims["sid"] + 1),
        "not yet": sign(nbf=later),
        "expires now": sign(exp=int(time.time())),
        "another type": sign(typ="JWT"),
        "for somebody else": sign(aud="elsewhere"),
        "for nobody": sign(aud=None),
        "by somebody else": sign(iss="elsewhere"),
        "by nobody": sign(iss=None),
        "rubbish": "rubbish",
        "empty": "",
        "three dots": "...",
        "not base64": "é.é.é",
        "deep": "a" * 5000,
    }


FORGERIES = [
    "alg none", "no signature", "another key", "another algorithm", "expired", "no expiry",
    "expiry of another type", "no subject", "subject that is no number", "subject beyond bigint",
    "negative subject", "subject in other digits", "somebody else", "no session", "session of another type",
    "session true", "session beyond bigint", "unknown session", "not yet", "expires now", "another type",
    "for somebody else", "for nobody", "by somebody else", "by nobody", "rubbish", "empty", "three dots",
    "not base64", "deep",
]  # fmt: skip


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_token_that_is_not_in_order_is_refused_on_reads_and_writes(api: Api, forgery: str) -> None:
    ada = api.person()
    header = {"Authorization": f"Bearer {forged(ada)[forgery]}".encode()}
    for method, path in (
        ("GET", "/users"),
        ("GET", "/users/me"),
        ("POST", "/logout"),
        ("DELETE", "/users/me"),
    ):
        answer = api.request(method, path, headers=header)
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"].startswith('Bearer realm="folkmoot", error="invalid_token"')
        assert answer.json()["type"] == "/errors/token-refused"


def test_without_a_token_the_challenge_names_no_error(api: Api) -> None:
    for headers in ({}, {"Authorization": "Basic YTpi"}):
        answer = api.get("/users/me", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="folkmoot"'
        assert api.get("/users", headers=headers).status_code == 200


def test_the_scheme_is_read_without_regard_to_case(api: Api) -> None:
    ada = api.person()
    header = {"Authorization": f"bEARER  {ada.tokens['access_token']}"}
    assert api.get("/users/me", headers=header).status_code == 200


def test_a_token_holds_no_more_than_its_lifetime() -> None:
    tokens = Tokens(SECRET, timedelta(minutes=5))
    claims = jwt.decode(tokens.write(1, 2), SECRET, ["HS256"], audience="folkmoot")
    assert claims["exp"] - claims["iat"] == 300


def test_a_token_from_a_clock_that_is_ahead_is_accepted(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another machine, or of this one before it was set back."""
    ada = api.person()
    claims = api.application.state.tokens.read(ada.tokens["access_token"])
    with monkeypatch.context() as ahead:
        now = time.time()
        ahead.setattr(time, "time", lambda: now + 60)
        token = api.application.state.tokens.write(claims.user_id, claims.session_id)
    assert api.get("/users/me", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_a_token_signed_with_the_key_before_is_accepted_while_that_is_set() -> None:
    before, now = "b" * 32, "n" * 32
    old, new = Tokens(before, timedelta(minutes=5)), Tokens(now, timedelta(minutes=5), before)
    assert new.read(old.write(1, 2)) == Claims(1, 2)
    assert new.read(new.write(1, 2)) == Claims(1, 2)
    for tokens, token in ((old, new.write(1, 2)), (Tokens(now, timedelta(minutes=5)), old.write(1, 2))):
        with pytest.raises(TokenRefused):
            tokens.read(token)


def test_the_secrets_of_a_refresh_token_are_long_and_no_two_alike(api: Api) -> None:
    ada = api.person()
    tokens = [ada.tokens, *(api.login(ada.email).json() for _ in range(3))]
    families, secrets = zip(*(each["refresh_token"].split(".")[1:] for each in tokens), strict=True)
    assert (len(set(families)), len(set(secrets))) == (4, 4)
    # In base64url, 128 and 256 bits.
    assert {len(each) for each in families} == {22}
    assert {len(each) for each in secrets} == {43}

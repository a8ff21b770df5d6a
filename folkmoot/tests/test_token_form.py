"""The form of a token request: what is taken, and its errors as RFC 6749, 5.2 has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from api import Api


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"username": "ada@example.com"}, "invalid_request"),
        ({"username": "", "password": ""}, "invalid_request"),
        ({"username": ["a", "b"], "password": "x"}, "invalid_request"),
        ({"username": "a", "password": ["x", "x"]}, "invalid_request"),
        ({"username": "a", "password": "x", "scope": ["a", "b"]}, "invalid_request"),
        ({"username": "a", "password": "x", "grant_type": ["password"] * 2}, "invalid_request"),
        ({"username": "a", "password": "x", "grant_type": "", "more": ["a", "b"]}, "invalid_grant"),
        ({"username": "a", "password": "x", "grant_type": "implicit"}, "unsupported_grant_type"),
    ],
)
def test_a_wrong_form_is_told_as_rfc_6749_has_it(api: Api, form: dict[str, Any], error: str) -> None:
    answer = api.post("/login", data=form, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_a_login_takes_no_json(api: Api) -> None:
    assert api.post("/login", json={"username": "a", "password": "b"}).status_code == 415

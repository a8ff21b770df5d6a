"""Who asks: a token whose session has ended opens no route, and no route can forget to look it up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fastapi.routing import APIRoute

from folkmoot.people.caller import Anonymous, Bearer
from folkmoot.people.tokens import Claims
from folkmoot.postgres.statement import Statement

if TYPE_CHECKING:
    from fastapi.dependencies.models import Dependant

    from api import Api

POST = {"title": "A bench", "content": "Who would help?"}
#: Every operation that heeds a token, with a body that it takes.
OPERATIONS: list[tuple[str, str, dict[str, Any] | None]] = [
    ("GET", "/posts", None),
    ("GET", "/posts?q=bench", None),
    ("GET", "/posts?q=bench&sort=top", None),
    ("GET", "/posts?sort=hot&owner=1", None),
    ("POST", "/posts", POST),
    ("GET", "/posts/1", None),
    ("PUT", "/posts/1", POST),
    ("PATCH", "/posts/1", {}),
    ("DELETE", "/posts/1", None),
    ("PUT", "/posts/1/vote", None),
    ("DELETE", "/posts/1/vote", None),
    ("POST", "/vote", {"post_id": 1, "dir": 1}),
    ("GET", "/posts/1/comments", None),
    ("POST", "/posts/1/comments", {"content": "Said"}),
    ("GET", "/posts/1/comments/1", None),
    ("PATCH", "/posts/1/comments/1", {"content": "Said"}),
    ("DELETE", "/posts/1/comments/1", None),
    ("PUT", "/posts/1/comments/1/vote", None),
    ("DELETE", "/posts/1/comments/1/vote", None),
    ("GET", "/users", None),
    ("GET", "/users/1", None),
    ("GET", "/users/me", None),
    ("PATCH", "/users/me", {"display_name": "Ada"}),
    ("DELETE", "/users/me", None),
    ("GET", "/users/me/export", None),
    ("POST", "/email-verifications", None),
    ("PUT", "/posts/1/removal", {"reason": "why"}),
    ("DELETE", "/posts/1/removal", None),
    ("PUT", "/posts/1/report", {"reason": "why"}),
    ("DELETE", "/posts/1/reports", None),
    ("PUT", "/posts/1/comments/1/removal", {"reason": "why"}),
    ("DELETE", "/posts/1/comments/1/removal", None),
    ("PUT", "/posts/1/comments/1/report", {"reason": "why"}),
    ("DELETE", "/posts/1/comments/1/reports", None),
    ("PUT", "/users/1/block", {"reason": "why"}),
    ("DELETE", "/users/1/block", None),
    ("GET", "/reports", None),
    ("GET", "/moderation-log", None),
    ("POST", "/logout", None),
    ("GET", "/sessions", None),
    ("DELETE", "/sessions", None),
    ("DELETE", "/sessions/1", None),
]


@pytest.mark.parametrize(("method", "path", "body"), OPERATIONS)
@pytest.mark.parametrize("posts", [1, 0])
def test_a_session_that_has_ended_opens_no_route(
    api: Api, method: str, path: str, body: dict[str, Any] | None, posts: int
) -> None:
    ada, bob = api.person(), api.person()
    for _ in range(posts):
        assert api.post("/posts", json=POST, headers=bob.auth).status_code == 201
    with api.connect() as connection:
        connection.execute("DELETE FROM sessions WHERE user_id = %s", (ada.id,))
    answer = api.request(method, path, headers=ada.auth, **({} if body is None else {"json": body}))
    assert answer.status_code == 401
    assert answer.json()["type"] == "/errors/token-refused"
    assert api.get("/users/me", headers=bob.auth).status_code == 200


def test_these_are_all_the_operations_that_heed_a_token(api: Api) -> None:
    paths: dict[str, dict[str, Any]] = api.get("/openapi.json").json()["paths"]
    heeding = {
        (method.upper(), path)
        for path, operations in paths.items()
        for method, operation in operations.items()
        if "security" in operation
    }
    templates = {"/posts/1": "/posts/{post_id}", "/posts/1/vote": "/posts/{post_id}/vote"}
    templates |= {
        f"/posts/1/{part}": f"/posts/{{post_id}}/{part}"
        for part in ("removal", "report", "reports", "comments")
    }
    comment = "/posts/{post_id}/comments/{comment_id}"
    templates |= {"/posts/1/comments/1": comment}
    templates |= {
        f"/posts/1/comments/1/{part}": f"{comment}/{part}"
        for part in ("vote", "removal", "report", "reports")
    }
    templates |= {
        "/users/1/block": "/users/{id}/block",
        "/users/1": "/users/{id}",
        "/sessions/1": "/sessions/{id}",
    }
    tried = ((method, path.partition("?")[0]) for method, path, _ in OPERATIONS)
    assert heeding == {(method, templates.get(path, path)) for method, path in tried}


def test_no_route_has_a_connection_beside_a_caller_whose_session_was_not_looked_up(api: Api) -> None:
    def results(dependant: Dependant) -> list[str]:
        found = [str(getattr(dependant.call, "__annotations__", {}).get("return", ""))]
        found += [str(getattr(type(dependant.call).__call__, "__annotations__", {}).get("return", ""))]
        return found + [result for inner in dependant.dependencies for result in results(inner)]

    given = {
        route.path: " ".join(results(route.dependant))
        for route in api.application.routes
        if isinstance(route, APIRoute)
    }
    assert "Bearer" in given["/posts/{post_id}/vote"]
    assert "Connection" in given["/logout"]
    assert [path for path, found in given.items() if "Bearer" in found and "Connection" in found] == []


def test_a_bearer_does_not_say_who_it_is() -> None:
    # A route that could read the id before the look-up could write with a connection of its own.
    public = {name for name in dir(Bearer) if not name.startswith("_")}
    assert public == {"ask", "check", "count", "known", "transaction"}
    assert {name for name in dir(Anonymous) if not name.startswith("_")} == {"ask", "count", "known"}


def test_a_statement_that_looks_no_session_up_cannot_be_asked(api: Api) -> None:
    ada = api.person()
    session = api.application.state.tokens.read(ada.tokens["access_token"]).session_id
    bearer = Bearer(api.application.state.pool, Claims(ada.id, session))
    forgetful = Statement("SELECT id, CAST(:person AS bigint) FROM users")
    with pytest.raises(KeyError, match="noted"):
        api.run(bearer.ask, forgetful)


def test_the_parameters_of_a_statement_are_named() -> None:
    statement = Statement("SELECT :b, CAST(:a AS int), :b, '%', x::text")
    assert statement.sql == "SELECT $1, CAST($2 AS int), $1, '%', x::text"
    assert statement.arguments({"a": 1, "b": 2, "c": 3}) == [2, 1]
    with pytest.raises(KeyError, match="'b'"):
        statement.arguments({"a": 1})

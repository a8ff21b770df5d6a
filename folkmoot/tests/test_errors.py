from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from starlette.responses import Response

from api import PASSWORD, Api
from folkmoot.http.answering import SQLSTATES, from_exception, from_sqlstate, pointer
from folkmoot.http.logs import configure
from folkmoot.http.middleware import Envelope
from folkmoot.http.problems import KINDS, InternalError, Unavailable

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from testing.cluster import Cluster

DOCUMENT = Path(__file__).parents[2] / "docs" / "errors.md"
GOOD = {"email": "ada@example.com", "password": PASSWORD}


def is_problem(answer: Any, status: int) -> bool:
    body = answer.json()
    return (
        answer.status_code == status
        and answer.headers["content-type"] == "application/problem+json"
        and body["status"] == status
        and body["type"].removeprefix("/errors/") in KINDS
        and bool(body["title"])
        and bool(body["detail"])
    )


def test_the_document_lists_every_kind_as_the_code_has_it() -> None:
    rows = [line.split(" | ") for line in DOCUMENT.read_text().splitlines() if line.startswith("| `/errors/")]
    documented = [(row[0].strip("| `"), int(row[1]), row[2], row[3].rstrip(" |")) for row in rows]
    in_code = sorted(KINDS.values(), key=lambda kind: (kind.status, kind.kind))
    assert documented == [
        (f"/errors/{kind.kind}", kind.status, kind.title, kind.explanation()) for kind in in_code
    ]


def test_the_document_lists_every_sqlstate_as_the_code_has_it() -> None:
    rows = [
        line.split(" | ") for line in DOCUMENT.read_text().splitlines() if line.startswith("| SQLSTATE `")
    ]
    documented = {row[0].removeprefix("| SQLSTATE ").strip("`"): row[1].strip("`") for row in rows}
    assert documented == {
        code + ("" if len(code) == 5 else "…"): kind.kind for code, (kind, _) in SQLSTATES.items()
    }


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_type_of_a_problem_can_be_read_where_it_points(api: Api, kind: str) -> None:
    answer = api.get(f"/errors/{kind}")
    assert answer.status_code == 200
    assert answer.json()["status"] == KINDS[kind].status


def test_an_unknown_kind_is_not_found(api: Api) -> None:
    assert is_problem(api.get("/errors/unheard-of"), 404)


@pytest.mark.parametrize("path", ["/nowhere", "/users/1/2", "/users//", "/%00", "/%ff", "/\N{SNOWMAN}"])
def test_an_unknown_path_is_not_found(api: Api, path: str) -> None:
    assert is_problem(api.get(path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/users", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/users/me", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("DELETE", "/login", "GET, HEAD, OPTIONS, POST"),
        ("TRACE", "/users", "GET, HEAD, OPTIONS, POST"),
        ("QUERY", "/healthz", "GET, HEAD, OPTIONS"),
        ("HEAD", "/vote", "OPTIONS, POST"),
        ("PATCH", "/sessions/", "DELETE, GET, HEAD, OPTIONS"),
    ],
)
def test_a_method_that_a_path_does_not_answer_is_told_those_it_does(
    api: Api, method: str, path: str, allowed: str
) -> None:
    answer = api.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed


def test_options_tells_the_methods(api: Api) -> None:
    answer = api.request("OPTIONS", "/users")
    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    assert is_problem(api.request("OPTIONS", "/nowhere"), 404)


def test_head_answers_as_get_without_the_body(api: Api) -> None:
    head, get = api.request("HEAD", "/users"), api.get("/users")
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize("path", ["/users", "/healthz", "/users/me", "/sessions", "/users/99", "/vote"])
def test_a_path_answers_the_same_with_a_trailing_slash(api: Api, path: str) -> None:
    plain, slashed = api.get(path), api.get(path + "/")
    assert (plain.status_code, plain.text) == (slashed.status_code, slashed.text)
    assert slashed.status_code < 300 or slashed.status_code >= 400


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"", b"nonsense", b'{"email": "a@example.com",}', b'"\xff"', b"\xff\xfe", b"[" * 60_000,
        b'{"email": ' + b"9" * 5000 + b"}", b'{"a": "\\ud800"', b"\x00",
        b"NaN", b"-Infinity", b'{"email": NaN}', b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"), "{}".encode("utf-32-le"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_json_is_malformed(api: Api, body: bytes) -> None:
    answer = api.post("/users", content=body, headers={"Content-Type": "application/json"})
    assert is_problem(answer, 400 if body else 422)


@pytest.mark.parametrize(
    "body",
    [
        "null", "[]", "1", '"x"', "true", "-1e999", "{}",
        '{"email": ["a@example.com"], "password": {}}',
        '{"email": "\\ud800@example.com", "password": "12345678"}',
        '{"email": "a@example.com", "password": "\\udfff12345678"}', '{"email": true, "password": false}',
        '{"\\ud800": 1}', '{"email": "", "password": ""}', '{"email": 1e400, "password": -0}',
        '{"email": "a@example.com", "password": 99999999999999999999999}',
    ],
)  # fmt: skip
def test_json_of_another_shape_is_invalid(api: Api, body: str) -> None:
    answer = api.post("/users", content=body.encode(), headers={"Content-Type": "application/json"})
    assert is_problem(answer, 422)
    assert answer.json()["errors"]


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/xml", "image/png", None, "application/jsonx", ";"]
)
def test_a_body_of_another_media_type_is_not_supported(api: Api, media_type: str | None) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    answer = api.post("/users", content=json.dumps(GOOD).encode(), headers=headers)
    assert is_problem(answer, 415)


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "APPLICATION/JSON"])
def test_json_by_another_name_is_read(api: Api, media_type: str) -> None:
    headers = {"Content-Type": media_type}
    assert api.post("/users", content=json.dumps(GOOD).encode(), headers=headers).status_code == 201


def test_a_body_over_the_limit_of_its_route_is_too_large(api: Api) -> None:
    headers = {"Content-Type": "application/json"}
    padded = json.dumps(GOOD).encode().ljust(64 * 1024)
    assert api.post("/users", content=padded, headers=headers).status_code == 201
    assert is_problem(api.post("/users", content=padded + b" ", headers=headers), 413)
    headers |= api.person().auth
    post = json.dumps({"title": "a", "content": "\u0300" * 40_000}).encode().ljust(512 * 1024)
    assert api.post("/posts", content=post, headers=headers).status_code == 201
    assert is_problem(api.post("/posts", content=post + b" ", headers=headers), 413)


def test_an_address_or_headers_that_are_too_long_are_refused(api: Api) -> None:
    assert is_problem(api.get("/posts?q=" + "a" * 17_000), 414)
    assert is_problem(api.get("/posts", headers={"Cookie": "a" * 33_000}), 431)


def test_json_in_another_charset_is_not_supported(api: Api) -> None:
    for charset in ("utf-16", "latin-1", "idna", "punycode", "undefined", "unicode_escape"):
        headers = {"Content-Type": f"application/json; charset={charset}"}
        assert is_problem(api.post("/users", content=json.dumps(GOOD).encode(), headers=headers), 415)


def test_at_most_twenty_errors_are_listed_and_the_others_counted(api: Api) -> None:
    answer = api.post("/users", json={f"member{n}": n for n in range(80)})
    assert len(answer.json()["errors"]) == 20
    assert (
        answer.json()["detail"]
        == "82 values are not acceptable: see errors, and 62 more that are not listed."
    )
    answer = api.post("/users", json={f"m{n}": 0 for n in range(5_000)})
    many = "Object has 5000 members; no more than 100 are read"
    assert answer.json()["errors"] == [{"pointer": "#", "detail": many}]


def test_an_answer_is_kept_nowhere_and_shown_in_no_page_unless_its_route_says_otherwise(api: Api) -> None:
    ada = api.person()
    for path in ("/sessions", "/users/me", "/users/me/export", "/users", "/healthz", "/nowhere"):
        headers = api.get(path, headers=ada.auth).headers
        assert headers["cache-control"] == "no-store", path
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
        assert "strict-transport-security" not in headers
    assert api.register().headers["cache-control"] == "no-store"
    assert api.get("/posts", headers=ada.auth).headers["cache-control"] == "private, no-cache"
    assert api.get("/posts", headers={"X-Forwarded-Proto": "https"}).headers["strict-transport-security"]


def test_a_preflight_has_a_request_id_and_a_line_in_the_log(
    cluster18: Cluster, migrated: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Api(cluster18, migrated, cors_origins="https://example.org", log_level="info") as api:
        asked = {"Origin": "https://example.org", "Access-Control-Request-Method": "PATCH"}
        for origin in ("https://example.org", "https://evil.example"):
            answer = api.request("OPTIONS", "/users/me", headers={**asked, "Origin": origin})
            assert answer.headers["x-request-id"] in capsys.readouterr().err


def test_a_request_id_is_given_or_taken_over_if_it_is_sane(api: Api) -> None:
    first, second = api.get("/healthz"), api.get("/nowhere")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert api.get("/healthz", headers={"X-Request-ID": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    for insane in ("a b", "x" * 65, "{}", ""):
        given = api.get("/healthz", headers={"X-Request-ID": insane}).headers["x-request-id"]
        assert given
        assert given != insane


def test_what_is_logged_within_a_request_carries_its_id(capsys: pytest.CaptureFixture[str]) -> None:
    library = logging.getLogger("a library")

    async def application(scope: Scope, _receive: Receive, send: Send) -> None:
        library.warning(scope["path"])
        await Response()(scope, _receive, send)

    async def request(path: str, request_id: bytes) -> None:
        headers = [(b"x-request-id", request_id)]
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "headers": headers,
            "client": None,
            "scheme": "http",
        }
        await Envelope(application)(scope, nothing, nothing)

    async def nothing(*_: object) -> Any: ...

    async def requests() -> None:
        await asyncio.gather(request("/a", b"1"), request("/b", b"2"))
        library.warning("between requests")

    configure("warning")
    asyncio.run(requests())
    log = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    ids = {line["event"]: line.get("request_id") for line in log}
    assert ids.items() >= {"/a": "1", "/b": "2", "between requests": None}.items()


def test_pointers_are_escaped_as_rfc_6901_has_it() -> None:
    assert pointer(["a/b", "m~n", 0, " \ud800"]) == "#/a~1b/m~0n/0/%20%3F"


@pytest.mark.parametrize(
    ("sqlstate", "status"),
    [
        ("08006", 503), ("22021", 422), ("22003", 422), ("23502", 422), ("23503", 409), ("23505", 409),
        ("23514", 422), ("25006", 503), ("40001", 503), ("40P01", 503), ("53300", 503), ("55P03", 503),
        ("57014", 503), ("57P01", 503), ("57P03", 503),
    ],
)  # fmt: skip
def test_a_database_error_is_told_by_its_sqlstate(sqlstate: str, status: int) -> None:
    problem = from_sqlstate(sqlstate)
    assert problem is not None
    assert problem.status == status


def test_what_the_program_got_wrong_is_an_internal_error_that_tells_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for error in (asyncpg.UndefinedColumnError("column secret"), KeyError("secret"), RecursionError()):
        problem = from_exception(error)
        assert isinstance(problem, InternalError)
        assert "secret" not in json.dumps(problem.body())
    assert "secret" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        asyncpg.InterfaceError("closed"),
        TimeoutError(),
        asyncpg.AdminShutdownError("x"),
    ],
)
def test_a_database_that_is_away_is_told_as_unavailable(error: Exception) -> None:
    problem = from_exception(error)
    assert isinstance(problem, Unavailable)
    assert (problem.headers or {})["Retry-After"]


def test_while_the_database_is_away_everything_answers_503_and_afterwards_as_before(
    cluster18: Cluster, migrated: str
) -> None:
    name = cluster18.create_database(template=migrated)
    with Api(cluster18, name) as api, cluster18.connect() as admin:
        ada = api.person()
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        for answer in (
            api.get("/users", headers=ada.auth), api.register(), api.login(ada.email), api.get("/readyz"),
        ):  # fmt: skip
            assert is_problem(answer, 503)
            assert "retry-after" in answer.headers
        assert api.get("/healthz").status_code == 200
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert api.get("/users/me", headers=ada.auth).status_code == 200


def test_cors_is_off_unless_it_is_set(api: Api) -> None:
    answer = api.get("/users", headers={"Origin": "https://example.org"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_cors_admits_the_origins_that_are_set_and_never_credentials(
    cluster18: Cluster, migrated: str
) -> None:
    with Api(cluster18, migrated, cors_origins="https://example.org, https://example.net") as api:
        preflight = {
            "Access-Control-Request-Method": "PATCH",
            "Access-Control-Request-Headers": "authorization",
        }
        for origin, admitted in (("https://example.org", True), ("https://evil.example", False)):
            allowed = api.get("/nowhere", headers={"Origin": origin}).headers
            assert (allowed.get("access-control-allow-origin") == origin) is admitted
            asked = api.request("OPTIONS", "/users/me", headers={"Origin": origin, **preflight})
            assert (asked.headers.get("access-control-allow-origin") == origin) is admitted
            assert "access-control-allow-credentials" not in {*allowed, *asked.headers}

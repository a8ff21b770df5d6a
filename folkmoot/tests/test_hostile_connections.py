"""Nothing of the service is held while a client is waited for, and a client's fault is the client's."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest

from api import Api
from folkmoot.http import middleware, routes
from folkmoot.postgres import pool
from hostile import FORM, JSON, Operation, Server, operations, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from socket import socket

    from testing.cluster import Cluster

#: The connections of the pool that all of this shares.
POOL_SIZE = 2
_CONNECTIONS = """
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'posts'::regclass"


class Logged(Server):
    """The service, and what it writes into its log."""

    log: Path
    database: str

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def server(cluster18: Cluster, migrated: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    log = tmp_path_factory.mktemp("hostile") / "log"
    database = cluster18.create_database(template=migrated)
    with serve(cluster18.url(database), log, DATABASE_POOL_SIZE=str(POOL_SIZE)) as served:
        served.__class__ = Logged
        assert isinstance(served, Logged)
        served.log, served.database = log, database
        yield served


@pytest.fixture(scope="module")
def every(server: Logged) -> list[Operation]:
    return operations(json.loads(server.ask("GET", "/openapi.json").body))


def head(operation: Operation, server: Server, *lines: str, media_type: str | None = None) -> bytes:
    """The head of a request by somebody who is logged in."""
    kind = media_type or next(iter(operation.bodies), JSON)
    headers = {**server.auth(), "Host": "x", "Content-Type": kind}
    listed = [*lines, *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([f"{operation.method} {operation.target()} HTTP/1.1", *listed, "", ""]).encode()


def answered(opened: socket) -> int | None:
    """The status that comes on a connection; None where it is closed without one."""
    try:
        found = opened.recv(12)
    except ConnectionResetError:
        return None
    return int(found[9:12]) if found else None


def test_a_worker_has_its_connections_before_anybody_comes(server: Logged, cluster18: Cluster) -> None:
    with cluster18.connect(server.database) as connection:
        found = connection.execute(_CONNECTIONS).fetchone()
    assert found == (POOL_SIZE,)


def test_no_route_holds_a_connection_of_the_pool_while_its_body_comes_in(
    server: Logged, every: list[Operation]
) -> None:
    with ExitStack() as stack:
        for operation in every:
            if operation.bodies:
                for _ in range(POOL_SIZE + 1):
                    sent = head(operation, server, "Content-Length: 100") + b"{"
                    stack.enter_context(closing(server.open(sent)))
        # All of them are being served: this one was sent after them, and waits for nobody.
        assert server.ask("GET", "/posts").status == 200
        assert server.connections_in_use() == 0


def test_no_answer_that_is_not_read_holds_a_connection_of_the_pool(
    server: Logged, every: list[Operation]
) -> None:
    for number in range(40):
        assert (
            server.ask("POST", "/posts", server.auth(), title=f"{number}", content="\u0001" * 40_000).status
            == 201
        )
    with ExitStack() as stack:
        for operation in every:
            if operation.method == "GET":
                for _ in range(POOL_SIZE + 1):
                    sent = head(operation, server)
                    stack.enter_context(closing(server.open(sent, receive_buffer=4096)))
        assert server.ask("GET", "/posts?limit=1").status == 200
        deadline = time.monotonic() + 20
        while server.connections_in_use():  # a page of an export is being read
            assert time.monotonic() < deadline


def test_an_export_that_is_read_slowly_is_whole(server: Logged) -> None:
    exported = json.loads(server.ask("GET", "/users/me/export", server.auth()).body)
    assert len(exported["posts"]) == 40
    assert [post["title"] for post in exported["posts"]] == [str(number) for number in range(40)]


def test_exports_at_once_hold_one_connection_of_the_pool_together(
    cluster18: Cluster, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "ACQUIRE_SECONDS", 0.5)
    database = cluster18.create_database(template=migrated)
    with Api(cluster18, database, database_pool_size=POOL_SIZE) as api, ThreadPoolExecutor(3) as threads:
        people = [api.person() for _ in range(3)]
        with api.connect() as watching, cluster18.connect(database, autocommit=False) as locking:
            locking.execute("LOCK TABLE posts IN ACCESS EXCLUSIVE MODE")
            exports = [threads.submit(api.get, "/users/me/export", headers=ada.auth) for ada in people]
            deadline = time.monotonic() + 20
            while watching.execute(_WAITING).fetchone() == (0,):
                assert time.monotonic() < deadline
            assert [api.get("/users").status_code for _ in range(20)] == [200] * 20
            locking.rollback()
        assert [len(each.result().json()["sessions"]) for each in exports] == [1] * 3


@pytest.mark.parametrize(
    ("framing", "sent"),
    [
        ("Transfer-Encoding: chunked", b"5\r\nhello\r\nZZ\r\n"),
        ("Transfer-Encoding: chunked", b"5\r\nhel"),
        ("Transfer-Encoding: chunked", b"fffffffffffffffff\r\n"),
        ("Content-Length: 100", b'{"email":'),
    ],
    ids=["no chunk", "half a chunk", "a chunk too long", "half a body"],
)
def test_a_client_that_breaks_its_body_or_goes_away_is_logged_once_and_is_no_error(
    server: Logged, every: list[Operation], framing: str, sent: bytes
) -> None:
    for operation in every:
        if not operation.bodies:
            continue
        before = len(server.log.read_text())
        opened = server.open(head(operation, server, framing) + sent)
        # As soon as nothing more can come, it is refused; where more could, it goes away.
        opened.shutdown(1)
        status = answered(opened)
        opened.close()
        server.ask("GET", "/healthz")
        assert status in {400, None}, operation
        said = server.log.read_text()[before:]
        assert "Traceback" not in said, said
        lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        mine = [
            line
            for line in lines
            if line.get("path") == operation.target() and line["method"] == operation.method
        ]
        assert [(line["level"], line["status"]) for line in mine] in ([("info", 400)], []), said


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("GET /healthz HTTP/1.1", 400),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b", 400),
        ("GET /healthz HTTP/1.0", 200),
        ("GET http://a/healthz HTTP/1.1\r\nHost: a", 200),
    ],
)
def test_a_request_names_one_host(server: Logged, sent: str, status: int) -> None:
    with closing(server.open(f"{sent}\r\n\r\n".encode())) as opened:
        answer = opened.recv(4096)
    assert int(answer[9:12]) == status
    assert (b"/errors/malformed-request" in answer) == (status == 400)


@pytest.mark.parametrize(
    "sent",
    [
        "GET /healthz HTTP/1.2\r\nHost: a", "G@T /healthz HTTP/1.1\r\nHost: a",
        "GET /a b HTTP/1.1\r\nHost: a", "GET /healthz HTTP/1.1\r\nHost: a\r\nX: \0",
        "GET /healthz HTTP/1.1\r\nHost : a", "GET /healthz HTTP/1.1\r\nHost: a\r\n folded",
        "POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1",
        "POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2",
        "POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: -1",
        "POST /login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity",
        "POST /login HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked", "\x16\x03\x01\x02",
    ],
)  # fmt: skip
def test_what_is_not_http_is_refused_and_nothing_after_it_is_read(server: Logged, sent: str) -> None:
    after = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    with closing(server.open(f"{sent}\r\n\r\n{after}".encode())) as opened:
        answer = b""
        while received := opened.recv(4096):
            answer += received
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "codings", ["gzip, chunked", "chunked, chunked", "chunked\r\nTransfer-Encoding: chunked"]
)
def test_no_other_coding_than_chunked_is_taken_for_one(server: Logged, codings: str) -> None:
    head = f"POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: {FORM}\r\nTransfer-Encoding: {codings}"
    with closing(server.open(f"{head}\r\n\r\n1\r\na\r\n0\r\n\r\n".encode())) as opened:
        answer = opened.recv(4096)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Transfer-Encoding" in answer


def test_a_length_and_chunks_at_once_end_the_connection(server: Logged) -> None:
    smuggled = "0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    head = "POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    with closing(server.open((head + smuggled).encode())) as opened:
        answer = b""
        while received := opened.recv(4096):
            answer += received
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_body_that_takes_too_long_is_a_408(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "BODY_SECONDS", 0.05)

    async def never_ends() -> Any:
        yield b'{"email":'
        await asyncio.Event().wait()

    for path, kind in (("/users", JSON), ("/login", FORM), ("/login/refresh", FORM), ("/posts", JSON)):
        answer = api.post(path, content=never_ends(), headers={"Content-Type": kind})
        assert answer.status_code == 408, path
        assert answer.json()["type"] == "/errors/request-timeout"


def test_an_answer_that_nobody_reads_is_given_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "ANSWER_SECONDS", 0.05)
    ada = api.person()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def receive() -> Any:
        await asyncio.Event().wait()

    scope = {
        "type": "http", "method": "GET", "path": "/users/me/export", "query_string": b"", "root_path": "",
        "headers": [(b"host", b"a"), (b"authorization", ada.auth["Authorization"].encode())],
        "client": ("192.0.2.1", 1), "server": ("testserver", 80), "scheme": "http", "http_version": "1.1",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
    }  # fmt: skip
    api.call(api.application, scope, receive, send)
    assert sent == ["http.response.start", "http.response.body"]


def test_whoever_waits_too_long_for_a_connection_is_told_to_come_again(
    cluster18: Cluster, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "ACQUIRE_SECONDS", 0.05)
    with Api(cluster18, migrated, database_pool_size=1) as api:
        held = api.call(api.application.state.pool.acquire)
        for path in ("/posts", "/users", "/posts?q=river", "/posts/1"):
            answer = api.get(path)
            assert answer.status_code == 503, path
            assert answer.headers["retry-after"]
        api.call(api.application.state.pool.release, held)
        assert api.get("/posts").status_code == 200


def test_a_statement_and_an_idle_transaction_have_a_limit(api: Api) -> None:
    async def settings() -> dict[str, str]:
        async with api.application.state.pool.acquire() as connection:
            names = ("statement_timeout", "idle_in_transaction_session_timeout")
            return {name: await connection.fetchval(f"SHOW {name}") for name in names}

    assert api.call(settings) == {"statement_timeout": "10s", "idle_in_transaction_session_timeout": "10s"}

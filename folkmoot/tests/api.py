"""The application as tests talk to it: in this process, on a real database, from any number of threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Self

import httpx
from anyio.from_thread import start_blocking_portal
from argon2 import PasswordHasher

from folkmoot.app import create_app
from folkmoot.settings import load

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from testing.cluster import Cluster

PASSWORD = "correct horse battery staple"
SECRET = "0123456789abcdef0123456789abcdef"
#: Set, it has the application of most tests reach its database through PgBouncer in transaction mode.
POOLED = "FOLKMOOT_TESTS_POOLED"
#: Tests make more requests than people do; those of the limits set them.
UNLIMITED = dict.fromkeys(
    (
        "registrations_per_hour",
        "refreshes_per_minute",
        "searches_per_minute",
        "writes_per_minute",
        "exports_per_hour",
        "password_resets_per_hour",
    ),
    0,
)
#: The same for a process of its own.
UNLIMITED_ENVIRONMENT = {name.upper(): "0" for name in UNLIMITED}
#: Hashes in no time; what is stored with it counts as outdated for the parameters that are shipped.
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)

_NUMBER = count(1)


@dataclass
class Person:
    """Somebody who is registered and logged in."""

    id: int
    email: str
    tokens: dict[str, Any]

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens['access_token']}"}


class Api:
    """A client of an application of its own; the settings can differ from the defaults."""

    def __init__(
        self, cluster: Cluster, database: str, *, hasher: PasswordHasher = CHEAP, **settings: Any
    ) -> None:
        self.cluster = cluster
        self.database = database
        options: dict[str, Any] = {
            "database_url": cluster.url(database),
            "secret_key": SECRET,
            "trusted_proxies": "127.0.0.1",
            "log_level": "warning",
        }
        options |= {**UNLIMITED, **settings}
        self.application = create_app(load(**options), hasher)
        transport = httpx.ASGITransport(self.application, client=("127.0.0.1", 1))
        self._client = httpx.AsyncClient(transport=transport, base_url="http://testserver")
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._portal = self._open.enter_context(start_blocking_portal())
        lifespan = self.application.router.lifespan_context(self.application)
        self._open.enter_context(self._portal.wrap_async_context_manager(lifespan))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._portal.call(partial(self._client.request, method, path, **options))

    def forget_cookies(self) -> None:
        """A client of the API keeps none; browsers keep their own."""
        self._client.cookies.clear()

    def borrow_cookies(self, other: Api) -> None:
        """Be the same browser as another client."""
        self._client.cookies = other._client.cookies

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a coroutine function in the application's event loop."""
        return self._portal.call(function, *arguments)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> httpx.Response:
        return self.request("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> httpx.Response:
        return self.request("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        return self.request("DELETE", path, **options)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in the application's event loop; what it returns is awaited."""
        return self._portal.call(function, *arguments)

    def connect(self) -> psycopg.Connection:
        return self.cluster.connect(self.database)

    def empty(self) -> None:
        """Empty every table and start the ids again."""
        with self.connect() as connection:
            connection.execute(
                "TRUNCATE users, login_failures, request_counts, moderation_log RESTART IDENTITY CASCADE"
            )

    def register(self, email: str | None = None, **fields: Any) -> httpx.Response:
        body = {"email": email or f"person{next(_NUMBER)}@example.com", "password": PASSWORD, **fields}
        return self.post("/users", json=body)

    def login(self, email: str, password: str = PASSWORD, client: str = "192.0.2.1") -> httpx.Response:
        form = {"username": email, "password": password}
        return self.post("/login", data=form, headers={"X-Forwarded-For": client})

    def person(self, email: str | None = None, **fields: Any) -> Person:
        """Register somebody and log them in."""
        account = self.register(email, **fields).json()
        tokens = self.login(account["email"], fields.get("password", PASSWORD)).json()
        return Person(account["id"], account["email"], tokens)

    def delete_with_password(
        self, path: str, headers: dict[str, str], password: str = PASSWORD
    ) -> httpx.Response:
        """What asks for the password again."""
        return self.request("DELETE", path, json={"current_password": password}, headers=headers)

    def at_once(self, *requests: Callable[[], httpx.Response]) -> list[httpx.Response]:
        """Make requests that all start at the same moment."""
        barrier = threading.Barrier(len(requests))

        def run(request: Callable[[], httpx.Response]) -> httpx.Response:
            barrier.wait()
            return request()

        with ThreadPoolExecutor(len(requests)) as threads:
            return list(threads.map(run, requests))

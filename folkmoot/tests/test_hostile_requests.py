"""No request holds the event loop, whatever is in it: every field, parameter and header of every route.

The longest hold of the run is told at its end.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from hostile import (
    BODIES,
    FORM,
    HEADERS,
    JSON,
    RUNS,
    SIZES,
    VALUES,
    Answer,
    Input,
    Operation,
    Server,
    encoded,
    operations,
    runs,
    serve,
)  # fmt: skip
from watched import COLLECT, HELD, IMPORTED, Hold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from testing.cluster import Cluster

#: The longest that a request may keep the event loop from everybody else, in ms.
LIMIT = 50.0
#: The longest answer to a request that is refused, in bytes.
REFUSAL = 10_000


@pytest.fixture(scope="module")
def server(cluster18: Cluster, migrated: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("hostile") / "log"
    with serve(cluster18.url(cluster18.create_database(template=migrated)), log) as server:
        yield server
    said = log.read_text()
    assert "unhandled_exception" not in said, said[:5000]


@pytest.fixture(scope="module")
def every(server: Server) -> list[Operation]:
    return operations(json.loads(server.ask("GET", "/openapi.json").body))


class Attack:
    """Sends requests in batches and collects what must not come of them."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.found: list[str] = []
        self.longest, self.request = Hold(), "nothing"
        self.sent = 0

    def send(self, inputs: list[Input]) -> None:
        """Send a batch; where it holds the loop, find out which request does, and whether it does again."""
        auth = self._server.auth()
        inputs = [
            each._replace(headers=[*each.headers, *auth.items()])
            if not any(name == "Authorization" for name, _ in each.headers)
            else each
            for each in inputs
        ]
        for number, each in enumerate(inputs):
            client = ("X-Forwarded-For", f"198.51.{number % 256}.{self.sent % 256}")
            headers = (
                each.headers if any(n == client[0] for n, _ in each.headers) else [*each.headers, client]
            )
            self._judge(each, self._server.send(each._replace(headers=headers)))
            self.sent += 1
        hold = self._server.hold()
        if hold.ms <= LIMIT:
            self._note(hold, f"among: {inputs[0].name}")
        else:
            for each in inputs:
                self._again(each)
        assert self.found == []

    def _again(self, sent: Input) -> None:
        """Note the shortest hold of three times: another process's doing does not come back each time."""
        holds: list[Hold] = []
        while len(holds) < 3 and (not holds or holds[-1].ms > LIMIT):
            self._server.send(sent)
            holds.append(self._server.hold())
        shortest = min(holds, key=lambda hold: hold.ms)
        self._note(shortest, sent.name)
        if shortest.ms > LIMIT:
            self.found.append(f"{sent.name}: holds the loop for {shortest}")

    def _note(self, hold: Hold, request: str) -> None:
        if hold.ms > self.longest.ms:
            self.longest, self.request = hold, request

    def _judge(self, sent: Input, answer: Answer) -> None:
        if answer.status is not None and (answer.status >= 500 or answer.status == 408):
            self.found.append(f"{sent.name}: {answer.status} {answer.body[:300]!r}")
        elif (answer.status or 0) >= 400 and len(answer.body) > REFUSAL:
            self.found.append(f"{sent.name}: {answer.status} with {len(answer.body)} bytes")


@pytest.fixture
def attack(server: Server, record_property: Callable[[str, object], None]) -> Iterator[Attack]:
    attack = Attack(server)
    yield attack
    record_property(HELD, asdict(attack.longest))
    record_property("longest hold", f"{attack.longest} ({attack.sent} requests; {attack.request})")


@pytest.mark.one_in(3)
def test_texts_in_every_field(attack: Attack, every: list[Operation]) -> None:
    for operation in every:
        for media_type, fields in operation.bodies.items():
            for name, taken in fields.items():
                attack.send([
                    Input(
                        f"{operation}, {name}: {what}", operation.method, operation.target(),
                        [("Content-Type", media_type)], encoded(media_type, fields, name, text),
                    )
                    for what, text in runs(str(taken), SIZES if media_type == JSON else SIZES[:2])
                ])  # fmt: skip


@pytest.mark.one_in(3)
def test_values_of_every_kind_in_every_member(attack: Attack, every: list[Operation]) -> None:
    for operation in every:
        fields = operation.bodies.get(JSON, {})
        for name in fields:
            marked = json.dumps({**fields, name: "VALUE"}).encode()
            attack.send([
                Input(
                    f"{operation}, {name}: {what}", operation.method, operation.target(),
                    [("Content-Type", JSON)], marked.replace(b'"VALUE"', value),
                )
                for what, value in VALUES.items()
            ])  # fmt: skip


@pytest.mark.one_in(2)
def test_bodies_of_every_kind(attack: Attack, every: list[Operation]) -> None:
    for operation in every:
        for media_type in {*operation.bodies, JSON, FORM} if operation.bodies else ():
            attack.send([
                Input(
                    f"{operation}, {media_type}: {what}", operation.method, operation.target(),
                    [("Content-Type", media_type)], body,
                )
                for what, body in BODIES.items()
            ])  # fmt: skip


@pytest.mark.one_in(3)
def test_texts_in_every_parameter(attack: Attack, every: list[Operation]) -> None:
    for operation in every:
        for where, name, taken in operation.parameters:
            if where == "header":
                continue
            attack.send([
                Input(f"{operation}, {name}: {what}", operation.method, operation.target(name, text))
                for what, text in runs(str(taken), (200, 2_000, 20_000, 60_000))
            ])  # fmt: skip


def test_queries_that_no_parameter_takes(attack: Attack, every: list[Operation]) -> None:
    queries = {
        "30,000 fields": "a&" * 30_000, "8,000 fields": "a&" * 8_000, "4,000 fields": "a=b&" * 4_000,
        "per cent": "%" * 15_000, "equals": "=" * 60_000, "one parameter often": "limit=1&" * 2_000,
        "escapes": "q=" + "%CC%80%CC%96" * 1_300, "plus": "q=" + "+" * 15_000,
    }  # fmt: skip
    for operation in every:
        attack.send([
            Input(f"{operation}: {what}", operation.method, f"{operation.target()}?{query}")
            for what, query in queries.items()
        ])  # fmt: skip


def test_paths_that_no_route_takes(attack: Attack) -> None:
    attack.send([
        Input(f"{method} {what}", method, path)
        for method in ("GET", "POST", "OPTIONS", "HEAD", "TRACE")
        for what, path in {
            "a long path": "/" + "a" * 60_000, "many slashes": "/" * 15_000, "many parts": "/posts" * 2_500,
            "escapes": "/" + "%CC%80%CC%96" * 5_000, "NUL": "/posts/" + "%00" * 5_000,
            "digits": "/posts/" + "1" * 15_000, "no UTF-8": "/users/" + "%ff" * 5_000, "dots": "/.." * 5_000,
            "slashes at the end": "/posts/1/vote" + "/" * 15_000,
        }.items()
    ])  # fmt: skip


@pytest.mark.parametrize("header", HEADERS)
def test_texts_in_headers(attack: Attack, every: list[Operation], header: str) -> None:
    """Runs of what a header may hold, on a route with each kind of body and on one with parameters."""
    names = [name for name, unit in RUNS.items() if unit.isascii() and unit.isprintable()]
    prefixes = {
        "Authorization": "Bearer ", "X-Forwarded-For": "192.0.2.1,", "Content-Type": "application/json;",
    }  # fmt: skip
    chosen = {"GET /posts", "POST /posts", "PATCH /posts/{post_id}", "POST /login"}
    for operation in every:
        if str(operation) not in chosen:
            continue
        good = next(iter(operation.bodies.values()), None)
        body = None if good is None else json.dumps(good).encode()
        for start in {"", prefixes.get(header, "")}:
            attack.send([
                Input(
                    f"{operation}, {header}: {start}{name}", operation.method, operation.target(),
                    [(header, start + RUNS[name] * (size // len(RUNS[name])))], body,
                )
                for name in names
                for size in (30_000, 60_000)
            ])  # fmt: skip


def test_many_headers(attack: Attack, every: list[Operation]) -> None:
    many = [(f"X-{number}", "x") for number in range(1_000)]
    listed = ", ".join(f'"{n}.a"' for n in range(1, 3_000))
    for operation in every:
        attack.send([
            Input(f"{operation}: 1,000 headers", operation.method, operation.target(), many),
            *(
                Input(f"{operation}: {header}", operation.method, operation.target(), [(header, listed)])
                for header in ("If-Match", "If-None-Match")
            ),
        ])  # fmt: skip


def test_a_full_collection_of_garbage_leaves_what_the_start_made(attack: Attack) -> None:
    """One comes about at any time, and has to look at each object that lives."""
    attack.send([Input("collect", "GET", COLLECT)])


def test_a_page_of_the_longest_posts(attack: Attack, server: Server) -> None:
    """What others wrote is as hostile as what one sends oneself."""
    for content in ("\U0001f469" * 40_000, "\u0001" * 40_000):
        for number in range(40):
            written = server.ask("POST", "/posts", server.auth(), title=f"{number}", content=content)
            assert written.status in {201, 429}, written
    server.hold()
    attack.send([
        Input(f"limit=100&{sort}", "GET", f"/posts?limit=100&sort={sort}") for sort in ("new", "top", "hot")
    ])  # fmt: skip
    attack.send([Input("export", "GET", "/users/me/export"), Input("one", "GET", "/posts/1")])


def test_nothing_was_imported_while_all_this_was_answered(server: Server) -> None:
    """Whatever is first imported by a request is read and compiled in the event loop."""
    assert server.ask("GET", "/users/me/export", server.auth()).status == 200
    assert json.loads(server.ask("GET", IMPORTED).body) == []

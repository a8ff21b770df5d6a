"""A hostile client: what it sends, and a server to send it to, whose event loop is watched.

`inputs` are made from the OpenAPI document, so that a new route or field is attacked by itself.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, quote_plus, urlencode

import api
import watched
from running import free_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FORM, JSON = "application/x-www-form-urlencoded", "application/json"

#: What is repeated, by what it is known to be slow or wrong with.
RUNS = {
    "combining marks": "\u0300\u0316", "right to left": "\u202e\u05d0\u0301", "jamo": "\u1112\u1161\u11ab",
    "a ligature of 18 letters": "\ufdfa", "joined emoji": "\U0001f469\u200d", "full width": "\uff11",
    "NUL": "\0", "digits": "1", "zeros": "0", "spaces": " ", "new lines": "\n", "dots": ".", "labels": "a.",
    "punycode": "xn--a.", "at signs": "@", "dashes": "-", "quotes": '"', "backslashes": "\\",
    "parentheses": "(", "per cent": "%", "words": "a ", "negations": "-a ", "or": "or ",
    "tags": 'W/"1.', "base64": "eyJh",
}  # fmt: skip
#: How long the runs are, in bytes: just below the limits of fields, of forms, of most bodies, of posts.
SIZES = (200, 20_000, 60_000, 450_000)
#: Values of JSON that are no text, or none that can be written as one.
VALUES = {
    "surrogates": b'"' + b"\\ud800" * 9_000 + b'"', "surrogates in 500 kB": b'"' + b"\\udfff" * 83_000 + b'"',
    "escapes": b'"' + b"\\u0300\\u0316" * 5_000 + b'"', "deep lists": b"[" * 30_000 + b"]" * 30_000,
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "many lists": b"[" + b"[]," * 20_000 + b"[]]",
    "many numbers": b"[" + b"1.5e300," * 60_000 + b"1]", "a long integer": b"9" * 60_000,
    "a longer integer": b"9" * 500_000, "4,300 digits": b"9" * 4_300, "1e400": b"1e400", "-0": b"-0",
    "a long fraction": b"0." + b"1" * 60_000, "1.0": b"1.0", "a long exponent": b"1e" + b"9" * 60_000,
    "null": b"null", "true": b"true",
}  # fmt: skip
#: Whole bodies.
_MEMBERS = b",".join(b'"%x":0' % n for n in range(100_000))
BODIES = {
    "100,000 members": b"{" + _MEMBERS + b"}",
    "50,000 members": b"{" + _MEMBERS[:470_000].rpartition(b",")[0] + b"}",
    "6,000 members": b"{" + _MEMBERS[:60_000].rpartition(b",")[0] + b"}",
    "one member 8,000 times": b"{" + b'"title":1,' * 6_000 + b'"title":1}',
    "a long name": b'{"' + b"a" * 60_000 + b'":1}',
    "a name of surrogates": b'{"' + b"\\ud800" * 9_000 + b'":1}',
    "UTF-16": '{"email":"a@example.com"}'.encode("utf-16"), "UTF-32": '{"a":1}'.encode("utf-32"),
    "a mark of UTF-8": b'\xef\xbb\xbf{"a":1}', "no UTF-8": b'{"a":"' + b"\xff" * 60_000 + b'"}',
    "UTF-8's surrogates": b'{"a":"' + b"\xed\xa0\x80" * 20_000 + b'"}', "white space": b" " * 60_000,
    "nothing": b"", "half an object": b'{"a":', "fields": b"a=1&" * 15_000, "empty fields": b"&" * 60_000,
    "per cent": b"username=" + b"%" * 60_000, "escaped": b"username=" + b"%41" * 20_000 + b"&password=x",
    **{f"as a value: {name}": value for name, value in VALUES.items()},
}  # fmt: skip
#: Headers that something reads, here or in a library below.
HEADERS = (
    "Authorization", "Cookie", "Content-Type", "Content-Length", "Accept", "If-Match", "If-None-Match",
    "User-Agent", "Origin", "Access-Control-Request-Headers", "X-Request-ID", "X-Forwarded-For",
    "X-Forwarded-Proto", "Range", "Expect",
)  # fmt: skip


class Answer(NamedTuple):
    """What came back; no status where the server closed the connection instead."""

    status: int | None
    headers: dict[str, str]
    body: bytes


class Input(NamedTuple):
    """A request, and what is hostile about it."""

    name: str
    method: str
    target: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | None = None


class Server:
    """The service in a process of its own, and a person who is logged in to it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        self._auth: dict[str, str] = {}
        self._person = 0

    def send(self, sent: Input) -> Answer:
        """Send a request, and read the answer to it whole."""
        answer = self._exchange(sent)
        # After a refusal the server may close the connection, which shows when it is used next.
        return self._exchange(sent) if answer.status is None and sent.body is None else answer

    def _exchange(self, sent: Input) -> Answer:
        connection = self._connection
        try:
            connection.putrequest(sent.method, sent.target)
            for name, value in sent.headers:
                connection.putheader(name, value.encode("latin-1"))
            if sent.body is not None and not any(name == "Content-Length" for name, _ in sent.headers):
                connection.putheader("Content-Length", str(len(sent.body)))
            connection.endheaders()
            if sent.body:
                with suppress(BrokenPipeError, ConnectionResetError):  # refused already
                    connection.send(sent.body)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if isinstance(error, TimeoutError):
                raise
            return Answer(None, {}, b"")

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, **body: Any) -> Answer:
        """Send an ordinary request."""
        kind = {"Content-Type": JSON} if body else {}
        sent = json.dumps(body).encode() if body else None
        return self.send(Input("", method, path, list({**(headers or {}), **kind}.items()), sent))

    def close(self) -> None:
        self._connection.close()

    def hold(self) -> watched.Hold:
        """The longest time that the event loop was held since this was last asked for."""
        return watched.Hold(**json.loads(self.ask("GET", watched.HOLD).body))

    def connections_in_use(self) -> int:
        return int(self.ask("GET", watched.POOL).body)

    def auth(self) -> dict[str, str]:
        """The header of somebody who is logged in; of somebody new where the last one is no more."""
        if not self._auth or self.ask("GET", "/users/me", self._auth).status == 401:
            self._person += 1
            email = f"person{self._person}@example.com"
            here = {"X-Forwarded-For": f"192.0.2.{self._person % 256}"}
            assert self.ask("POST", "/users", here, email=email, password=api.PASSWORD).status == 201
            form = urlencode({"username": email, "password": api.PASSWORD}).encode()
            headers = [*here.items(), ("Content-Type", FORM)]
            tokens = json.loads(self.send(Input("", "POST", "/login", headers, form)).body)
            self._auth = {"Authorization": f"Bearer {tokens['access_token']}"}
        return self._auth

    def open(self, sent: bytes, *, receive_buffer: int | None = None) -> socket.socket:
        """A connection on which these bytes were sent, and nothing was read yet."""
        made = socket.socket()
        if receive_buffer is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        made.settimeout(60)
        made.connect(("127.0.0.1", self.port))
        made.sendall(sent)
        return made


@contextmanager
def serve(url: str, log: Path, **settings: str) -> Iterator[Server]:
    """Serve the database with one worker, whose event loop is watched; its log goes to a file."""
    port = free_port()
    server = Server(port)
    environment = {
        **os.environ, "DATABASE_URL": url, "SECRET_KEY": api.SECRET, "LOG_LEVEL": "info",
        "TRUSTED_PROXIES": "127.0.0.1", "PYTHONPATH": str(Path(__file__).parent),
        **{name.upper(): str(value) for name, value in api.UNLIMITED.items()}, **settings,
    }  # fmt: skip
    command = [
        sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "--no-ws", "--http", "1",
        "--port", str(port), "--log-level", "warning", "fuzzed:create",
    ]  # fmt: skip
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            while server.ask("GET", "/healthz").status != 200:
                assert process.poll() is None, log.read_text()
            server.hold()
            yield server
        finally:
            server.close()
            process.terminate()
            process.wait()


@dataclass
class Operation:
    """One operation of the OpenAPI document."""

    method: str
    path: str
    #: Where a parameter stands (path, query, header), its name, and a value that is taken.
    parameters: list[tuple[str, str, Any]] = field(default_factory=list)
    #: The fields of a body and values that are taken, by media type.
    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def target(self, name: str = "", value: str = "") -> str:
        """The path and query, with one parameter replaced."""
        path, query = self.path, []
        for where, each, example in self.parameters:
            text = value if each == name else str(example)
            if where == "path":
                path = path.replace(f"{{{each}}}", quote(text, safe=""))
            elif where == "query" and each == name:
                query.append(f"{each}={quote_plus(text)}")
        return path + ("?" + "&".join(query) if query else "")


def operations(document: Any) -> list[Operation]:
    """Every operation, with its parameters and fields."""

    def resolved(schema: Any) -> Any:
        reference = schema.get("$ref", "")
        return document["components"]["schemas"][reference.rpartition("/")[2]] if reference else schema

    def example(schema: Any) -> Any:
        schema = resolved(schema)
        for inner in schema.get("anyOf", []):
            schema = {**resolved(inner), **schema} if inner.get("type") != "null" else schema
        if schema.get("examples"):
            return schema["examples"][0]
        return schema.get(
            "const", schema.get("default", {"integer": 1, "boolean": True}.get(schema.get("type"), "x"))
        )

    found = []
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            made = Operation(method.upper(), path)
            for each in described.get("parameters", []):
                made.parameters.append((each["in"], each["name"], example({**each["schema"], **each})))
            for media_type, content in described.get("requestBody", {}).get("content", {}).items():
                kinds = [content["schema"], *content["schema"].get("anyOf", [])]
                fields = next(kind["properties"] for kind in map(resolved, kinds) if "properties" in kind)
                made.bodies[media_type] = {name: example(schema) for name, schema in fields.items()}
            found.append(made)
    return found


def encoded(media_type: str, fields: dict[str, Any], name: str, value: str) -> bytes:
    """A body whose other fields are fine."""
    sent = {**fields, name: value}
    if media_type == JSON:
        return json.dumps(sent, ensure_ascii=False).encode()
    return urlencode(sent).encode()


def runs(taken: str, sizes: Iterable[int]) -> Iterator[tuple[str, str]]:
    """Long texts: runs alone, and before and behind a value that is taken."""
    for name, unit in RUNS.items():
        for size in sizes:
            run = unit * (size // len(unit.encode()))
            yield f"{size} bytes of {name}", run
            if size == SIZES[1]:
                yield f"{name} behind a good value", taken + run
                yield f"{name} before a good value", run + taken
                yield f"{name} in an address", f"a@{run}.com"

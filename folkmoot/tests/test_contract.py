"""The OpenAPI document, held against what the service really answers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from api import SECRET, UNLIMITED_ENVIRONMENT
from folkmoot.http.cursors import CURSOR_PATTERN, Cursors, InvalidCursor
from folkmoot.http.parameters import MAX_ID
from running import free_port
from watched import HELD, HOLD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from api import Api
    from testing.cluster import Cluster

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def document(served: Api) -> Any:
    return served.get("/openapi.json").json()


def operations(document: Any) -> Iterator[tuple[str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_no_path_is_shown_twice(document: Any) -> None:
    assert not [path for path in document["paths"] if path.endswith("/")]


def test_every_error_is_declared_as_problem_details_with_an_example(document: Any) -> None:
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            if int(status) < 400:
                continue
            (media_type,) = answer["content"]
            assert media_type == "application/problem+json", (name, status)
            assert answer["content"][media_type]["schema"] == {"$ref": "#/components/schemas/Problem"}
            examples = answer["content"][media_type]["examples"]
            assert {example["value"]["status"] for example in examples.values()} == {int(status)}, name


def test_what_follows_from_a_body_a_parameter_or_a_login_is_declared(document: Any) -> None:
    for name, operation in operations(document):
        declared = set(operation["responses"])
        assert {"500", "503"} <= declared, name
        if "requestBody" in operation:
            assert {"400", "413", "415"} <= declared, name
        if operation.get("parameters"):
            assert "422" in declared, name
        if "security" in operation:
            assert "401" in declared, name


def test_the_limits_are_in_the_schema(document: Any) -> None:
    registration = document["components"]["schemas"]["Registration"]["properties"]
    assert registration["email"]["format"] == "email"
    assert (registration["password"]["minLength"], registration["password"]["maxLength"]) == (8, 1024)
    limit, cursor = document["paths"]["/users"]["get"]["parameters"]
    assert (limit["schema"]["minimum"], limit["schema"]["maximum"]) == (1, 100)
    assert cursor["schema"]["anyOf"][0]["maxLength"] == 512
    (number,) = document["paths"]["/users/{id}"]["get"]["parameters"]
    assert (number["schema"]["minimum"], number["schema"]["maximum"]) == (1, MAX_ID)


def test_a_login_is_required_optional_or_not_heeded_as_declared(document: Any) -> None:
    security = {name: operation.get("security") for name, operation in operations(document)}
    assert security["GET /users/me"] == [{"login": []}]
    assert security["GET /users"] == [{"login": []}, {}]
    assert security["POST /users"] is None
    flow = document["components"]["securitySchemes"]["login"]["flows"]["password"]
    assert (flow["tokenUrl"], flow["refreshUrl"]) == ("login", "login/refresh")


def test_no_secret_goes_in_a_path_or_a_query(document: Any) -> None:
    """Where logs and histories would keep it."""
    named = {
        parameter["name"]
        for _, operation in operations(document)
        for parameter in operation.get("parameters", [])
        if parameter["in"] in {"path", "query", "cookie"}
    }
    assert named == {"id", "post_id", "comment_id", "kind", "sort", "q", "owner", "limit", "cursor"}


def test_names_of_operations_are_unique(document: Any) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(names) == len(set(names))


def test_a_cursor_is_good_for_its_list_and_its_service_only() -> None:
    cursors = Cursors(SECRET)
    cursor = cursors.write("users", [7, "x"])
    assert cursors.read("users", cursor) == [7, "x"]
    for other, purpose in ((cursors, "posts"), (Cursors("f" * 32), "users")):
        with pytest.raises(InvalidCursor):
            other.read(purpose, cursor)


def test_a_cursor_of_an_older_secret_is_still_taken_and_new_ones_are_of_the_new() -> None:
    old, new = Cursors(SECRET), Cursors("f" * 32, "e" * 32, SECRET)
    assert new.read("users", old.write("users", 7)) == 7
    assert Cursors("f" * 32).read("users", new.write("users", 7)) == 7


@pytest.mark.parametrize("key", [7, {"votes": 0, "id": 99, "snapshot": None}, {"snapshot": "1" * 5000}])
def test_no_other_spelling_of_a_cursor_is_taken(key: object) -> None:
    cursors = Cursors(SECRET)
    cursor = cursors.write("users", key)
    assert re.fullmatch(CURSOR_PATTERN, cursor)
    assert cursors.read("users", cursor) == key
    for place in range(len(cursor)):
        for character in "Aw_.":
            altered = cursor[:place] + character + cursor[place + 1 :]
            if altered != cursor:
                with pytest.raises(InvalidCursor):
                    cursors.read("users", altered)
    # Of what is not in the alphabet the parameter's pattern keeps all out.
    for altered in (cursor + "A", cursor[:-1], "." + cursor, "", "."):
        with pytest.raises(InvalidCursor):
            cursors.read("users", altered)


@pytest.fixture(scope="module")
def server(cluster18: Cluster, migrated: str) -> Iterator[str]:
    """A real server on a database of its own: its URL."""
    name = cluster18.create_database(template=migrated)
    port = free_port()
    environment = {
        **os.environ,
        **UNLIMITED_ENVIRONMENT,
        "DATABASE_URL": cluster18.url(name),
        "SECRET_KEY": SECRET,
        "LOG_LEVEL": "warning",
        "TRUSTED_PROXIES": "127.0.0.1",
        "PYTHONPATH": str(Path(__file__).parent),
    }
    process = subprocess.Popen(
        [
            sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "--no-ws",
            "--port", str(port), "fuzzed:create",
        ],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "Started worker" in line:
            break
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    said = process.communicate()[0]
    assert "unhandled_exception" not in said, said


@pytest.mark.parametrize(
    "hooks",
    [
        # Most of what it gets is a 401; what anybody may send is sent by test_hostile_requests, too.
        pytest.param(None, id="anonymous", marks=pytest.mark.prove),
        pytest.param("fuzz_login", id="logged in"),
    ],
)
def test_schemathesis_finds_nothing(
    server: str, hooks: str | None, record_property: Callable[[str, object], None]
) -> None:
    examples = os.environ.get("FUZZ_EXAMPLES", "2")
    phases = "examples,coverage,fuzzing" + (",stateful" if "FUZZ_EXAMPLES" in os.environ else "")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    if hooks:
        environment["SCHEMATHESIS_HOOKS"] = hooks
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")), "run", f"{server}/openapi.json",
            "--checks", "all", "--max-examples", examples, "--phases", phases,
            "--suppress-health-check", "all", "--generation-database", "none", "--no-color",
        ],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    record_property(HELD, httpx.get(server + HOLD).json())
    assert done.returncode == 0, done.stdout + done.stderr

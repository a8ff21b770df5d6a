"""The numbers and names in docs/ are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic_core import PydanticUndefined

import folkmoot
from folkmoot.commands import serve
from folkmoot.http import answering, middleware, parameters, routes
from folkmoot.people import login_failures, turns
from folkmoot.postgres import pool
from folkmoot.posts.posts import PostRoute
from folkmoot.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"


def said(document: str) -> str:
    """A document in one line."""
    return " ".join((DOCS / document).read_text().split())


def test_the_defaults_of_settings_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \|([^|]*)\|", (DOCS / "settings.md").read_text(), re.MULTILINE)
    assert len(rows) == len(Settings.model_fields)
    for name, written in rows:
        default = Settings.model_fields[name.lower()].default
        if default is PydanticUndefined:
            assert name == "WORKERS"
            continue
        expected = "" if default is None else str(default)
        assert written.strip().strip("`") == (expected.lower() if isinstance(default, bool) else expected), (
            name
        )


def test_what_is_read_of_a_request_is_as_the_document_has_it() -> None:
    text = said("errors.md")
    for told in (
        f"| path with query | {middleware.ADDRESS_LIMIT // 1024} KiB |",
        f"| headers, all together | {middleware.HEADERS_LIMIT // 1024} KiB |",
        f"| body | {routes.BODY_LIMIT // 1024} KiB; {PostRoute.body_limit // 1024} KiB where a post is",
        f"| the time that a body takes | {routes.BODY_SECONDS:.0f} seconds |",
        f"| members of an object | {parameters.MAX_MEMBERS} |",
        f"| errors listed in an answer | {answering.MOST_ERRORS} |",
    ):
        assert told in text


def test_the_limits_of_connections_are_as_the_document_has_them() -> None:
    text = said("settings.md")
    for told in (
        f"A request waits {pool.ACQUIRE_SECONDS:.0f} seconds for a connection",
        f"A worker holds {serve.CONNECTIONS:,} clients at once",
        f"for the head of a request, longer than {serve.IDLE_SECONDS} seconds",
        f"takes nothing of its answer for {serve.UNREAD_SECONDS} seconds",
        f"keeps {serve.UNREAD_KILOBYTES} kB of answers for a client",
    ):
        assert told in text


def test_the_limits_on_failed_logins_and_turns_are_as_the_document_has_them() -> None:
    text = said("accounts.md")
    for told in (
        f"Up to {turns.LOGINS_WAITING} people wait for it to log in and {turns.REGISTRATIONS_WAITING} to "
        f"register, nobody for more than {turns.PATIENCE:.0f} seconds",
        f"over {login_failures.WINDOW.total_seconds() / 60:.0f} minutes",
        f"| {login_failures.PAIR_LIMIT} | one client, for one address |",
        f"| {login_failures.CLIENT_LIMIT} | one client, for any addresses |",
        f"| {login_failures.ADDRESS_ATTACKED} | all clients, for one address |",
        f"gets {login_failures.PAIR_LIMIT_UNDER_ATTACK} tries instead of {login_failures.PAIR_LIMIT}",
    ):
        assert told in text


def test_the_events_in_the_log_are_as_the_document_has_them() -> None:
    listed = (
        said("accounts.md").partition("never a secret or an address:")[2].partition("Those that may be")[0]
    )
    documented = set(re.findall(r"`([a-z_]+)`", listed))
    source = "".join(path.read_text() for path in Path(folkmoot.__path__[0]).rglob("*.py"))
    noted = set(re.findall(r'events\.note\(\s*"([a-z_]+)"', source)) | {"password_changed", "email_changed"}
    assert documented == noted


def test_the_rooms_in_the_document_are_those_that_there_are() -> None:
    found = {path.name for path in Path(folkmoot.__path__[0]).iterdir() if (path / "__init__.py").exists()}
    text = (DOCS / "architecture.md").read_text()
    assert found <= set(re.findall(r"^\| `([a-z]+)/` \|", text, re.MULTILINE))

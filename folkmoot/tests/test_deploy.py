"""What hosts are told: the files for them name settings and commands that there are."""

from __future__ import annotations

import re
import signal
import tomllib
from itertools import cycle
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

import httpx
import pytest

from api import PASSWORD, SECRET, UNLIMITED_ENVIRONMENT
from folkmoot.commands.main import _COMMANDS as COMMANDS
from folkmoot.settings import Settings
from running import Service

if TYPE_CHECKING:
    from testing.cluster import Cluster

ROOT = Path(__file__).parents[2]
#: Of the images of others, of Python, and of compose.yaml itself.
OTHERS = {
    "PATH",
    "PYTHONUNBUFFERED",
    "PYTHONDONTWRITEBYTECODE",
    "POSTGRES_USER",
    "POSTGRES_DB",
    "POSTGRES_PASSWORD",
}


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("compose.yaml", r"^      ([A-Z_]+): "),
        ("deploy/folkmoot@.service", r"(?:^Environment=| )([A-Z_]+)="),
        ("Dockerfile", r"(?:^ENV|^   ) .*?([A-Z_]+)="),
        ("docs/host.md", r"^([A-Z_]+)="),
    ],
)
def test_the_settings_in_a_hosts_files_are_those_of_the_program(file: str, pattern: str) -> None:
    named = set(re.findall(pattern, (ROOT / file).read_text(), re.MULTILINE)) - OTHERS
    assert named
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def test_what_a_host_installs_is_pinned_as_what_is_tested() -> None:
    """Both locks are written by `make lock`."""
    pins = r"^([a-z0-9-]+)==(\S+)"
    run, tested = (
        dict(re.findall(pins, (ROOT / lock).read_text(), re.MULTILINE))
        for lock in ("folkmoot/requirements.lock", "requirements.lock")
    )
    assert run.items() <= tested.items()
    project = tomllib.loads((ROOT / "folkmoot" / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[\[>;= ]", each)[0] for each in project["dependencies"]}
    assert names - {"alembic-lockstep"} <= run.keys()


@pytest.mark.parametrize("page", ["host.md", "upgrade.md", "restore.md"])
def test_the_commands_of_a_page_are_those_that_there_are(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    blocks = "\n".join(re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    called = re.findall(
        r"\bfolkmoot (?!-)([a-z-]+)\b(?=[ \n])", blocks + "\n".join(re.findall(r"`[^`\n]+ ?`", text))
    )
    assert set(called) - {"enable"} <= set(COMMANDS)


@pytest.mark.prove
def test_instances_that_are_restarted_in_turn_fail_no_request(
    cluster18: Cluster, migrated: str, folder: Path
) -> None:
    """The clients do what a proxy does: where a connection is refused, they go to the other instance."""
    name = cluster18.create_database(template=migrated)
    settings = {"DATABASE_URL": cluster18.url(name), "SECRET_KEY": SECRET, **UNLIMITED_ENVIRONMENT}
    instances = [Service(folder, **settings) for _ in range(2)]
    client = httpx.Client(timeout=30, headers={"Connection": "close"})  # as nginx does
    failed: list[object] = []
    acknowledged: list[int] = []
    stop = Event()

    def ask(method: str, path: str, **options: object) -> httpx.Response:
        for instance in cycle(instances):
            try:
                return client.request(method, instance.url + path, **options)  # type: ignore[arg-type]
            except httpx.ConnectError:
                continue
        raise AssertionError

    account = {"email": "ada@example.com", "password": PASSWORD}
    ask("POST", "/users", json=account)
    token = ask("POST", "/login", data={"username": account["email"], "password": PASSWORD}).json()
    headers = {"Authorization": f"Bearer {token['access_token']}"}

    def go_on() -> None:
        while not stop.is_set():
            try:
                ask("GET", "/posts").raise_for_status()
                body = {"title": "Title", "content": "content"}
                posted = ask("POST", "/posts", json=body, headers=headers).raise_for_status()
                acknowledged.append(posted.json()["id"])
            except (httpx.HTTPError, KeyError) as error:
                failed.append(error)

    clients = [Thread(target=go_on) for _ in range(4)]
    for each in clients:
        each.start()
    for n in (0, 1, 0, 1):
        before = len(acknowledged)
        while len(acknowledged) < before + 20 and not failed:
            stop.wait(0.05)
        instances[n].process.send_signal(signal.SIGTERM)
        instances[n].process.wait(30)
        instances[n].__exit__(None, None, None)
        instances[n] = Service(folder, **settings)
    stop.set()
    for each in clients:
        each.join()
    for instance in instances:
        instance.__exit__(None, None, None)
    client.close()
    assert failed == []
    with cluster18.connect(name) as connection:
        there = {post for (post,) in connection.execute("SELECT id FROM posts").fetchall()}
    assert set(acknowledged) <= there
    cluster18.drop_database(name)

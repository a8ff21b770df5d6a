"""Mail of real workers that are killed and started anew: none is lost, and twice comes the same letter."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest

from api import PASSWORD, SECRET, UNLIMITED_ENVIRONMENT
from mail_server import SENDER, MailServer
from running import Service

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

pytestmark = pytest.mark.prove


class Moot:
    """A database, the service on it, which can be started again and again, and its mail server."""

    def __init__(self, cluster: Cluster, migrated: str, folder: Path, mail_server: MailServer) -> None:
        self.url = cluster.url(cluster.create_database(template=migrated))
        self._folder, self.mail_server = folder, mail_server

    def served(self, workers: int = 1) -> Service:
        return Service(
            self._folder, DATABASE_URL=self.url, SECRET_KEY=SECRET, WORKERS=str(workers), LOG_LEVEL="info",
            SMTP_URL=self.mail_server.url, MAIL_FROM=SENDER, PUBLIC_URL="https://moot.example.org",
            **UNLIMITED_ENVIRONMENT,
        )  # fmt: skip

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url, autocommit=True)

    def due(self) -> int:
        """Have all mail be due, as after minutes, while nobody sends any; returns how much there is."""
        with self.connect() as connection:
            return connection.execute("UPDATE outbox SET due_at = now()").rowcount

    def end_sessions(self, but: psycopg.Connection[Any]) -> None:
        """What a session of somebody who is dead waits for, it would do once it can."""
        with self.connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid NOT IN (pg_backend_pid(), %s)",
                [but.info.backend_pid],
            )

    def wait_until_sent(self) -> None:
        """Wait until nothing is left to be sent."""
        deadline = time.monotonic() + 60
        with self.connect() as connection:
            while connection.execute("SELECT FROM outbox").fetchone() is not None:
                assert time.monotonic() < deadline
                time.sleep(0.05)


@pytest.fixture
def moot(cluster18: Cluster, migrated: str, folder: Path, mail_server: MailServer) -> Moot:
    return Moot(cluster18, migrated, folder, mail_server)


def register(service: Service, email: str) -> None:
    answer = httpx.post(f"{service.url}/users", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(("killed", "times"), [("RCPT", 1), ("DATA", 2), ("recording", 2)])
def test_a_letter_of_a_worker_that_was_killed_is_sent_by_another_as_the_same_letter(
    moot: Moot, killed: str, times: int
) -> None:
    """Before the mail server has it, it comes once; where nobody knows whether it has it, twice."""
    mail_server = moot.mail_server
    with psycopg.connect(moot.url) as holding, moot.served() as service:
        if killed == "recording":  # its row is held, so that what was sent cannot be taken out

            def hold() -> None:
                assert holding.execute("SELECT FROM outbox FOR UPDATE").rowcount == 1

            mail_server.at = {"DATA": hold}
            register(service, "ada@example.com")
            service.wait_for_line("mail_sent")
            service.kill()
            moot.end_sessions(but=holding)
        else:
            mail_server.at = {killed: service.kill}
            register(service, "ada@example.com")
            service.process.wait(20)
    mail_server.at = {}
    assert moot.due() == 1
    with moot.served(workers=2) as service:
        mail_server.wait_for(times)
        moot.wait_until_sent()
        register(service, "ben@example.com")
        mail_server.wait_for(times + 1)
    *same, other = mail_server.taken
    assert [recipients for recipients, _ in same] == [["ada@example.com"]] * times
    assert len({content for _, content in same}) == 1, "one Message-ID, by which whoever gets it drops it"
    assert other[0] == ["ben@example.com"]
    assert moot.due() == 0


@pytest.mark.parametrize("workers", [1, 3])
def test_while_the_mail_server_is_away_and_workers_come_and_go_each_letter_waits_and_is_sent_once(
    moot: Moot, workers: int
) -> None:
    mail_server, people = moot.mail_server, [f"person{number}@example.com" for number in range(12)]
    mail_server.stop()
    with moot.served(workers) as service:
        for person in people[:6]:
            register(service, person)
        service.wait_for_line("mail_put_off")
        assert moot.due() == 6
    with moot.served(workers) as service:
        for person in people[6:]:
            register(service, person)
        assert moot.due() == 12
        mail_server.start()
        mail_server.wait_for(1)
        # The service is stopped while letters are on their way; these are let through.
    moot.due()
    with moot.served(workers):
        moot.wait_until_sent()
    assert sorted(recipients[0] for recipients, _ in mail_server.taken) == sorted(people)
    assert len({letter["Message-ID"] for letter in mail_server.letters}) == len(people)

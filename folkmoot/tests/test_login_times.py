"""A failed login takes as long for an unknown address as for an account, whichever hash that has."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

import bcrypt
import httpx
import pytest

from api import PASSWORD, SECRET, UNLIMITED_ENVIRONMENT
from folkmoot.people.passwords import HASHER
from running import Service

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from testing.cluster import Cluster

#: How often each logs in, and how far the medians may be apart.
TIMES, APART = 200, 0.05


@pytest.mark.prove
def test_failed_logins_take_as_long_for_no_account_as_for_each_kind_of_hash(
    folder: Path, cluster18: Cluster, migrated: str, record_property: Callable[[str, object], None]
) -> None:
    database = cluster18.create_database(template=migrated)
    hashes = {
        "argon2": HASHER.hash(PASSWORD),
        "bcrypt": bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(12)).decode(),
    }
    settings = {"DATABASE_URL": cluster18.url(database), "SECRET_KEY": SECRET, **UNLIMITED_ENVIRONMENT}
    taken: dict[str, list[float]] = {"unknown": [], **{kind: [] for kind in hashes}}
    with cluster18.connect(database) as connection, Service(folder, **settings) as service:
        for kind, hashed in hashes.items():
            connection.execute(
                "INSERT INTO users (email, password) VALUES (%s, %s)", (f"{kind}@example.com", hashed)
            )
        with httpx.Client(base_url=service.url, timeout=60) as client:
            for number in range(TIMES):
                # In another order each time, so that nobody always comes after the same one.
                kinds = list(taken)[number % 3 :] + list(taken)[: number % 3]
                for kind in kinds[:: 1 if number % 2 else -1]:
                    form = {"username": f"{kind}@example.com", "password": "a wrong password"}
                    began = time.perf_counter()
                    answer = client.post("/login", data=form)
                    taken[kind].append(time.perf_counter() - began)
                    assert answer.status_code == 400, answer.text
                connection.execute("TRUNCATE login_failures")
    medians = {kind: median(times) * 1000 for kind, times in taken.items()}
    record_property("medians", ", ".join(f"{kind} {each:.2f} ms" for kind, each in medians.items()))
    assert max(medians.values()) <= min(medians.values()) * (1 + APART), medians

"""The service reaches its database through PgBouncer in transaction mode, as docs/settings.md has it."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from api import POOLED, Api
from testing.pooler import PGBOUNCER, pooled

if TYPE_CHECKING:
    from testing.cluster import Cluster

HERE = Path(__file__).parent
#: What the application of most tests does, but for what is about connections themselves.
SUITES = (
    "accounts", "attempts", "caller", "comments", "email_links", "ended_meanwhile", "feeds", "limits",
    "moderation", "pages_discussion", "pages_forms", "pages_posts", "posts", "search", "sessions",
    "vote_counts", "votes",
)  # fmt: skip
pytestmark = pytest.mark.skipif(
    PGBOUNCER is None, reason="PgBouncer is not installed: the pooler was not tried"
)


def test_ten_connections_of_the_service_are_five_of_the_database(cluster18: Cluster, migrated: str) -> None:
    name = cluster18.create_database(template=migrated)
    post = {"title": "A bench", "content": "Who would help?"}
    with pooled(cluster18, "transaction") as folder:
        url = f"postgresql://postgres@/{name}?host={folder}&port=6432"
        with Api(cluster18, name, database_url=url, database_statement_cache_size=0) as api:
            ada = api.person()
            ask = partial(api.post, "/posts", json=post, headers=ada.auth)
            look = partial(api.get, "/posts?q=bench", headers=ada.auth)
            answers = api.at_once(*[ask, look] * 15)
            assert {answer.status_code for answer in answers} == {200, 201}
            assert len(api.get("/posts?limit=100").json()["items"]) == 15
            assert api.application.state.pool.get_size() == 10
            with cluster18.connect() as connection:
                sessions = connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = %s", (name,)
                ).fetchone()
            assert sessions == (5,)
    cluster18.drop_database(name)


@pytest.mark.prove
@pytest.mark.parametrize("suite", SUITES)
def test_the_tests_of_the_api_pass_through_a_pooler_in_transaction_mode(suite: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not prove", f"{HERE}/test_{suite}.py"],
        env={**os.environ, POOLED: "1"}, cwd=HERE.parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout

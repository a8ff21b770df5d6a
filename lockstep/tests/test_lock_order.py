"""A step that locks several tables gets through where others lock them in another order."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import sqlalchemy as sa

from databases import database18
from lockstep import Pace
from lockstep.steps.locks import brief

if TYPE_CHECKING:
    from testing.cluster import Cluster

database = database18("CREATE TABLE sessions (n integer); CREATE TABLE posts (n integer)")

#: The order that is the worst: whoever reads sessions goes on to posts.
LOCKS = (("posts", "ACCESS EXCLUSIVE"), ("sessions", "ACCESS EXCLUSIVE"))


def test_it_gets_its_locks_where_somebody_always_holds_one_and_waits_for_the_other(
    cluster18: Cluster, database: str
) -> None:
    done, all_read = threading.Event(), threading.Barrier(5)

    def read_on() -> None:
        with cluster18.connect(database, autocommit=False) as connection:
            connection.execute("SELECT FROM sessions")
            all_read.wait()
            while not done.is_set():
                connection.execute("SELECT FROM posts")
                connection.commit()
                connection.execute("SELECT FROM sessions")

    readers = [threading.Thread(target=read_on) for _ in range(4)]
    for reader in readers:
        reader.start()
    all_read.wait()
    engine = sa.create_engine(cluster18.url(database, "psycopg"), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            brief(connection, Pace(give_up_after=10), "lock both", lambda: None, locks=LOCKS)
    finally:
        done.set()
        for reader in readers:
            reader.join()
        engine.dispose()

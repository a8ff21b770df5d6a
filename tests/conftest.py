"""Fixtures for every test: PostgreSQL servers (18 from the wheel, 15 where installed) and databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from folkmoot.embedded import programs
from tests.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def cluster18() -> Iterator[Cluster]:
    cluster = Cluster(18)
    yield cluster
    cluster.remove()


@pytest.fixture(scope="session")
def cluster15() -> Iterator[Cluster]:
    if programs(15) is None:
        pytest.skip("PostgreSQL 15 is not installed: what needs it was not tested")
    cluster = Cluster(15)
    yield cluster
    cluster.remove()


@pytest.fixture(params=[18, 15], ids=["pg18", "pg15"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Each PostgreSQL version in turn."""
    found: Cluster = request.getfixturevalue(f"cluster{request.param}")
    return found


@pytest.fixture
def database(cluster: Cluster) -> Iterator[str]:
    """The name of an empty database on ``cluster``, dropped afterwards."""
    name = cluster.create_database()
    yield name
    cluster.drop_database(name)

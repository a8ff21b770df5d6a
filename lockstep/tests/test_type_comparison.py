"""The generated comparison: changes of type end as plain Alembic's, or are refused with nothing changed."""

from __future__ import annotations

import os
import random
import re
import time
from typing import TYPE_CHECKING

import pytest

from type_cases import ROWS, deal
from type_casts import TYPES, pairs, tried
from type_comparison import Comparison, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from testing.cluster import Cluster

#: What Lockstep refuses and plain Alembic does not: before the first statement, with nothing changed.
KNOWN_REFUSALS = (
    r"is partitioned, inherited or no ordinary table",
    r"updates every row, and these break constraint \S+, which is NOT VALID",
    # PostgreSQL does not check a foreign key again where its operator stays the same (another collation,
    # another length of bits), whatever becomes of the rows.
    r"foreign key \S+ does not go with the new type",
    r"foreign key \S+ would be broken by these rows",
    r"its type cannot be changed while these depend on it: constraint \S+ on table TABLE\.",
)

#: In how many shares `make prove` runs all cases.
_SHARES = 24


def _outcome(cluster: Cluster, folder: Path, share: slice, seed: str, rows: int) -> Outcome:
    chance = random.Random(seed)
    database = cluster.create_database()
    with cluster.connect(database) as connection:
        connection.execute(TYPES)
        chosen = pairs(connection)
        chance.shuffle(chosen)
        casts = list(tried(connection, chosen[share]))
    cluster.drop_database(database)
    outcome = Comparison(cluster, deal(casts, chance, rows), folder / "project").run()
    print(outcome)
    return outcome


def _judge(outcome: Outcome) -> None:
    assert not outcome.differences, "\n".join(outcome.differences)
    unknown = [
        f"{outcome.example[r]}: {r}"
        for r in outcome.refusals if not any(re.search(known, r) for known in KNOWN_REFUSALS)
    ]  # fmt: skip
    assert not unknown, unknown


def test_a_sample_of_the_changes_of_type_ends_as_plain_alembic_ends(
    cluster: Cluster, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Another sample each day; LOCKSTEP_SEED=… runs that of another day again."""
    seed = os.environ.get("LOCKSTEP_SEED") or time.strftime("%Y-%m-%d", time.gmtime())
    print(f"LOCKSTEP_SEED={seed}")
    outcome = _outcome(cluster, tmp_path, slice(0, 6), seed, 2)
    record_property("compared", outcome.told())
    _judge(outcome)


@pytest.mark.prove
@pytest.mark.parametrize("share", range(_SHARES))
def test_every_change_of_type_ends_as_plain_alembic_ends(
    share: int, cluster18: Cluster, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    outcome = _outcome(cluster18, tmp_path, slice(share, None, _SHARES), "every", ROWS)
    record_property("compared", outcome.told())
    _judge(outcome)

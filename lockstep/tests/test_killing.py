"""A migration that is killed anywhere goes on, or is taken back, and loses nothing."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

import pytest

from cases import CASES, Case
from killing import Proof, template_of, ways
from testing.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WAYS = list(ways())


@pytest.fixture(scope="module")
def mortal() -> Iterator[tuple[Cluster, str]]:
    """A server that may be killed, durable as a real one, with the tables of the cases."""
    cluster = Cluster(18, ["fsync=off"])
    yield cluster, template_of(cluster)
    cluster.remove()


def _proof(mortal: tuple[Cluster, str], case: Case, tmp_path: Path) -> Proof:
    cluster, template = mortal
    return Proof(cluster, case, tmp_path / "project", template)


def _chance(case: Case) -> random.Random:
    """Another one each day; LOCKSTEP_SEED=… is that of another day again."""
    seed = os.environ.get("LOCKSTEP_SEED") or time.strftime("%Y-%m-%d", time.gmtime())
    print(f"LOCKSTEP_SEED={seed}")
    return random.Random(f"{seed} {case.name}")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_killed_migration_goes_on_or_is_taken_back(
    case: Case, mortal: tuple[Cluster, str], tmp_path: Path
) -> None:
    """A sample: one point of each case, another one each day; all of them are `make prove`."""
    chance = _chance(case)
    direction, then = chance.choice(WAYS)
    victim = chance.choice(["migrator", "statement"])
    proof = _proof(mortal, case, tmp_path)
    at = chance.randint(1, proof.points(direction))
    wrong = proof.kill(direction, victim, at, then)
    assert wrong is None, f"{direction}, {victim} struck at {at}, then {then}"


@pytest.mark.parametrize("case", [CASES[0], CASES[24]], ids=lambda case: case.name)
def test_a_migration_survives_the_death_of_the_server(
    case: Case, mortal: tuple[Cluster, str], tmp_path: Path
) -> None:
    chance = _chance(case)
    proof = _proof(mortal, case, tmp_path)
    at = chance.randint(1, proof.points("upgrade"))
    assert proof.kill("upgrade", "server", at, "upgrade") is None, f"killed at {at}"


@pytest.mark.prove
@pytest.mark.parametrize("victim", ["migrator", "server", "statement"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_point_of_every_operation(
    case: Case,
    victim: str,
    mortal: tuple[Cluster, str],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    proof = _proof(mortal, case, tmp_path)
    wrong: list[str] = []
    total = 0
    for direction, then in WAYS:
        points = proof.points(direction)
        total += points
        told = {at: proof.kill(direction, victim, at, then) for at in range(1, points + 1)}
        wrong += [f"{direction} at {at}, then {then}: {problem}" for at, problem in told.items() if problem]
    record_property("killed", (case.name, victim, total, len(wrong)))
    assert not wrong, "\n".join(wrong)

"""A migration that is stopped anywhere goes on, or is taken back, and loses nothing."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from cases import CASES, Case
from ground import MODES, Circumstances, template_of
from killing import BLOWS, WAYS, Points, Proof
from revisions import REVISIONS
from testing.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SEED = os.environ.get("LOCKSTEP_SEED") or time.strftime("%Y-%m-%d", time.gmtime())

#: Any two of what they are made of meet in one of them.
CIRCUMSTANCES = [
    Circumstances(mode, archive, owner, schema)
    for mode, archive, owner, schema in [
        ("together", False, True, "public"), ("together", True, False, "app"),
        ("mixed", False, False, "app"), ("mixed", True, True, "public"),
        ("steps", False, False, "public"), ("steps", True, True, "app"),
    ]
]  # fmt: skip


class Ground:
    """A server that may be killed, with the tables of the cases, as each circumstances want them."""

    def __init__(self) -> None:
        self.cluster = Cluster(18, ["fsync=off"])
        self._templates: dict[tuple[bool, str], str] = {}

    def proof(self, cases: tuple[Case, ...], circumstances: Circumstances, folder: Path) -> Proof:
        key = (circumstances.mode == "mixed", circumstances.schema)
        if key not in self._templates:
            self._templates[key] = template_of(self.cluster, circumstances)
        return Proof(self.cluster, cases, circumstances, self._templates[key], folder)


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    ground = Ground()
    yield ground
    ground.cluster.remove()


def _by_chance(chance: random.Random) -> Circumstances:
    return Circumstances(
        chance.choice(MODES), chance.random() < 0.5, chance.random() < 0.5, chance.choice(["public", "app"])
    )


def _struck(proof: Proof, chance: random.Random, blows: int) -> list[str]:
    """What is wrong undisturbed, or else after some blows at points that chance chooses."""
    if wrong := proof.compare():
        return [f"{proof}: {wrong}"]
    direction, then = chance.choice(WAYS)
    points = proof.points(direction)
    wrongs = []
    for _ in range(blows):
        blow, at = chance.choice(BLOWS[:-1]), chance.randint(1, len(points))
        if wrong := proof.strike(direction, blow, at, then):
            wrongs.append(f"{proof}: {direction}, {blow} struck at {at} of {len(points)}, then {wrong}")
    return wrongs


@pytest.mark.parametrize("number", range(3))
def test_a_stopped_migration_goes_on_or_is_taken_back(number: int, ground: Ground, tmp_path: Path) -> None:
    """A sample, another one each day; all of it is `make prove`."""
    chance = random.Random(f"{SEED} {number}")
    circumstances = _by_chance(chance)
    while True:
        cases = tuple(chance.sample(CASES, 2)) if number % 2 else (chance.choice(REVISIONS),)
        proof = ground.proof(cases, circumstances, tmp_path / "-".join(case.name for case in cases))
        if proof.is_possible():
            break
    wrongs = _struck(proof, chance, 3)
    assert not wrongs, "\n".join([f"LOCKSTEP_SEED={SEED}", *wrongs])


def test_a_migration_survives_the_death_of_the_server(ground: Ground, tmp_path: Path) -> None:
    chance = random.Random(f"{SEED} server")
    proof = ground.proof((chance.choice(CASES),), _by_chance(chance), tmp_path / "project")
    at = chance.randint(1, len(proof.points("upgrade")))
    wrong = proof.strike("upgrade", "server", at, "upgrade")
    assert wrong is None, f"LOCKSTEP_SEED={SEED}, {proof}: at {at}: {wrong}"


def _strikes(
    points: Points, direction: str, turn: int, chance: random.Random
) -> Iterator[tuple[str, int, str]]:
    """Which blow falls where, and what is run then: each death, and one in six of the failures, with the ways
    on in turn. Of six turns, one for each of the circumstances, a death meets each way on in two at least and
    a failure comes once.
    """
    ways = [then for struck, then in WAYS if struck == direction]
    for number, at in enumerate(points.of_death(chance), start=turn):
        yield "server" if chance.random() < 0.1 else "migrator", at, ways[number % len(ways)]
    for number, at in enumerate(points.of_failure(chance)[turn % 6 :: 6], start=turn):
        yield ("statement", "lock")[number % 2], at, ways[number % len(ways)]


@pytest.mark.prove
@pytest.mark.parametrize("case", [*CASES, *REVISIONS], ids=lambda case: case.name)
def test_every_stretch_of_every_operation(
    case: Case, ground: Ground, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Under each of the circumstances, there and back."""
    wrongs: list[str] = []
    total: Counter[str] = Counter()
    first = random.Random(f"{SEED} {case.name}").randrange(len(CIRCUMSTANCES))
    for number, circumstances in enumerate(CIRCUMSTANCES):
        chance = random.Random(f"{SEED} {case.name} {number}")
        proof = ground.proof((case,), circumstances, tmp_path / str(number))
        assert proof.is_possible()
        if wrong := proof.compare():
            wrongs.append(f"{proof}: {wrong}")
        for direction in ("upgrade", "downgrade"):
            points = proof.points(direction)
            for blow, at, then in _strikes(points, direction, first + number, chance):
                total[blow] += 1
                if wrong := proof.strike(direction, blow, at, then):
                    wrongs.append(
                        f"{proof}: {direction}, {blow} struck at {at} of {len(points)}, then {wrong}"
                    )
        proof.clear()
    for blow, strikes in total.items():
        record_property("killed", (case.name, blow, strikes, sum(f", {blow} struck" in w for w in wrongs)))
    assert not wrongs, "\n".join([f"LOCKSTEP_SEED={SEED}", *wrongs])


@pytest.mark.prove
@pytest.mark.parametrize("first", CASES, ids=lambda case: case.name)
def test_every_pair_of_operations(
    first: Case, ground: Ground, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """In an order, at points and under circumstances that chance chooses, others each day."""
    wrongs: list[str] = []
    total = 0
    for second in CASES:
        chance = random.Random(" ".join([SEED, *sorted([first.name, second.name])]))
        if first is second or (first.name < second.name) == (chance.random() < 0.5):
            continue
        proof = ground.proof((first, second), _by_chance(chance), tmp_path / second.name)
        if proof.is_possible():
            total += 2
            wrongs += _struck(proof, chance, 2)
        proof.clear()
    record_property("killed", (first.name, "a pair", total, len(wrongs)))
    assert not wrongs, "\n".join([f"LOCKSTEP_SEED={SEED}", *wrongs])

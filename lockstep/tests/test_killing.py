"""A migration that is stopped anywhere goes on, or is taken back, and loses nothing."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

import pytest

from cases import CASES, Case
from ground import MODES, Circumstances, template_of
from killing import BLOWS, WAYS, Proof
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
        self._templates: dict[bool, str] = {}

    def proof(self, cases: tuple[Case, ...], circumstances: Circumstances, folder: Path) -> Proof:
        large = circumstances.mode == "mixed"
        if large not in self._templates:
            self._templates[large] = template_of(self.cluster, circumstances)
        return Proof(self.cluster, cases, circumstances, self._templates[large], folder)


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
        blow, at = chance.choice(BLOWS[:-1]), chance.randint(1, points)
        if wrong := proof.strike(direction, blow, at, then):
            wrongs.append(f"{proof}: {direction}, {blow} struck at {at} of {points}, then {wrong}")
    return wrongs


@pytest.mark.parametrize("number", range(5))
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
    at = chance.randint(1, proof.points("upgrade"))
    wrong = proof.strike("upgrade", "server", at, "upgrade")
    assert wrong is None, f"LOCKSTEP_SEED={SEED}, {proof}: at {at}: {wrong}"


@pytest.mark.prove
@pytest.mark.parametrize(("direction", "then"), WAYS)
@pytest.mark.parametrize("case", [*CASES, *REVISIONS], ids=lambda case: case.name)
def test_every_point_of_every_operation(
    case: Case,
    direction: str,
    then: str,
    ground: Ground,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """The circumstances and the blows take turns, so that each blow falls under each of them."""
    wrongs: list[str] = []
    total = 0
    for number, circumstances in enumerate(CIRCUMSTANCES):
        proof = ground.proof((case,), circumstances, tmp_path / str(number))
        assert proof.is_possible()
        if wrong := proof.compare():
            wrongs.append(f"{proof}: {wrong}")
        points = proof.points(direction)
        for at in range(number % 2 + 1, points + 1, 2):
            blow = BLOWS[(at // 2 + number) % len(BLOWS)]
            total += 1
            if wrong := proof.strike(direction, blow, at, then):
                wrongs.append(f"{proof}: {direction}, {blow} struck at {at} of {points}, then {wrong}")
        proof.clear()
    record_property("killed", (case.name, f"{direction}, then {then}:", total, len(wrongs)))
    assert not wrongs, "\n".join(wrongs)


@pytest.mark.prove
@pytest.mark.parametrize("first", CASES, ids=lambda case: case.name)
def test_every_pair_of_operations(
    first: Case, ground: Ground, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """At points and under circumstances that chance chooses, others each day."""
    wrongs: list[str] = []
    total = 0
    for second in CASES:
        chance = random.Random(f"{SEED} {first.name} {second.name}")
        proof = ground.proof((first, second), _by_chance(chance), tmp_path / second.name)
        if first is not second and proof.is_possible():
            total += 2
            wrongs += _struck(proof, chance, 2)
        proof.clear()
    record_property("killed", (first.name, "in pairs:", total, len(wrongs)))
    assert not wrongs, "\n".join([f"LOCKSTEP_SEED={SEED}", *wrongs])

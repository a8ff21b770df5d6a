"""How the packages are laid out: imports run one way, and in no circle."""

from __future__ import annotations

from graphlib import TopologicalSorter

import pytest

from testing.rooms import DOCUMENT, FOLKMOOT, HOUSES, LOCKSTEP, House, drawn, picture


@pytest.mark.parametrize("house", HOUSES, ids=lambda house: house.name)
def test_no_import_runs_upwards(house: House) -> None:
    modules = house.modules()
    assert len(modules) > 50
    upward = {name: house.upward(name, path.read_text()) for name, path in modules.items()}
    assert {name: targets for name, targets in upward.items() if targets} == {}


@pytest.mark.parametrize("house", HOUSES, ids=lambda house: house.name)
def test_no_imports_run_in_a_circle(house: House) -> None:
    graph = {name: set(house.imported(path.read_text())) for name, path in house.modules().items()}
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_lockstep_imports_nothing_of_folkmoot() -> None:
    for path in LOCKSTEP.modules().values():
        assert list(FOLKMOOT.imported(path.read_text())) == []


@pytest.mark.parametrize(
    ("house", "module", "source"),
    [
        (FOLKMOOT, "postgres.pool", "from folkmoot.http import problems"),
        (FOLKMOOT, "people.sessions", "def later():\n    import folkmoot.posts.votes"),
        (FOLKMOOT, "http.etags", "if TYPE_CHECKING:\n    from folkmoot.app import create_app"),
        (FOLKMOOT, "settings", "from folkmoot.postgres.pool import Pool"),
        (LOCKSTEP, "steps.run", "from lockstep.revision.ledger import Ledger"),
        (LOCKSTEP, "archive.restore", "if TYPE_CHECKING:\n    from lockstep.operations import execute"),
        (LOCKSTEP, "errors", "from lockstep import Pace"),
    ],
)
def test_an_import_that_runs_upwards_is_found(house: House, module: str, source: str) -> None:
    assert len(house.upward(module, source)) == 1


def test_the_picture_of_the_rooms_is_drawn_from_the_imports() -> None:
    assert "lockstep_operations --> lockstep_archive\n" in picture()
    assert drawn(DOCUMENT.read_text()) == DOCUMENT.read_text(), "`make docs` draws it anew"

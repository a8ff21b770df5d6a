"""The picture of a schema: readable with 5 tables and with 50."""

from __future__ import annotations

from itertools import combinations, pairwise
from random import Random
from time import perf_counter

import pytest

from folkmoot.pages.picture import DETAILED, MOST, SIGN, Arrow, Box, Picture, picture
from lockstep.snapshot.tables import Column, Reference, Table


def table(name: str, columns: int = 3, refers_to: tuple[str, ...] = ()) -> Table:
    named = [Column("id", "bigint", True, None, False, True, False, None)]  # noqa: FBT003
    named += [
        Column(f"{other}_id", "bigint", True, None, False, False, True, None)  # noqa: FBT003
        for other in refers_to
    ]
    named += [
        Column(f"column_{n}", "timestamp with time zone", False, None, False, False, False, None)  # noqa: FBT003
        for n in range(columns - len(named))
    ]
    references = [Reference(f"{name}_{other}", [f"{other}_id"], other, ["id"]) for other in refers_to]
    return Table("public", name, 0, 0, None, named, [], [], references)


def made_up(tables: int, references: int, seed: int) -> list[Table]:
    """Tables that refer to one another as they do in life: most to a few; some to themselves; one alone."""
    random = Random(seed)
    names = [
        f"{'a_rather_long_name_of_a_table_that_is_cut_' if n % 7 == 3 else 'table_'}{n}"
        for n in range(tables)
    ]
    of: dict[int, list[str]] = {n: [] for n in range(tables)}
    for _ in range(references):
        here = random.randrange(tables - 1)
        there = min(int(random.paretovariate(0.8)) - 1, tables - 2)
        of[here].append(names[there])
    return [table(name, random.randint(1, 14), tuple(of[n])) for n, name in enumerate(names)]


def drawn(tables: list[Table]) -> Picture:
    found = picture(tables)
    assert found is not None
    return found


def inside(box: Box, x: float, y: float, by: float = 0.2) -> bool:
    return box.x + by < x < box.x + box.width - by and box.y + by < y < box.y + box.height - by


def on_border(box: Box, x: float, y: float) -> bool:
    return inside(box, x, y, -0.3) and not inside(box, x, y, 0.3)


def crosses(box: Box, one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether a line at a right angle goes through a box."""
    (left, right), (top, bottom) = sorted((one[0], other[0])), sorted((one[1], other[1]))
    return (
        right > box.x + 0.2 and left < box.x + box.width - 0.2
        and bottom > box.y + 0.2 and top < box.y + box.height - 0.2
    )  # fmt: skip


SHAPES = [(1, 0), (2, 1), (5, 6), (9, 8), (20, 25), (21, 25), (50, 50), (50, 75)]


@pytest.mark.parametrize(("tables", "references"), SHAPES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_two_boxes_overlap_and_all_is_within_the_picture(tables: int, references: int, seed: int) -> None:
    found = drawn(made_up(tables, references if tables > 1 else 0, seed))
    assert len(found.boxes) == tables
    for one, other in combinations(found.boxes, 2):
        apart_x = one.x + one.width < other.x or other.x + other.width < one.x
        apart_y = one.y + one.height < other.y or other.y + other.height < one.y
        assert apart_x or apart_y, (one.table, other.table)
    for box in found.boxes:
        assert 0 <= box.x <= box.x + box.width <= found.width
        assert 0 <= box.y <= box.y + box.height <= found.height
    for arrow in found.arrows:
        assert all(0 <= x <= found.width and 0 <= y <= found.height for x, y in arrow.points)


@pytest.mark.parametrize(("tables", "references"), SHAPES[1:])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_arrows_begin_and_end_at_their_tables_and_go_through_no_other(
    tables: int, references: int, seed: int
) -> None:
    found = drawn(made_up(tables, references, seed))
    assert len(found.arrows) == references
    boxes = {box.table: box for box in found.boxes}
    for arrow in found.arrows:
        assert on_border(boxes[arrow.table], *arrow.points[0]), arrow
        assert on_border(boxes[arrow.refers_to], *arrow.points[-1]), arrow
        for one, other in pairwise(arrow.points):
            assert min(abs(one[0] - other[0]), abs(one[1] - other[1])) < 1, arrow
            hit = [box.table for box in found.boxes if crosses(box, one, other)]
            assert not hit, (arrow, hit)


def test_a_line_fits_into_its_box() -> None:
    wide = table("漢字" * 20, 2)
    found = drawn([*made_up(11, 12, 1), wide])
    for box in found.boxes:
        for text, mark, of in ((box.name, "", ""), *((each.text, "FK ", each.type) for each in box.lines)):
            signs = len(text) * (2 if "漢" in text else 1) + len(mark) + len(of)
            assert signs * SIGN <= box.width, (box.table, text)
        assert box.height >= 28 + 18 * (len(box.lines) + bool(box.more))
        for line in box.lines:
            assert box.y + 28 < line.y < box.y + box.height


def test_few_tables_show_their_columns_and_many_their_keys() -> None:
    few, many = drawn(made_up(DETAILED, 9, 1)), drawn(made_up(DETAILED + 1, 9, 1))
    assert {line.type for box in few.boxes for line in box.lines} == {"bigint", "timestamptz"}
    assert {line.mark for box in many.boxes for line in box.lines} <= {"PK", "FK"}
    asked = made_up(DETAILED + 1, 9, 1)
    for box, of in zip(many.boxes, asked, strict=True):
        assert len(box.lines) + box.more == len(of.columns)


def test_an_arrow_says_what_it_is_and_has_a_path() -> None:
    found = drawn([table("users"), table("posts", 3, ("users",))])
    (arrow,) = found.arrows
    assert arrow.says == "posts (users_id) → users (id)"
    assert arrow.path.startswith("M")
    users, posts = found.boxes
    assert users.x < posts.x  # what others refer to stands at the left


def test_the_same_tables_are_drawn_alike_and_laid_out_once() -> None:
    first, again = drawn(made_up(50, 75, 9)), drawn(made_up(50, 75, 9))
    assert first is again
    began = perf_counter()
    drawn(made_up(50, 75, 9))
    assert perf_counter() - began < 0.05


def test_no_picture_of_nothing_or_of_too_much() -> None:
    assert picture([]) is None
    assert picture(made_up(MOST + 1, 10, 1)) is None


def test_arrows_are_as_many_as_foreign_keys_where_several_lead_to_one_table() -> None:
    found = drawn([table("users"), table("votes", 4, ("users", "users", "votes"))])
    assert [(each.table, each.refers_to) for each in found.arrows] == [
        ("votes", "users"), ("votes", "users"), ("votes", "votes"),
    ]  # fmt: skip
    assert all(isinstance(each, Arrow) for each in found.arrows)

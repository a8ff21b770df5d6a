"""The schema page: tables, their picture, the revisions, and what is pending, under way and kept.

What it shows is Lockstep's; nothing is found out here. It only reads.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from folkmoot.http.problems import NotFound
from folkmoot.pages import picture, site
from folkmoot.pages.routes import PageRoute

if TYPE_CHECKING:
    from collections.abc import Iterable

    from folkmoot.pages.schema_sight import Sights
    from lockstep.snapshot.tables import Reference, Table

router = APIRouter(include_in_schema=False, route_class=PageRoute)


def _sights(request: Request) -> Sights:
    """What may be seen: by everybody on the embedded database, by nobody elsewhere."""
    if not request.app.state.settings.embedded:
        raise NotFound
    sights: Sights = request.app.state.sights
    return sights


@router.get("/schema")
async def schema(request: Request) -> Response:
    """Show the schema."""
    found = await _sights(request).everything.get()
    tables = found.tables or []
    return site.page(
        request,
        "schema.html",
        seen=found,
        tables=tables,
        referred=_referred(tables),
        picture=picture.picture(tables),
        sizes=picture,
        under_way=found.under_way,
    )


@router.get("/schema/live")
async def live(request: Request) -> Response:
    """Show what is under way, for the page to put in place."""
    return site.page(request, "schema_live.html", under_way=await _sights(request).live.get())


@router.get("/schema/plan")
async def plan(request: Request) -> Response:
    """Show what the revisions that are pending would do."""
    return site.page(request, "schema_plan.html", plan=await _sights(request).plan.get())


def _referred(tables: Iterable[Table]) -> dict[str, list[tuple[Table, Reference]]]:
    """For each table the foreign keys of others that lead to it."""
    found = defaultdict(list)
    for table in tables:
        for reference in table.references:
            found[reference.table].append((table, reference))
    return found

"""The schema page: tables, their picture, the revisions, and what is pending, under way and kept.

What it shows is Lockstep's; nothing is found out here. It only reads.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Request, Response

from folkmoot.http.problems import LoginRequired
from folkmoot.pages import picture, site
from folkmoot.pages.routes import PageRoute
from folkmoot.pages.schema_sight import Sights
from folkmoot.pages.visitor import Reader  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.people import administrators
from folkmoot.people.caller import Anonymous

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lockstep.snapshot.tables import Reference, Table

router = APIRouter(include_in_schema=False, route_class=PageRoute)


async def _sights(request: Request, reader: Reader) -> Sights:
    """What there is to see: for everybody on the embedded database, for administrators elsewhere."""
    if not request.app.state.settings.embedded:
        if isinstance(reader, Anonymous):
            raise LoginRequired
        async with administrators.acting(reader):
            pass  # that they are one is enough
    sights: Sights = request.app.state.sights
    return sights


_Seen = Annotated[Sights, Depends(_sights)]


@router.get("/schema")
async def schema(request: Request, sights: _Seen) -> Response:
    """Show the schema."""
    found = await sights.everything.get()
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
async def live(request: Request, sights: _Seen) -> Response:
    """Show what is under way, for the page to put in place."""
    return site.page(request, "schema_live.html", under_way=await sights.live.get())


@router.get("/schema/plan")
async def plan(request: Request, sights: _Seen) -> Response:
    """Show what the revisions that are pending would do."""
    return site.page(request, "schema_plan.html", plan=await sights.plan.get())


def _referred(tables: Iterable[Table]) -> dict[str, list[tuple[Table, Reference]]]:
    """For each table the foreign keys of others that lead to it."""
    found = defaultdict(list)
    for table in tables:
        for reference in table.references:
            found[reference.table].append((table, reference))
    return found

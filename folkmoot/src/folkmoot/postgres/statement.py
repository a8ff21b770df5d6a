"""Statements with named parameters, for asyncpg, whose own are numbered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql.base import PGDialect

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

    from folkmoot.postgres.pool import Connection, Pool

_NUMBERED = PGDialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]


class Statement:
    """An SQL statement; where a parameter stands it has `:name`, or `CAST(:name AS type)`.

    Made once, when the program starts or at its first use: SQLAlchemy numbers the parameters then.
    """

    def __init__(self, sql: str) -> None:
        compiled = text(sql).compile(dialect=_NUMBERED)
        #: The text as PostgreSQL gets it.
        self.sql = str(compiled)
        #: The names of $1, $2 …
        self.names: tuple[str, ...] = tuple(compiled.positiontup or ())

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """The values in the order of the parameters; raises KeyError where one is missing."""
        return [values[name] for name in self.names]

    async def rows(self, connection: Connection | Pool, **values: Any) -> list[asyncpg.Record]:
        """Run it, and return all rows."""
        found: list[asyncpg.Record] = await connection.fetch(self.sql, *self.arguments(values))
        return found

    async def row(self, connection: Connection | Pool, **values: Any) -> asyncpg.Record | None:
        """Run it, and return its first row."""
        return await connection.fetchrow(self.sql, *self.arguments(values))

    async def value(self, connection: Connection | Pool, **values: Any) -> Any:
        """Run it, and return the one value of its first row; None where it has no row."""
        return await connection.fetchval(self.sql, *self.arguments(values))

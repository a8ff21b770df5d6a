"""The shadow of a column: kept in step by a trigger that has the last word, verified before it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, quote
from lockstep.steps.step import Fill, Kind, Step

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.operations.conversion import Conversion
    from lockstep.postgres.catalog import Table


class Shadow:
    """The shadow's trigger, its steps, and the proof that it is in step."""

    def __init__(self, connection: Connection, conversion: Conversion) -> None:
        table, number = conversion.table, conversion.old.number
        self.conversion = conversion
        self.table = table
        self.name = quote(conversion.became.name)
        self.function = f"lockstep.{quote(f'sync_{table.oid}_{number}')}"
        self.trigger_name = _last_name(connection, table, f"~lockstep_{number}")
        self.trigger = quote(self.trigger_name)

    def add(self, settings: list[str]) -> Step:
        """Add the column with its trigger; ``settings`` are statements about the column."""
        conversion, table = self.conversion, self.table
        # Where it is known without a function call, the trigger is not called for a row in step already.
        value = f"CAST(NEW.{quote(conversion.old.name)} AS {conversion.became.type_sql})"
        when = (
            f" WHEN ({conversion.differs(f'NEW.{self.name}', value)})"
            if conversion.immutable and conversion.using is None
            else ""
        )
        return Step(
            f"{table}: a shadow of {conversion.old.name} as {conversion.became.type_sql}, "
            "kept in step by a trigger",
            sql=(
                f"ALTER TABLE {table.sql} ADD COLUMN {self.name} {conversion.became.definition}",
                *settings,
                f"CREATE FUNCTION {self.function}() RETURNS trigger LANGUAGE plpgsql"
                f"{conversion.set_clauses()} AS {literal(conversion.trigger_body())}",
                f"CREATE TRIGGER {self.trigger} BEFORE INSERT OR UPDATE ON {table.sql} "
                f"FOR EACH ROW{when} EXECUTE FUNCTION {self.function}()",
                # Also for what replicas and archives write, who fire no other triggers.
                f"ALTER TABLE {table.sql} ENABLE ALWAYS TRIGGER {self.trigger}",
            ),
            locks=((table.sql, "ACCESS EXCLUSIVE"),),
            undo=(
                *self.drop_trigger(),
                f"ALTER TABLE {table.sql} DROP COLUMN {self.name}",
            ),
        )

    def drop_trigger(self) -> tuple[str, str]:
        return f"DROP TRIGGER {self.trigger} ON {self.table.sql}", f"DROP FUNCTION {self.function}()"

    def fill(self, *, without_triggers: bool) -> Step:
        """Give the shadow its value in the rows that are there."""
        conversion = self.conversion
        return Step(
            f"{self.table}: fill the shadow of {conversion.old.name}",
            kind=Kind.FILL,
            fill=Fill(
                self.table.sql,
                f"{self.name} = {conversion.expression}",
                conversion.out_of_step,
                without_triggers=without_triggers,
                columns=(conversion.became.name,),
                parallel=True,
                settings=conversion.settings,
            ),
            undo=(),
        )

    def verify(self) -> Step:
        """Read the table once more: from here on only the trigger's word is needed, see ``still_last``."""
        conversion, name = self.conversion, quote(self.table.name)
        found = (
            f"SELECT string_agg(line, '; ') FROM (SELECT left(to_jsonb({name})::text, 300) FROM ONLY "
            f"{self.table.sql} AS {name} WHERE {conversion.out_of_step} LIMIT 5) bad(line)"
        )
        return Step(
            f"{self.table}: every row has the new {conversion.old.name}",
            kind=Kind.LONG,
            sql=(
                *(
                    f"SELECT set_config({literal(name)}, {literal(value)}, true)"
                    for name, value in conversion.settings
                ),
                _raise_if(
                    found,
                    f"{self.table}.{conversion.old.name}: rows whose new value is not made of the old one, "
                    "since something else wrote it: ",
                ),
            ),
            undo=(),
        )

    def still_last(self) -> str:
        """A statement of the swap: under its lock, that no trigger could have written a row after ours.

        Each row was in step when ``verify`` read it or when it was written since: the trigger is there
        longer than that, nothing keeps it from firing, and no BEFORE trigger comes after it.
        """
        oid = f"{literal(self.table.sql)}::regclass"
        found = f"""
            SELECT CASE WHEN NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = {oid}
                    AND tgname = {literal(self.trigger_name)} AND tgenabled = 'A')
                THEN 'it was dropped or disabled' ELSE (SELECT string_agg(tgname, ', ') FROM pg_trigger
                    WHERE tgrelid = {oid} AND NOT tgisinternal AND tgtype & 3 = 3 AND tgtype & 20 <> 0
                      AND tgname::text COLLATE "C" > {literal(self.trigger_name)} COLLATE "C") END"""
        return _raise_if(
            found,
            f"{self.table}: the trigger that keeps the new {self.conversion.old.name} in step no longer has "
            "the last word: ",
        )


def _last_name(connection: Connection, table: Table, name: str) -> str:
    """A name for a trigger that fires after all others: PostgreSQL goes by the bytes of their names."""
    last = catalog.scalar(
        connection,
        'SELECT max(tgname::text COLLATE "C") FROM pg_trigger '
        "WHERE tgrelid = %(oid)s AND NOT tgisinternal AND tgtype & 3 = 3 AND tgtype & 20 <> 0 "
        'AND tgname::text COLLATE "C" > %(name)s COLLATE "C"',
        oid=table.oid,
        name=name,
    )
    if last is None:
        return name
    later = f"{last}{name}"
    if len(later.encode()) > catalog.LONGEST_NAME:
        raise LockstepError(
            f"{table}: trigger {last} would fire after Lockstep's own, whose name can't come after it. "
            "Rename it: ALTER TRIGGER … RENAME TO …"
        )
    return later


def _raise_if(query: str, message: str) -> str:
    """A statement that fails where the query gives a text, with the message and that text."""
    body = (
        f"DECLARE found text; BEGIN found := ({query}); IF found IS NOT NULL THEN "
        f"RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', "
        f"MESSAGE = {literal(message)} || found; END IF; END"
    )
    return f"DO {literal(body)}"

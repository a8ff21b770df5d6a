"""Foreign keys from and to a column that another takes the place of: tried on copies, made beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from lockstep.errors import LockstepError
from lockstep.operations.validation import added_and_validated, merging
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection

    from lockstep.operations.replacement import Plan
    from lockstep.postgres.catalog import Column, Table
    from lockstep.postgres.rehearsal import Copy

_ACTIONS = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key as it reads with the shadow in the column's place."""

    oid: int
    name: str
    child_oid: int
    parent_oid: int
    child: str
    parent: str
    columns: tuple[str, ...]
    referred: tuple[str, ...]
    options: str
    valid: bool
    enforced: bool
    comment: str | None
    equal: tuple[str, ...] = ()
    """How PostgreSQL compares each column with the one it refers to, in terms of ``c`` and ``p``."""

    def definition(self, parent: str) -> str:
        """What stands after ADD CONSTRAINT and its name."""
        listed, referred = (", ".join(map(quote, names)) for names in (self.columns, self.referred))
        return f"FOREIGN KEY ({listed}) REFERENCES {parent} ({referred}){self.options}"


def foreign_keys_of(connection: Connection, table: Table, old: Column, shadow: str) -> list[ForeignKey]:
    """The foreign keys that the column is part of, on either side. Refused with partitioned tables at the
    other end.
    """
    found = catalog.rows(
        connection,
        """
        SELECT k.oid, k.conname, k.conrelid, k.confrelid, k.confmatchtype::text, k.confupdtype::text,
               k.confdeltype::text, k.condeferrable, k.condeferred, k.convalidated,
               coalesce(to_jsonb(k)->>'conenforced', 'true') = 'true' AS enforced,
               coalesce(to_jsonb(k)->>'conperiod', 'false') = 'true' AS period,
               obj_description(k.oid, 'pg_constraint') AS comment,
               format('%%I.%%I', cn.nspname, c.relname) AS child,
               format('%%I.%%I', fn.nspname, f.relname) AS parent,
               ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(n, p)
                     JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY p) AS ours,
               ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u(n, p)
                     JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY p) AS theirs,
               ARRAY(SELECT a.attname::text FROM unnest(k.confdelsetcols) WITH ORDINALITY u(n, p)
                     JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY p) AS to_set,
               c.relkind::text AS child_kind, f.relkind::text AS parent_kind
        FROM pg_constraint k
        JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
        JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
        WHERE k.contype = 'f' AND k.conparentid = 0
          AND (k.conrelid = %(oid)s AND %(number)s = ANY (k.conkey)
            OR k.confrelid = %(oid)s AND %(number)s = ANY (k.confkey))
        ORDER BY k.oid
        """,
        oid=table.oid,
        number=old.number,
    )
    keys = []
    for row in found:
        if (row.child_kind, row.parent_kind) != ("r", "r") or row.period:
            raise LockstepError(
                f"{table}.{old.name}: foreign key {row.conname} has a partitioned table at its other end, or "
                "a PERIOD: the column's type cannot be changed online there. Use `with lockstep.plain():`"
            )

        def renamed(names: Sequence[str], owner: int) -> tuple[str, ...]:
            return tuple(shadow if owner == table.oid and n == old.name else n for n in names)

        to_set = ", ".join(map(quote, renamed(row.to_set, row.conrelid)))
        options = (
            (" MATCH FULL" if row.confmatchtype == "f" else "")
            + (f" ON UPDATE {_ACTIONS[row.confupdtype]}" if row.confupdtype != "a" else "")
            + (f" ON DELETE {_ACTIONS[row.confdeltype]}" if row.confdeltype != "a" else "")
            + (f" ({to_set})" if to_set else "")
            + (" DEFERRABLE" if row.condeferrable else "")
            + (" INITIALLY DEFERRED" if row.condeferred else "")
        )
        keys.append(
            ForeignKey(
                row.oid, row.conname, row.conrelid, row.confrelid, row.child, row.parent,
                renamed(row.ours, row.conrelid), renamed(row.theirs, row.confrelid), options,
                row.convalidated, row.enforced, row.comment,
            )
        )  # fmt: skip
    return keys


#: As PostgreSQL looks for what a row refers to: by this operator, of these types.
_EQUAL = """
SELECT ARRAY(
    SELECT format('p.%%I%%s OPERATOR(%%I.%%s) c.%%I%%s', theirs.attname, CASE WHEN l.typtype <> 'p' THEN
                      '::' || format_type(l.oid, -1) ELSE '' END, n.nspname, o.oprname, ours.attname,
                  CASE WHEN r.typtype <> 'p' THEN '::' || format_type(r.oid, -1) ELSE '' END)
    FROM unnest(k.conpfeqop, k.confkey, k.conkey) WITH ORDINALITY u(operator, their, our, place)
    JOIN pg_operator o ON o.oid = u.operator JOIN pg_namespace n ON n.oid = o.oprnamespace
    JOIN pg_type l ON l.oid = o.oprleft JOIN pg_type r ON r.oid = o.oprright
    JOIN pg_attribute theirs ON theirs.attrelid = k.confrelid AND theirs.attnum = u.their
    JOIN pg_attribute ours ON ours.attrelid = k.conrelid AND ours.attnum = u.our
    ORDER BY u.place)
FROM pg_constraint k WHERE k.conrelid = %(child)s::regclass AND k.conname = %(name)s
"""


def rehearse(copy: Copy, table: Table, old: Column, keys: Sequence[ForeignKey]) -> list[ForeignKey]:
    """Add the foreign keys to copies; refuse where the new type and the other end's do not go together.
    Return them with what PostgreSQL compares by.
    """
    tried = []
    for number, key in enumerate(keys):
        ends = []
        for oid, name in ((key.child_oid, key.child), (key.parent_oid, key.parent)):
            end = copy.sql if oid == table.oid else f"pg_temp.lockstep_end_{number}"
            if oid != table.oid:
                copy.run(f"CREATE TEMPORARY TABLE lockstep_end_{number} (LIKE {name} INCLUDING ALL)")
            ends.append(end)
        constraint = f"lockstep_tried_{number}"
        try:
            copy.run(f"ALTER TABLE {ends[0]} ADD CONSTRAINT {constraint} {key.definition(ends[1])}")
        except DBAPIError as error:
            message = " ".join(str(getattr(error, "orig", error)).split()).replace(
                f'"lockstep_{old.number}_{old.name}"', f'"{old.name}"'
            )
            raise LockstepError(
                f"{table}.{old.name}: foreign key {key.name} does not go with the new type, and nothing was "
                f"changed. Drop it first. {message}"
            ) from error
        equal = catalog.scalar(copy.connection, _EQUAL, child=ends[0], name=constraint)
        tried.append(replace(key, equal=tuple(equal)))
    return tried


def make_beside(keys: Sequence[ForeignKey], plan: Plan) -> None:
    """Make the foreign keys, valid before the swap where the old ones are."""
    for key in keys:
        name = catalog.clip(f"lockstep_{key.oid}_{key.name}")
        temporary = quote(name)
        locks = dict.fromkeys((key.child, key.parent))
        ending = " NOT VALID" if key.enforced else " NOT ENFORCED"
        add = f"ADD CONSTRAINT {temporary} {key.definition(key.parent)}{ending}"
        step = added_and_validated(
            key.child,
            f"{key.child}: foreign key {key.name} to the new type",
            name,
            f"ALTER TABLE {key.child} {add}",
            locks=tuple((end, "SHARE ROW EXCLUSIVE") for end in locks),
            refusal=f'table {key.child} violates foreign key constraint "{key.name}"',
            validates=key.valid and key.enforced,
        )
        plan.before.append(merging(step, key.child, key.parent, key.columns))
        plan.locks[key.child_oid] = key.child
        plan.locks[key.parent_oid] = key.parent
        final = quote(key.name)
        plan.detach.append(f"ALTER TABLE {key.child} DROP CONSTRAINT {final}")
        plan.attach.append(f"ALTER TABLE {key.child} RENAME CONSTRAINT {temporary} TO {final}")
        if key.comment:
            plan.attach.append(f"COMMENT ON CONSTRAINT {final} ON {key.child} IS {literal(key.comment)}")

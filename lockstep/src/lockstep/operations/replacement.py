"""What is built beside a column that another is to take the place of.

Its indexes, checks and foreign keys, made and valid before the swap; the statements of the swap are collected
on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lockstep.errors import LockstepError
from lockstep.operations import indexes
from lockstep.operations.constraints import validate, validate_foreign_key
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, quote
from lockstep.steps.step import Step

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Column, Table


@dataclass
class Plan:
    """What is built before the swap, and the statements of the swap, in its order."""

    before: list[Step] = field(default_factory=list)
    detach: list[str] = field(default_factory=list)
    attach: list[str] = field(default_factory=list)
    locks: dict[int, str] = field(default_factory=dict)


def not_null(connection: Connection, table: Table, old: Column, shadow: str, plan: Plan) -> None:
    if catalog.server_version(connection) >= 18:
        original = catalog.scalar(
            connection,
            "SELECT conname FROM pg_constraint WHERE conrelid = %(oid)s AND contype = 'n' "
            "AND conkey = ARRAY[%(number)s]::int2[]",
            oid=table.oid,
            number=old.number,
        )
        name = catalog.clip(f"{shadow}_not_null")
        add = f"ADD CONSTRAINT {quote(name)} NOT NULL {quote(shadow)} NOT VALID"
        plan.attach.append(f"ALTER TABLE {table.sql} RENAME CONSTRAINT {quote(name)} TO {quote(original)}")
    else:
        name = catalog.clip(f"{shadow}_not_null")
        add = f"ADD CONSTRAINT {quote(name)} CHECK ({quote(shadow)} IS NOT NULL) NOT VALID"
        plan.detach += [
            f"ALTER TABLE {table.sql} ALTER COLUMN {quote(shadow)} SET NOT NULL",
            f"ALTER TABLE {table.sql} DROP CONSTRAINT {quote(name)}",
        ]
    plan.before += [
        Step(
            f"{table}: the shadow of {old.name} is not null for new rows",
            (f"ALTER TABLE {table.sql} {add}",),
            undo=(),
        ),
        validate(table.sql, str(table), name, None),
    ]


def indexes_of(connection: Connection, table: Table, changed: dict[str, str], plan: Plan) -> None:
    found = catalog.rows(
        connection,
        """
        SELECT i.indexrelid, c.relname, pg_get_indexdef(i.indexrelid), i.indisunique, i.indisclustered,
               i.indisreplident, s.spcname, obj_description(i.indexrelid, 'pg_class'),
               k.conname, k.contype::text, k.condeferrable, k.condeferred,
               obj_description(k.oid, 'pg_constraint')
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
        LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid
                                 AND k.contype IN ('p', 'u')
        WHERE i.indrelid = %(oid)s AND i.indisvalid ORDER BY i.indexrelid
        """,
        oid=table.oid,
    )
    for row in found:
        oid, name, definition, unique, clustered, identifies, space, comment, *constraint = row
        tail = definition[definition.index(" USING ") :]
        if tail not in changed:
            continue
        temporary = catalog.clip(f"lockstep_{oid}_{name}")
        create = f"CREATE {'UNIQUE ' if unique else ''}INDEX CONCURRENTLY {quote(temporary)} ON {table.sql}"
        at = f" TABLESPACE {quote(space)}" if space else ""
        new_tail, _, predicate = changed[tail].partition(" WHERE ")
        where = f" WHERE {predicate}" if predicate else ""
        plan.before.append(indexes.build(table, temporary, f"{create}{new_tail}{at}{where}"))
        qualified = f"{quote(table.schema)}.{quote(name)}"
        conname, contype, deferrable, deferred, con_comment = constraint
        if conname:
            words = "PRIMARY KEY" if contype == "p" else "UNIQUE"
            timing = (" DEFERRABLE" if deferrable else "") + (" INITIALLY DEFERRED" if deferred else "")
            plan.attach.append(
                f"ALTER TABLE {table.sql} ADD CONSTRAINT {quote(conname)} {words} "
                f"USING INDEX {quote(temporary)}{timing}"
            )
            if con_comment:
                plan.attach.append(
                    f"COMMENT ON CONSTRAINT {quote(conname)} ON {table.sql} IS {literal(con_comment)}"
                )
        else:
            plan.attach.append(
                f"ALTER INDEX {quote(table.schema)}.{quote(temporary)} RENAME TO {quote(name)}"
            )
        if clustered:
            plan.attach.append(f"ALTER TABLE {table.sql} CLUSTER ON {quote(name)}")
        if identifies:
            plan.attach.append(f"ALTER TABLE {table.sql} REPLICA IDENTITY USING INDEX {quote(name)}")
        if comment:
            plan.attach.append(f"COMMENT ON INDEX {qualified} IS {literal(comment)}")


def check(connection: Connection, table: Table, name: str, definition: str, plan: Plan) -> None:
    valid, comment = catalog.rows(
        connection,
        "SELECT convalidated, obj_description(oid, 'pg_constraint') FROM pg_constraint "
        "WHERE conrelid = %(oid)s AND conname = %(name)s",
        oid=table.oid,
        name=name,
    )[0]
    temporary = catalog.clip(f"lockstep_{name}")
    plain = definition.removesuffix(" NOT VALID")
    add = f"ALTER TABLE {table.sql} ADD CONSTRAINT {quote(temporary)} {plain} NOT VALID"
    plan.before.append(Step(f"{table}: check {name} on the new type", (add,), undo=()))
    if valid:
        plan.before.append(validate(table.sql, str(table), temporary, None))
    plan.attach.append(f"ALTER TABLE {table.sql} RENAME CONSTRAINT {quote(temporary)} TO {quote(name)}")
    if comment:
        plan.attach.append(f"COMMENT ON CONSTRAINT {quote(name)} ON {table.sql} IS {literal(comment)}")


_ACTIONS = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}


def foreign_keys(connection: Connection, table: Table, old: Column, shadow: str, plan: Plan) -> None:
    """Foreign keys from and to the column, made beside the old ones and valid before the swap."""
    found = catalog.rows(
        connection,
        """
        SELECT k.oid, k.conname, k.conrelid, k.confrelid, k.confmatchtype::text, k.confupdtype::text,
               k.confdeltype::text, k.condeferrable, k.condeferred, k.convalidated,
               obj_description(k.oid, 'pg_constraint'),
               format('%%I.%%I', cn.nspname, c.relname), format('%%I.%%I', fn.nspname, f.relname),
               ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(n, p)
                     JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY p),
               ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u(n, p)
                     JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY p),
               ARRAY(SELECT a.attname::text FROM unnest(k.confdelsetcols) WITH ORDINALITY u(n, p)
                     JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY p),
               c.relkind::text, f.relkind::text
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
    for row in found:
        _foreign_key(table, old, shadow, plan, row)


def _foreign_key(table: Table, old: Column, shadow: str, plan: Plan, row: Any) -> None:
    (oid, name, child_oid, parent_oid, match, on_update, on_delete, deferrable, deferred, valid, comment,
     child, parent, ours, theirs, to_set, child_kind, parent_kind) = row  # fmt: skip
    if child_kind != "r" or parent_kind != "r":
        raise LockstepError(
            f"{table}.{old.name}: foreign key {name} has a partitioned table at its other end, where the "
            "column's type cannot be changed online. Use `with lockstep.plain():`"
        )

    def renamed(names: list[str], owner: int) -> str:
        return ", ".join(quote(shadow if owner == table.oid and n == old.name else n) for n in names)

    temporary = catalog.clip(f"lockstep_{oid}_{name}")
    set_columns = f" ({renamed(to_set, child_oid)})" if to_set else ""
    definition = (
        f"FOREIGN KEY ({renamed(ours, child_oid)}) REFERENCES {parent} ({renamed(theirs, parent_oid)})"
        + (" MATCH FULL" if match == "f" else "")
        + (f" ON UPDATE {_ACTIONS[on_update]}" if on_update != "a" else "")
        + (f" ON DELETE {_ACTIONS[on_delete]}{set_columns}" if on_delete != "a" else "")
        + (" DEFERRABLE" if deferrable else "")
        + (" INITIALLY DEFERRED" if deferred else "")
    )
    locks = [(child, "SHARE ROW EXCLUSIVE")]
    if parent != child:
        locks.append((parent, "SHARE ROW EXCLUSIVE"))
    plan.before.append(
        Step(
            f"{child}: foreign key {name} to the new type",
            sql=(f"ALTER TABLE {child} ADD CONSTRAINT {quote(temporary)} {definition} NOT VALID",),
            locks=tuple(locks),
            undo=(f"ALTER TABLE {child} DROP CONSTRAINT IF EXISTS {quote(temporary)}",),
        )
    )
    if valid:
        columns = [shadow if child_oid == table.oid and n == old.name else n for n in ours]
        plan.before.append(validate_foreign_key(child, child, temporary, parent, columns, None))
    plan.locks[child_oid] = child
    plan.locks[parent_oid] = parent
    plan.detach.append(f"ALTER TABLE {child} DROP CONSTRAINT {quote(name)}")
    plan.attach.append(f"ALTER TABLE {child} RENAME CONSTRAINT {quote(temporary)} TO {quote(name)}")
    if comment:
        plan.attach.append(f"COMMENT ON CONSTRAINT {quote(name)} ON {child} IS {literal(comment)}")


def statistics(connection: Connection, table: Table, old: Column, plan: Plan) -> None:
    """Extended statistics go with the column; they are made again."""
    for (definition,) in catalog.rows(
        connection,
        """
        SELECT pg_get_statisticsobjdef(s.oid) FROM pg_statistic_ext s JOIN pg_depend d
          ON d.classid = 'pg_statistic_ext'::regclass AND d.objid = s.oid
        WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = %(oid)s AND d.refobjsubid = %(number)s
        """,
        oid=table.oid,
        number=old.number,
    ):
        plan.attach.append(definition)

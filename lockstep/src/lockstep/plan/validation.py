"""What PostgreSQL reads to validate a constraint, and how long all of it takes by how long parts do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstep.plan.constraints import in_catalog
from lockstep.plan.pending import expression
from lockstep.postgres import catalog
from lockstep.postgres.catalog import quote
from lockstep.postgres.syntax import names

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.plan.sample import Sample
    from lockstep.postgres.catalog import Table
    from lockstep.postgres.syntax import Node


def validated_by(scratch: Connection, copy: Table, node: str, fields: Node) -> Node | None:
    """The check, the foreign key or the NOT NULL that a statement makes PostgreSQL look at each row for."""
    if node != "AlterTableStmt":
        return None
    for command in (one["AlterTableCmd"] for one in fields["cmds"]):
        added: Node = command.get("def", {}).get("Constraint", {})
        if command["subtype"] == "AT_SetNotNull":
            key = {"String": {"sval": command["name"]}}
            return {"contype": "CONSTR_NOTNULL", "keys": [key]}
        if command["subtype"] == "AT_ValidateConstraint":
            return in_catalog(scratch, copy, command["name"])
        if added.get("contype") in {"CONSTR_CHECK", "CONSTR_FOREIGN", "CONSTR_NOTNULL"}:
            return None if added.get("skip_validation") else added
    return None


def query_of(sample: Sample, constraint: Node) -> str:
    """What PostgreSQL does to validate, on a part of the table."""
    if constraint["contype"] == "CONSTR_FOREIGN":
        columns, parent = names(constraint["fk_attrs"]), constraint["pktable"]
        referred = names(constraint.get("pk_attrs") or constraint["fk_attrs"])
        name = catalog.qualified(parent["relname"], parent.get("schemaname"))
        match = " AND ".join(
            f"p.{quote(theirs)} = c.{quote(ours)}" for ours, theirs in zip(columns, referred, strict=True)
        )
        rows = sample.rows(", ".join(map(quote, columns)))
        known = " AND ".join(f"c.{quote(ours)} IS NOT NULL" for ours in columns)
        return (
            f"SELECT count(*) FROM ({rows}) c LEFT JOIN ONLY {name} p ON {match} "
            f"WHERE p.{quote(referred[0])} IS NULL AND {known}"
        )
    condition = (
        f"{quote(names(constraint['keys'])[0])} IS NULL"
        if constraint["contype"] == "CONSTR_NOTNULL"
        else f"NOT ({expression(constraint['raw_expr'])})"
    )
    return f"SELECT count(*) FROM ({sample.rows('*')}) rows WHERE {condition}"


def extrapolated(few: tuple[float, float], more: tuple[float, float], costs: float) -> float:
    """What all of a table takes, from two parts of it with their seconds: what each row adds to what is done
    once, a hash of the other table, say. So small a difference is easily disturbed: it is at least as many
    times the second as the planner takes it to cost, and at most as if nothing was done once.
    """
    (part, quick), (larger, slow) = few, more
    if larger <= part:
        return slow
    each = (slow - quick) / (larger - part)
    return min(max(quick + each * (1 - part), slow * costs), slow / larger)

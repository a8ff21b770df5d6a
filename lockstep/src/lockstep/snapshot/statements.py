"""The statement that gives a database one thing that its snapshot has, or takes away one that it has not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_TABLES = ("table", "foreign table", "view", "materialized view")
_KINDS = (
    "foreign table", "materialized view", "event trigger", "default privileges",
    "table", "view", "sequence", "type", "domain", "function", "procedure", "aggregate", "schema",
    "extension", "publication",
)  # fmt: skip
#: What comes last in a column's value, since it may hold anything.
_LAST = re.compile(r", (default|generated stored as|generated as) (.*)", re.DOTALL)


def split(name: str) -> tuple[str, str]:
    """An object's kind, and its name in SQL."""
    kind = next((kind for kind in _KINDS if name.startswith(kind + " ")), name.partition(" ")[0])
    return kind, name.removeprefix(kind + " ")


def creation(name: str, parts: Mapping[str, str]) -> str | None:
    """What creates an object that is missing; None where it takes more than a statement."""
    kind, sql = split(name)
    if kind in {"schema", "extension"}:
        return f"CREATE {kind.upper()} {sql}"
    if kind in {"function", "procedure"}:
        return parts["definition"]
    if kind in {"view", "materialized view"}:
        return f"CREATE {kind.upper()} {sql} AS {parts['definition']}"
    if kind == "type" and "values" in parts:
        return f"CREATE TYPE {sql} AS ENUM ({parts['values']})"
    if kind == "domain":
        return f"CREATE DOMAIN {sql} AS {parts['type'].replace(', not null', ' NOT NULL')}"
    if kind == "table" and not {"partition of", "inherits", "partition key"} & parts.keys():
        columns = [
            f"{part.removeprefix('column ')} {_column(value)}"
            for part, value in parts.items()
            if part.startswith("column ")
        ]
        return f"CREATE TABLE {sql} ({', '.join(columns)})"
    return None


def remedy(
    name: str, part: str, expected: str | None, found: str | None, parts: Mapping[str, str]
) -> str | None:
    """What makes a part (or the whole object, where ``part`` is empty) as it is expected.

    None as a value: it is not there. ``parts`` are all that the object should have.
    """
    kind, sql = split(name)
    if not part:
        return f"DROP {kind.upper()} {sql}" if kind in _KINDS[:3] + _KINDS[4:] else None
    what, _, which = part.partition(" ")
    table = f"ALTER {kind.upper()} {sql}"
    if what == "comment":
        return _comment(kind, sql, which, expected)
    if part.startswith(("granted to", "taken from")):
        return _grant(kind, sql, part, expected, found)
    if kind == "type" and part == "values" and expected and found:
        return _enum(sql, expected, found)
    if kind not in _TABLES:
        return creation(name, parts) if kind in {"function", "procedure"} else None
    if what == "column":
        return _alter_column(table, which, expected, found)
    if part == "definition" and kind == "view":
        return f"CREATE OR REPLACE VIEW {sql} AS {expected}"
    if what == "constraint":
        made = f"ADD CONSTRAINT {which} {expected}"
        if found is not None and expected is not None and found == f"{expected} NOT VALID":
            return f"{table} VALIDATE CONSTRAINT {which}"
        dropped = f"DROP CONSTRAINT {which}"
        return f"{table} {', '.join([dropped] * (found is not None) + [made] * (expected is not None))}"
    if part == "row security":
        wanted = expected or ""
        return (
            f"{table} {'ENABLE' if 'enabled' in wanted else 'DISABLE'} ROW LEVEL SECURITY, "
            f"{'FORCE' if 'forced' in wanted else 'NO FORCE'} ROW LEVEL SECURITY"
        )
    if part == "replica identity":
        return f"{table} REPLICA IDENTITY {expected or 'default'}"
    if part == "persistence":
        return f"{table} SET {'UNLOGGED' if expected else 'LOGGED'}"
    if part == "options":
        return f"{table} SET ({expected})" if expected else f"{table} RESET ({_names(found or '')})"
    return _made_apart(sql, what, which, expected, found)


def _made_apart(table: str, what: str, which: str, expected: str | None, found: str | None) -> str | None:
    """Indexes, triggers, rules, policies and statistics: dropped, and created as they print themselves."""
    schema = table.rpartition(".")[0]
    drops = {
        "index": f"DROP INDEX {schema}.{which}",
        "statistics": f"DROP STATISTICS {which}",
        **{one: f"DROP {one.upper()} {which} ON {table}" for one in ("trigger", "rule", "policy")},
    }
    if what not in drops:
        return None
    done = []
    if found is not None and expected is not None and what == "trigger":
        bare = [re.sub(r"^(disabled|enabled \w+) ", "", value) for value in (found, expected)]
        if bare[0] == bare[1]:
            state = expected.split(" CREATE ")[0].upper()
            state = {"DISABLED": "DISABLE"}.get(state, state.replace("ENABLED", "ENABLE"))
            return f"ALTER TABLE {table} {state if ' CREATE ' in expected else 'ENABLE'} TRIGGER {which}"
    if found is not None:
        done.append(drops[what])
    if expected is not None:
        made = expected.removeprefix("INVALID ")
        if what == "policy":
            made = f"CREATE POLICY {which} ON {table} AS {made}"
        done.append(made)
    return "; ".join(done)


def _column(value: str) -> str:
    """A column's value as CREATE TABLE and ADD COLUMN take it."""
    head, last = _column_parts(value)
    type_sql, *rest = head
    for word in rest:
        if word.startswith("collate "):
            type_sql += f" COLLATE {word.removeprefix('collate ')}"
        elif word == "not null":
            type_sql += " NOT NULL"
        elif word.startswith("identity "):
            type_sql += f" GENERATED {word.removeprefix('identity ').upper()} AS IDENTITY"
    kind, expression = last
    if kind == "default":
        type_sql += f" DEFAULT {expression}"
    elif kind:
        type_sql += f" GENERATED ALWAYS AS ({expression}) {'STORED' if 'stored' in kind else 'VIRTUAL'}"
    return type_sql


def _column_parts(value: str) -> tuple[list[str], tuple[str, str]]:
    found = _LAST.search(value)
    head = value[: found.start()] if found else value
    return head.split(", "), (found[1], found[2]) if found else ("", "")


def _alter_column(table: str, column: str, expected: str | None, found: str | None) -> str | None:
    if expected is None:
        return f"{table} DROP COLUMN {column}"
    if found is None:
        return f"{table} ADD COLUMN {column} {_column(expected)}"
    (here, was), (there, wanted) = _column_parts(found), _column_parts(expected)
    alter = f"ALTER COLUMN {column} "
    done = []
    if here[0] != there[0] or _word(here, "collate") != _word(there, "collate"):
        collation = _word(there, "collate")
        done.append(f"{alter}TYPE {there[0]}" + (f" COLLATE {collation}" if collation else ""))
    if was != wanted:
        if "generated" in was[0] + wanted[0]:
            return None
        done.append(f"{alter}SET DEFAULT {wanted[1]}" if wanted[0] else f"{alter}DROP DEFAULT")
    if ("not null" in here) != ("not null" in there):
        done.append(f"{alter}{'SET' if 'not null' in there else 'DROP'} NOT NULL")
    identity, needed = _word(here, "identity"), _word(there, "identity")
    if identity != needed:
        if not needed:
            done.append(f"{alter}DROP IDENTITY")
        elif not identity:
            done.append(f"{alter}ADD GENERATED {needed.upper()} AS IDENTITY")
        else:
            done.append(f"{alter}SET GENERATED {needed.upper()}")
    # PostgreSQL 15 has no SET STORAGE DEFAULT.
    storage = "MAIN" if there[0].startswith(("numeric", "inet", "cidr")) else "EXTENDED"
    for word, usual in (("storage", storage), ("compression", "DEFAULT"), ("statistics", "-1")):
        if _word(here, word) != _word(there, word):
            done.append(f"{alter}SET {word.upper()} {_word(there, word) or usual}")
    if _word(here, "options") != _word(there, "options"):
        options = _word(there, "options")
        done.append(
            f"{alter}SET ({options.replace(' ', ', ')})"
            if options
            else f"{alter}RESET ({_names(_word(here, 'options').replace(' ', ', '))})"
        )
    return f"{table} {', '.join(done)}" if done else None


def _word(head: list[str], word: str) -> str:
    """What a column's value says after this word."""
    return next((one.removeprefix(word + " ") for one in head[1:] if one.startswith(word + " ")), "")


def _names(options: str) -> str:
    return ", ".join(option.partition("=")[0] for option in options.split(", "))


def _comment(kind: str, sql: str, which: str, expected: str | None) -> str | None:
    text = expected or "NULL"
    if not which:
        return f"COMMENT ON {kind.upper()} {sql} IS {text}"
    what, _, name = which.removeprefix("on ").partition(" ")
    if what == "column":
        return f"COMMENT ON COLUMN {sql}.{name} IS {text}"
    if what in {"constraint", "trigger", "policy", "rule"}:
        return f"COMMENT ON {what.upper()} {name} ON {sql} IS {text}"
    return f"COMMENT ON {what.upper()} {sql.rpartition('.')[0]}.{name} IS {text}"


def _grant(kind: str, sql: str, part: str, expected: str | None, found: str | None) -> str | None:
    """For one role, what it has too much is revoked and what it has not is granted."""
    given = part.startswith("granted to")
    who = re.sub(r"^(granted to|taken from) (\([^)]*\) )?", "", part)
    if who == "owner":
        who = "CURRENT_USER"
    column = re.search(r"^(?:granted to|taken from) (\([^)]*\)) ", part)
    where = (
        kind.upper() if kind in {"sequence", "schema", "function", "procedure", "type", "domain"} else "TABLE"
    )
    have, want = ({w for w in (value or "").split(", ") if w} for value in (found, expected))
    done = []
    for words, verb in (
        (sorted(have - want), "REVOKE" if given else "GRANT"),
        (sorted(want - have), "GRANT" if given else "REVOKE"),
    ):
        rights = ", ".join(
            w.removesuffix(" with grant option") + (f" {column[1]}" if column else "") for w in words
        )
        if rights:
            done.append(f"{verb} {rights} ON {where} {sql} {'TO' if verb == 'GRANT' else 'FROM'} {who}")
    return "; ".join(done)


def _enum(sql: str, expected: str, found: str) -> str | None:
    """ADD VALUE where values were only added; nothing takes one away."""
    there, here = (list(re.findall(r"'(?:[^']|'')*'", text)) for text in (expected, found))
    if [value for value in there if value in here] != here:
        return None
    done = []
    for number, value in enumerate(there):
        if value not in here:
            place = f" AFTER {there[number - 1]}" if number else f" BEFORE {there[1]}" if here else ""
            done.append(f"ALTER TYPE {sql} ADD VALUE {value}{place}")
    return "; ".join(done)

"""What the functions do that a statement calls, as far as their bodies tell: asked of the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstep.postgres import catalog
from lockstep.postgres.statements import Classified, StatementKind, classify, of_plpgsql

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

#: Every function of a name, which a call may mean. Those of PostgreSQL's own and those in C run no DDL here;
#: in one that is not volatile, PostgreSQL itself refuses it.
_BODIES = """
SELECT l.lanname AS language, p.prosrc AS body,
       CASE WHEN l.lanname = 'plpgsql' THEN pg_get_functiondef(p.oid) END AS definition,
       l.lanname IN ('internal', 'c') OR p.provolatile <> 'v' OR p.prosqlbody IS NOT NULL AS is_harmless
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.proname = %(name)s AND p.prokind <> 'a'
  AND CASE WHEN %(schema)s = '' THEN pg_function_is_visible(p.oid) ELSE n.nspname = %(schema)s END
"""

_IS_AGGREGATE = "SELECT EXISTS (SELECT FROM pg_proc WHERE proname = %(name)s AND prokind = 'a')"


def only_touches_rows(connection: Connection, classified: Classified) -> bool:
    """Whether a text only reads or writes rows, with all the functions that it calls: nobody waits for it.

    False where a function is not known, or builds statements at run time.
    """
    return _holds(connection, classified, lambda body: body.only_rows, set())


#: Kinds of statements that may ask for a lock behind which others have to wait.
_LOCKING = {StatementKind.DDL, StatementKind.UNKNOWN, StatementKind.LOCK}


def makes_nobody_wait(connection: Connection, classified: Classified) -> bool:
    """Whether a text, with all the functions that it calls, asks for no lock that others queue behind."""
    return _holds(connection, classified, lambda body: not body.kinds & _LOCKING, set())


def with_bodies(connection: Connection, classified: Classified) -> Classified:
    """A text with the statements of all functions that it calls, as far as they are known."""
    found = list(classified.statements)
    seen: set[tuple[str, ...]] = set()
    waiting = list(classified.functions)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for body in _statements_of(connection, name) or ():
            found += body.statements
            waiting += body.functions
    return Classified(tuple(found))


def changes_nothing(connection: Connection, classified: Classified) -> bool:
    """Whether there is nothing to take back: as it is written, and in the functions that it calls."""
    return _holds(connection, classified, lambda body: body.leaves_nothing, set())


def is_volatile(connection: Connection, expression: str) -> bool:
    """Whether an expression may be another value each time that it is asked for."""
    called = [name[-1] for name in classify(f"SELECT {expression}").functions]
    is_one = "SELECT EXISTS (SELECT FROM pg_proc WHERE proname = ANY (%(names)s) AND provolatile = 'v')"
    return bool(called) and bool(catalog.scalar(connection, is_one, names=called))


def _holds(
    connection: Connection,
    classified: Classified,
    condition: Callable[[Classified], bool],
    seen: set[tuple[str, ...]],
) -> bool:
    """Whether a condition holds for a text and for the bodies of all functions that it calls."""
    if not condition(classified):
        return False
    for name in classified.functions - seen:
        seen.add(name)
        bodies = _statements_of(connection, name)
        if bodies is None or not all(_holds(connection, body, condition, seen) for body in bodies):
            return False
    return True


def _statements_of(connection: Connection, name: tuple[str, ...]) -> list[Classified] | None:
    """The bodies of the functions of a name that may do something; None where that cannot be known."""
    schema = name[-2] if len(name) > 1 else ""
    found = catalog.rows(connection, _BODIES, name=name[-1], schema=schema)
    if not found:
        return [] if catalog.scalar(connection, _IS_AGGREGATE, name=name[-1]) else None
    bodies: list[Classified] = []
    for function in found:
        if function.is_harmless:
            continue
        if function.language == "sql":
            bodies.append(classify(function.body))
        elif function.language == "plpgsql":
            bodies.append(Classified(tuple(of_plpgsql(function.definition))))
        else:
            return None
    return bodies

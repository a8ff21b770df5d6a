"""Sessions: statements as they stand, transactions, limits, SQLSTATEs."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection


#: Settings by which a value that is written as text is read again as the same value.
AS_TEXT = {
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
}

#: A setting that is ``on`` in the migrator's session, while it migrates.
AT_WORK = "lockstep.at_work"


def sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE of a driver's error, whichever driver."""
    original = getattr(error, "orig", error)
    return getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)


def loss_of(error: BaseException) -> DBAPIError | None:
    """The driver's error by which the connection was lost, where that is what the error goes back to: what is
    tried on a lost connection afterwards fails in other words.
    """
    found = None
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, DBAPIError) and at.connection_invalidated:
            found = at
        at = at.__cause__ or at.__context__
    return found


def execute(connection: Connection, statement: str) -> Any:
    """Run one of Lockstep's own statements as it stands."""
    return connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """A transaction on a connection that is in autocommit mode: committed, or rolled back on any error."""
    execute(connection, "BEGIN")
    try:
        yield
    except BaseException:
        with suppress(DBAPIError):  # a lost connection has nothing to roll back
            execute(connection, "ROLLBACK")
        raise
    execute(connection, "COMMIT")


def set_lock_timeout(connection: Connection, seconds: float) -> None:
    """For the transaction at hand; 0 is no limit."""
    execute(connection, f"SET LOCAL lock_timeout = '{round(seconds * 1000)}ms'")


_LIMITS = ("lock_timeout", "statement_timeout")


@contextmanager
def unhurried(connection: Connection, *, lock_timeout: float = 0) -> Iterator[None]:
    """Neither lock_timeout nor statement_timeout, for what blocks nobody; what does has seconds of the first.
    Afterwards those that the session had: the revision or its env.py may have set them.
    """
    limits = {"lock_timeout": f"{round(lock_timeout * 1000)}ms", "statement_timeout": "0"}
    asked = [f"current_setting('{name}')" for name in _LIMITS]
    lifted = [f"set_config('{name}', '{value}', false)" for name, value in limits.items()]
    before = execute(connection, f"SELECT {', '.join(asked + lifted)}").one()
    try:
        yield
    finally:
        with suppress(DBAPIError):
            back = [f"set_config('{n}', '{value}', false)" for n, value in zip(_LIMITS, before, strict=False)]
            execute(connection, f"SELECT {', '.join(back)}")

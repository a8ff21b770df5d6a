"""How Lockstep takes the place of Alembic's implementations: one decorated function an operation.

They are registered with ``Operations.implementation_for(…, replace=True)`` once in a process; in a migration
context that Lockstep did not configure they call what was registered before them.
"""

from __future__ import annotations

import copy
import hashlib
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from alembic.operations import Operations, ops
from alembic.operations.batch import BatchOperationsImpl

from lockstep.errors import LockstepError
from lockstep.operations.rendered_sql import sql_of
from lockstep.postgres import catalog
from lockstep.private_names import implementation_of
from lockstep.revision.migrator import Migrator
from lockstep.revision.performing import Work
from lockstep.scopes import is_plain
from lockstep.steps.step import AsWritten, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from lockstep.postgres.catalog import Table
    from lockstep.postgres.statements import Classified
    from lockstep.revision.planning import Planning

    Plan = Sequence[Step] | AsWritten

#: Where Lockstep's migrator is found in the options of a migration context.
OPTION = "lockstep"

Op = TypeVar("Op", bound=ops.MigrateOperation)

_announced: ContextVar[Callable[[ops.MigrateOperation], AbstractContextManager[None]]] = ContextVar(
    "lockstep_announced", default=lambda _: nullcontext()
)


@contextmanager
def announced_to(
    listener: Callable[[ops.MigrateOperation], AbstractContextManager[None]],
) -> Iterator[None]:
    """Let each operation of the block run, plain ones too, in a context that the listener makes for it."""
    token = _announced.set(listener)
    try:
        yield
    finally:
        _announced.reset(token)


@dataclass(frozen=True)
class Call(Generic[Op]):
    """One operation that a revision calls."""

    operation: Op
    name: str
    """What it is called in the log and in the ledger."""
    migrator: Migrator
    implementation: Callable[[Operations, Any], Any]
    """How Alembic itself runs it."""

    @property
    def planning(self) -> Planning:
        """What its plan may ask."""
        return self.migrator.planning

    def as_written(self) -> Any:
        """Run it as plain Alembic does."""
        return self.implementation(self.planning.plain_operations(), self.operation)

    def plain_sql(self, operation: Op | None = None) -> list[str]:
        """What plain Alembic would send, for this operation or another of its kind."""
        return sql_of(self.planning.context, self.implementation, operation or self.operation)

    def perform(
        self,
        plan: Callable[[], Plan],
        *,
        patient: bool = False,
        blocks: bool = False,
        session: Classified | None = None,
        shape: str | None = None,
    ) -> Any:
        """Run the steps of the plan, or the operation as it is written where the plan says so.

        ``patient``: its locks make nobody wait, so it may wait for them; ``blocks``: others queue behind it,
        also where it cannot run in a transaction. ``session`` is what of it lives as
        long as the session: set again where the rest was done by a process that is gone. ``shape`` is that of
        SQL of the revision's own.
        """
        planned: Plan = AsWritten(undo=None)

        def steps() -> Sequence[Step] | None:
            nonlocal planned
            self.planning.touched.begin_operation()
            planned = plan()
            return None if isinstance(planned, AsWritten) else planned

        return self.migrator.perform(
            Work(
                self.name,
                self.as_written,
                steps,
                undo=lambda: planned.undo if isinstance(planned, AsWritten) else _undo_of(planned),
                locks=lambda: planned.locks if isinstance(planned, AsWritten) else (),
                table=_table_of(self.operation),
                patient=patient,
                blocks=blocks,
                fingerprint=self.fingerprint,
                session=session,
                shape=shape,
            )
        )

    def exists(self, name: str, schema: str | None, column: str | None = None) -> bool:
        """Whether there is a relation of that name, or a column of it; asked before the operation is run."""
        if self.planning.offline:
            return False
        with self.migrator.unheard():
            connection = self.planning.connection
            found = catalog.scalar(
                connection, "SELECT to_regclass(%(name)s)::oid", name=catalog.qualified(name, schema)
            )
            return bool(found) and (column is None or column in catalog.columns(connection, int(found)))

    def fingerprint(self) -> str | None:
        """A hash of what plain Alembic would send; None where that cannot be told without sending it."""
        try:
            # Rendering binds the columns to a table, and what they bring along is not copied to the next one.
            sql = [one for one in self.plain_sql(copy.deepcopy(self.operation)) if not _makes_type(one)]
        except Exception:  # noqa: BLE001  # whatever a type or a plugin raises that cannot be written as SQL
            return None
        return hashlib.sha256("\n".join(sql).encode()).hexdigest()

    def table_in_use(self, name: str, schema: str | None, *, needs_plan: bool = True) -> Table | None:
        """The table, where it takes the online way; None where the operation runs as it is written.

        Without ``needs_plan`` it may run as written where the table is small: a plan says something else only
        of one that fails (``NeedsPlan``).
        """
        if self.planning.offline or self.planning.is_created(name, schema):
            return None
        table = self.planning.find_table(name, schema)
        if table is None or table.kind not in {"r", "p", "m"}:
            return None
        if not needs_plan and self.planning.needs_no_plan(table):
            return None
        return None if self.planning.takes_short_way(table) else table

    def refuse_in_savepoint(self, what: str, is_concerned: Callable[[], object]) -> None:
        """Raise LockstepError inside a savepoint of the revision's own, where nothing can be committed."""
        if not self.planning.in_savepoint():
            return
        with self.migrator.unheard():
            concerned = is_concerned()
        if concerned:
            raise LockstepError(
                f"{self.name}: inside a savepoint (begin_nested) of the revision's own, {what}. "
                "Call it outside of the savepoint, or let it go with `with lockstep.plain():`"
            )


def _makes_type(statement: str) -> bool:
    """Whether it makes a column's type, which is only rendered where the operation has been run before."""
    return statement.startswith("CREATE TYPE")


def _undo_of(steps: Sequence[Step]) -> tuple[str, ...] | None:
    """What takes all of the steps back, in one transaction, where they were run as they are written."""
    statements: list[str] = []
    for step in reversed(steps):
        if step.undo is None or step.before_undo:
            return None
        statements += [statement.replace(" CONCURRENTLY", "", 1) for statement in step.undo]
    return tuple(statements)


def _table_of(operation: Any) -> tuple[str, str | None] | None:
    """The name and schema of the table that an operation changes, where it names one."""
    if isinstance(operation, ops.CreateForeignKeyOp):
        return operation.source_table, operation.kw.get("source_schema")
    name = getattr(operation, "table_name", None)
    return None if name is None else (name, getattr(operation, "schema", None))


def migrator_of(operations: Operations) -> Migrator | None:
    """Lockstep's migrator, where the operation is to run by its rules."""
    context = operations.migration_context
    found = context.opts.get(OPTION)
    if not isinstance(found, Migrator) or found.context is not context or is_plain():
        return None
    impl: Any = operations.impl
    if isinstance(impl, BatchOperationsImpl) and impl.recreate == "always":
        return None
    return found


def performs(
    operation_class: type[Op], name_of: Callable[[Op], str]
) -> Callable[[Callable[[Call[Op]], Any]], Callable[[Call[Op]], Any]]:
    """Register a function that runs an operation under Lockstep and returns its result."""
    replaced = implementation_of(operation_class)
    previous: Callable[[Operations, Op], Any] = getattr(replaced, "replaces", replaced)

    def decorate(function: Callable[[Call[Op]], Any]) -> Callable[[Call[Op]], Any]:
        def implementation(operations: Operations, operation: Op) -> Any:
            migrator = migrator_of(operations)
            with _announced.get()(operation):
                if migrator is None:
                    return previous(operations, operation)
                migrator.planning.touched.begin_operation()
                with migrator.failing():
                    return function(Call(operation, name_of(operation), migrator, previous))

        implementation.replaces = previous  # type: ignore[attr-defined]  # for a class below this one
        Operations.implementation_for(operation_class, replace=True)(implementation)
        return function

    return decorate


def plans(
    operation_class: type[Op], name_of: Callable[[Op], str]
) -> Callable[[Callable[[Call[Op]], Plan]], Callable[[Call[Op]], Plan]]:
    """Register a function that gives an operation's plan, which is then run."""

    def decorate(function: Callable[[Call[Op]], Plan]) -> Callable[[Call[Op]], Plan]:
        performs(operation_class, name_of)(lambda call: call.perform(lambda: function(call)))
        return function

    return decorate


def describe(operation: Any, *parts: Any) -> str:
    """An operation's name in the log and the ledger: ``schema.first: add column rest``."""
    kind = type(operation).__name__.removesuffix("Op")
    words = "".join(" " + letter.lower() if letter.isupper() else letter for letter in kind).strip()
    schema = getattr(operation, "schema", None)
    first, *rest = [str(part) for part in parts if part is not None] or [""]
    first = f"{schema}.{first}" if schema else first
    return f"{first}: {words} {' '.join(rest)}" if rest else f"{words} {first}"

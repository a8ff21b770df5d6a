"""The private names of Alembic and SQLAlchemy that Lockstep uses are there."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic.operations import ops, toimpl
from alembic.operations.ops import MigrateOperation
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from lockstep import private_names


def test_alembic_tells_which_function_runs_an_operation() -> None:
    class Unknown(MigrateOperation):
        pass

    registered = private_names.implementation_of(ops.CreateTableOp)
    assert getattr(registered, "replaces", registered) is toimpl.create_table
    with pytest.raises(ValueError, match="no dispatch function"):
        private_names.implementation_of(Unknown)


def test_sqlalchemy_copies_a_column_without_its_table() -> None:
    column = sa.Column("a", sa.Integer())
    sa.Table("t", sa.MetaData(), column)
    assert getattr(private_names.copy_of(column), "table", None) is None


def test_sqlalchemy_tells_whether_the_constraint_of_a_type_is_wanted() -> None:
    table = sa.Table(
        "t", sa.MetaData(), sa.Column("a", sa.Enum("x", native_enum=False, create_constraint=True))
    )
    (check,) = [c for c in table.constraints if isinstance(c, sa.CheckConstraint)]
    compiler = table.select().compile(dialect=sa.dialects.postgresql.dialect())  # type: ignore[no-untyped-call]
    assert private_names.is_wanted(check, compiler)
    assert private_names.is_wanted(sa.CheckConstraint("a > 0"), compiler)


def test_alembic_keeps_the_transaction_of_a_revision_in_its_context() -> None:
    assert MigrationContext.configure(dialect_name="postgresql")._transaction is None  # noqa: SLF001


def test_alembic_ensures_its_version_table_and_plans_a_downgrade() -> None:
    assert callable(MigrationContext._ensure_version_table)  # noqa: SLF001
    assert callable(ScriptDirectory._downgrade_revs)  # noqa: SLF001


def test_alembic_remembers_the_types_that_it_made_in_its_implementation() -> None:
    assert MigrationContext.configure(dialect_name="postgresql").impl.memo == {}

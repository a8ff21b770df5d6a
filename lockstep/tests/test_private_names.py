"""The private names of Alembic and SQLAlchemy that Lockstep uses are there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.operations import ops, toimpl
from alembic.operations.ops import MigrateOperation
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import lockstep
from lockstep import private_names
from lockstep.postgres.parser import parse

PACKAGE = Path(lockstep.__file__).parent


def foreign(source: str) -> list[str]:
    """The private names of others that a file uses: attributes of what is not its own, and imported ones."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            names = [] if ast.unparse(node.value) in {"self", "cls", "super()"} else [node.attr]
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [part for alias in node.names for part in alias.name.split(".")]
        else:
            continue
        found += [f"line {node.lineno}: {n}" for n in names if n.startswith("_") and not n.endswith("__")]
    return found


def test_private_names_are_used_in_one_file() -> None:
    files = [path for path in PACKAGE.rglob("*.py") if path.name != "private_names.py"]
    assert len(files) > 50
    assert {path.name: names for path in files if (names := foreign(path.read_text()))} == {}


@pytest.mark.parametrize("source", ["context._proxy", "from alembic.op import _f", "import a._b", "f()._x.y"])
def test_a_private_name_of_somebody_else_is_found(source: str) -> None:
    assert len(foreign(source)) == 1


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


def test_alembic_keeps_what_the_command_came_to_do_behind_its_proxy(tmp_path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(tmp_path))
    with EnvironmentContext(config, ScriptDirectory(str(tmp_path)), fn=print):
        assert private_names.options_of_the_command()["fn"] is print


def test_alembic_keeps_the_transaction_of_a_revision_in_its_context() -> None:
    assert MigrationContext.configure(dialect_name="postgresql")._transaction is None  # noqa: SLF001


def test_alembic_ensures_its_version_table_and_plans_ways_up_and_down() -> None:
    assert callable(MigrationContext._ensure_version_table)  # noqa: SLF001
    assert callable(ScriptDirectory._upgrade_revs)  # noqa: SLF001
    assert callable(ScriptDirectory._downgrade_revs)  # noqa: SLF001


def test_alembic_remembers_the_types_that_it_made_in_its_implementation() -> None:
    assert MigrationContext.configure(dialect_name="postgresql").impl.memo == {}


def test_postgast_brings_the_function_of_libpg_query_that_answers_in_json() -> None:
    unions = " UNION ALL ".join(f"SELECT {number}" for number in range(200))
    assert "SelectStmt" in parse(unions)[0]["stmt"]

"""How autogenerate is led: options of ``context.configure()``, added to those of the project."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import typer
from alembic.operations import ops

from lockstep.autogenerate import comparison
from lockstep.autogenerate.added_columns import added
from lockstep.autogenerate.description import described
from lockstep.autogenerate.renames import renamed_columns, renamed_tables

with suppress(ImportError):  # where it is installed, enums are compared: the extra `enums`
    import alembic_postgresql_enum  # noqa: F401  # it registers what compares

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from alembic.autogenerate.api import AutogenContext
    from alembic.operations.ops import MigrationScript
    from alembic.runtime.migration import MigrationContext

__all__ = ["comparison", "safely"]


def safely(configure: dict[str, Any]) -> dict[str, Any]:
    """The options, so that autogenerate writes what a service can go through while it serves.

    The project's own ``process_revision_directives`` and ``render_item`` come first.
    """
    return {
        **configure,
        "process_revision_directives": _after(configure.get("process_revision_directives")),
        "render_item": _importing(configure.get("render_item")),
    }


def _after(theirs: Callable[..., None] | None) -> Callable[..., None]:
    def process(
        context: MigrationContext, revision: str | Iterable[str | None], scripts: list[MigrationScript]
    ) -> None:
        if theirs is not None:
            theirs(context, revision, scripts)
        for script in scripts:
            for upgrade, downgrade in zip(script.upgrade_ops_list, script.downgrade_ops_list, strict=True):
                if upgrade.ops:
                    _rewrite(upgrade, downgrade, context.dialect)
                    script.message = described(script.message, upgrade.ops)

    return process


def _rewrite(upgrade: ops.UpgradeOps, downgrade: ops.DowngradeOps, dialect: Any) -> None:
    modified = [one for one in upgrade.ops if isinstance(one, ops.ModifyTableOps)]
    confirm = typer.confirm if sys.stdin.isatty() and sys.stdout.isatty() else None
    renamed = [renamed_columns(one, confirm) for one in modified]
    if any(renamed):
        upgrade.reverse_into(downgrade)
    renamed_tables(upgrade.ops)
    for one in modified:
        one.ops = [
            new
            for operation in one.ops
            for new in (added(operation, dialect) if isinstance(operation, ops.AddColumnOp) else [operation])
        ]


def _importing(theirs: Any) -> Callable[[str, Any, AutogenContext], Any]:
    """Let a revision import the modules of types that are neither SQLAlchemy's nor Alembic's."""

    def render_item(kind: str, item: Any, context: AutogenContext) -> Any:
        rendered = theirs(kind, item, context) if theirs is not None else False
        if rendered is False and kind == "type" and context.opts.get("user_module_prefix") is None:
            module = type(item).__module__
            if not module.startswith("sqlalchemy.") and module != "builtins":
                context.imports.add(f"import {module}")
        return rendered

    return render_item

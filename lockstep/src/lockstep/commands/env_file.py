"""An env.py as text: recognised as one of Alembic's templates, and written anew with lockstep.run()."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from alembic.config import Config

#: What Alembic's templates define to run migrations with.
_FUNCTIONS = frozenset(
    {"run_migrations_offline", "run_migrations_online", "do_run_migrations", "run_async_migrations"}
)

#: What Alembic's templates give to context.configure(): lockstep.run() sees to it.
_OWN = frozenset({
    "url", "connection", "target_metadata", "literal_binds", "dialect_opts", "output_buffer", "upgrade_token",
    "downgrade_token", "transaction_per_migration",
})  # fmt: skip

#: What the templates import for their functions alone.
_IMPORTED = frozenset(
    {"engine_from_config", "pool", "asyncio", "Connection", "async_engine_from_config", "async_sessionmaker"}
)

_MULTIDB = """\
for name in re.split(r",\\s*", db_names):
    logger.info("Migrating database %s", name)
    with open(f"{{name}}.sql", "w") if context.is_offline_mode() else nullcontext() as buffer:
        lockstep.run(
            url=config.get_section_option(name, "sqlalchemy.url"),
            upgrade_token=f"{{name}}_upgrades",
            downgrade_token=f"{{name}}_downgrades",
            output_buffer=buffer,
            arguments={{"engine_name": name}},
{options}
        )"""


def adopted(text: str, filename: str = "env.py") -> tuple[str, str] | None:
    """The env.py with lockstep.run() in the place of the template's functions, and why that may not do: ""
    where it does. None where it calls lockstep.run() already. Raises SyntaxError.
    """
    module = ast.parse(text, filename)
    if any(ast.unparse(call.func) == "lockstep.run" for call in _calls(module)):
        return None
    functions = [
        node
        for node in module.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in _FUNCTIONS
    ]
    options, reason = _options(text, functions)
    for function in functions:
        if _shape(function) not in _known():
            reason = reason or f"{function.name}() in line {function.lineno} does something else"
    last = module.body[-1] if module.body else None
    if not (isinstance(last, ast.If) and ast.unparse(last.test) == "context.is_offline_mode()"):
        reason = reason or "it does not end with `if context.is_offline_mode():`"
        last = None
    several = any(_is_multidb(function) for function in functions)
    return _written(text, module, [*functions, *([last] if last else [])], options, several=several), reason


def _calls(node: ast.AST) -> list[ast.Call]:
    return [found for found in ast.walk(node) if isinstance(found, ast.Call)]


def _configure_calls(node: ast.AST) -> list[ast.Call]:
    return [call for call in _calls(node) if ast.unparse(call.func) == "context.configure"]


def _options(
    text: str, functions: list[ast.FunctionDef | ast.AsyncFunctionDef]
) -> tuple[dict[str, str], str]:
    """What lockstep.run() is given, by name, and why that may not do."""
    options: dict[str, str] = {}
    reason = ""
    for function in functions:
        local = {argument.arg for argument in function.args.args} | {
            name.id
            for name in ast.walk(function)
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
        }
        for keyword in (k for call in _configure_calls(function) for k in call.keywords):
            name, value = keyword.arg, ast.get_source_segment(text, keyword.value) or ""
            if name is None:
                reason = reason or f"context.configure(**{value}) in line {keyword.value.lineno}"
                continue
            if name in _OWN and name != "target_metadata":
                continue
            used = {found.id for found in ast.walk(keyword.value) if isinstance(found, ast.Name)}
            if used & local - {"name"}:
                reason = reason or f"{name}={value} in line {keyword.value.lineno} is made in its function"
            if options.setdefault(name, value) != value:
                reason = reason or f"{name}= is {options[name]} and {value}"
    return options, reason


class _Shape(ast.NodeTransformer):
    """A template's function without what differs from release to release, and what projects add to it."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(node.arg)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        called = ast.unparse(node.func)
        if called == "context.configure":
            own = sorted((k for k in node.keywords if k.arg in _OWN), key=lambda k: k.arg or "")
            node.keywords = [k for k in own if k.arg not in {"transaction_per_migration", "target_metadata"}]
        if called.endswith(".get_section"):
            node.args = node.args[:1]
        return node


def _shape(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    copy = ast.parse(ast.unparse(function)).body[0]
    assert isinstance(copy, ast.FunctionDef | ast.AsyncFunctionDef)  # noqa: S101  # for mypy
    copy.returns = None
    if ast.get_docstring(copy) is not None:
        copy.body = copy.body[1:]
    return ast.dump(_Shape().visit(copy))


def _is_multidb(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return "engine_name" in ast.unparse(function)


@cache
def _known() -> frozenset[str]:
    """The functions of the templates of the Alembic that is installed."""
    templates = Path(Config().get_template_directory())
    return frozenset(
        _shape(node)
        for path in templates.glob("*/env.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def _written(
    text: str, module: ast.Module, replaced: list[ast.stmt], options: dict[str, str], *, several: bool
) -> str:
    kept = [node for node in module.body if node not in replaced]
    used = {
        name.id for node in kept for name in ast.walk(node) if isinstance(name, ast.Name)
    }  # fmt: skip
    lines: list[str | None] = list(text.splitlines())

    def remove(node: ast.stmt) -> None:
        for number in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[number] = None

    for node in replaced:
        remove(node)
    after = 0
    for node in kept:
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        after = max(after, node.end_lineno or 0)
        names = {alias.asname or alias.name for alias in node.names}
        if names <= _IMPORTED and not names & used:
            remove(node)
    lines.insert(after, "import lockstep")
    if several:
        first = next(n for n in kept if isinstance(n, ast.Import | ast.ImportFrom)).lineno
        lines.insert(first - 1, "from contextlib import nullcontext")
    body = "\n".join(line for line in lines if line is not None)
    body = re.sub(r"\n{4,}", "\n\n\n", body).strip("\n")
    body = re.sub(r"^((?:import|from) .*)\n{3}(?=import |from )", r"\1\n\n", body, flags=re.MULTILINE)
    return f"{body}\n\n{_call(options, several=several)}\n"


def _call(options: dict[str, str], *, several: bool) -> str:
    given = [f"{name}={value}" for name, value in options.items()]
    if several:
        return _MULTIDB.format(options="\n".join(f"            {one}," for one in given))
    short = f"lockstep.run({', '.join(given)})"
    if len(short) <= 88 and "\n" not in short:
        return short
    return "lockstep.run(\n" + "".join(f"    {one},\n" for one in given) + ")"

"""Symptoms of the way to the database: packages, env.py, URLs."""

from __future__ import annotations

import ast
import difflib
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from lockstep.doctor.diagnosis import Cure, symptom
from lockstep.doctor.sources import called

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lockstep.doctor.case import Case

#: The packages that bring a module of another name.
_PACKAGES = {
    "psycopg2": "psycopg2-binary", "psycopg": '"psycopg[binary]"', "dotenv": "python-dotenv",
    "jose": "python-jose", "jwt": "pyjwt", "yaml": "pyyaml", "decouple": "python-decouple",
    "MySQLdb": "mysqlclient", "PIL": "pillow", "multipart": "python-multipart",
}  # fmt: skip


@symptom("module-not-found", r"No module named '(?P<module>[\w.]+)'")
def module_not_found(case: Case, said: re.Match[str] | None) -> Iterator[Cure]:
    """env.py imports the project, whose folder Python does not look in; or a package is not installed."""
    if said is None:
        return
    module = said["module"]
    first = module.partition(".")[0]
    places = [case.sources.root, case.sources.root / "src"]
    home = next((p for p in places if (p / first).is_dir() or (p / f"{first}.py").exists()), None)
    if home is None:
        yield Cure(f"the package of module {first} is not installed in {sys.prefix}",
                   f"pip install {_PACKAGES.get(first, first)}")  # fmt: skip
        return
    known = {source.module for source in case.sources.files}
    if "." in module and module not in known:
        near = difflib.get_close_matches(module, known, 1)
        yield Cure(f"there is no module {module}", near[0] if near else first, f"in place of {module}")
        return
    below = "" if home == case.sources.root else "/src"
    what = f"{module} is the project's own, and Python does not look in its folder"
    if case.ini is not None:
        where = case.ini_line("prepend_sys_path")
        where += ", in place of prepend_sys_path" if "line" in where else ", under [alembic]"
        yield Cure(what, f"prepend_sys_path = %(here)s{below}", where)
    else:
        yield Cure(what, f'prepend_sys_path = ["%(here)s{below}"]', "in pyproject.toml, under [tool.alembic]")


@symptom("password-in-url", r"invalid interpolation syntax in", r"'%' must be followed by '%' or '\('",
         r"""(?:could not translate host name|failed to resolve host) ["'][^"']*@""")  # fmt: skip
def password_in_url(case: Case, said: re.Match[str] | None) -> Iterator[Cure]:
    """``%`` is the ini file's own sign, and ``@`` ends a URL's password."""
    authority = case.ini_url.partition("://")[2].partition("?")[0].rpartition("@")[0]
    where = f"{case.ini_line('sqlalchemy.url')}, in the password of sqlalchemy.url" if authority else ""
    single = re.search(r"(?<!%)(?:%%)*%(?![%(])(?P<hex>[0-9a-fA-F]{2})?", authority)
    if single:
        yield Cure(
            "a % in the ini file begins a reference, and one that is meant is written twice",
            "%%" if single["hex"] else "%%25",
            f"{where}, in place of each %",
        )
    if "@" in authority:
        yield Cure(
            "an @ in the password ends it, so that the rest is taken for the host",
            "%%40",
            f"{where}, in place of each @",
        )
    if single or "@" in authority or said is None:
        return
    if "interpolation" in said[0] or "must be followed" in said[0]:
        found = _set_url(case)
        given, line = found or ("url", 0)
        yield Cure(
            "env.py gives Alembic a URL with a % in it, which the configuration takes for a reference",
            f'config.set_main_option("sqlalchemy.url", {given}.replace("%", "%%"))',
            f"in {case.env_name}" + (f", line {line}, in place of it" if line else ""),
        )
    else:
        yield Cure(
            "an @ in the password ends it, so that the rest is taken for the host",
            "%40",
            "where the URL is made, in place of each @ of the password",
        )


def _set_url(case: Case) -> tuple[str, int] | None:
    """What env.py sets sqlalchemy.url to, and where; "url" where a password may be written there."""
    for call in case.env_source.calls() if case.env_source else ():
        if called(call).endswith("set_main_option") and "sqlalchemy.url" in ast.unparse(call.args[0]):
            text = ast.unparse(call.args[1])
            written = any(
                isinstance(n, ast.Constant) and "://" in str(n.value) for n in ast.walk(call.args[1])
            )
            return ("url" if written else text, call.lineno)
    return None


@symptom("asyncpg-in-env", r"MissingGreenlet", r"greenlet_spawn has not been called",
         r"The asyncio extension requires an async driver")  # fmt: skip
def asyncpg_in_env(case: Case, said: re.Match[str] | None) -> Iterator[Cure]:
    """The program's URL names an asynchronous driver, and env.py connects without asyncio (or vice versa)."""
    if said is None:
        return
    what = "the URL names asyncpg, and env.py connects without asyncio; migrate over psycopg"
    if "asyncio extension" in said[0]:
        what, old, new = "env.py connects with asyncio, and the URL names no asynchronous driver", "", ""
        yield Cure(what, "postgresql+asyncpg://", "in the URL, in place of postgresql://")
        return
    old, new = "+asyncpg", "+psycopg"
    if old in case.ini_url:
        yield Cure(what, new, f"{case.ini_line('sqlalchemy.url')}, in place of {old}")
        return
    if found := _set_url(case):
        given, line = found
        yield Cure(
            what,
            f'config.set_main_option("sqlalchemy.url", {given}.replace("{old}", "{new}"))',
            f"in {case.env_name}, line {line}, in place of it",
        )
        return
    yield Cure(what, f'.replace("{old}", "{new}")', f"in {case.env_name}, after the URL")


@symptom("running-loop", r"asyncio\.run\(\) cannot be called from a running event loop")
def running_loop(case: Case, said: re.Match[str] | None) -> Iterator[Cure]:
    """A program's coroutine runs Alembic, whose env.py calls asyncio.run()."""
    runs = case.env_source is not None and any(called(c) == "asyncio.run" for c in case.env_source.calls())
    if not runs:
        return
    told = False
    for source in case.sources.files:
        for function in ast.walk(source.tree):
            if not isinstance(function, ast.AsyncFunctionDef):
                continue
            for call in (n for n in ast.walk(function) if isinstance(n, ast.Call)):
                if called(call) in {"command.upgrade", "alembic.command.upgrade"}:
                    told = True
                    arguments = ", ".join(ast.unparse(one) for one in [call.func, *call.args])
                    yield Cure(
                        f"{function.name}() runs inside an event loop, and {case.env_name} starts one: run "
                        "Alembic in a thread",
                        f"await asyncio.to_thread({arguments})",
                        f"in {source}, line {call.lineno}, in place of it; `import asyncio` at the top",
                    )
    if said and not told:
        yield Cure(
            f"Alembic was called inside an event loop, and {case.env_name} starts one: run it in a thread",
            'await asyncio.to_thread(command.upgrade, config, "head")',
            "in place of command.upgrade(…)",
        )


@symptom("passlib-with-bcrypt", r"module 'bcrypt' has no attribute '__about__'",
         r"error reading bcrypt version", r"password cannot be longer than 72 bytes")  # fmt: skip
def passlib_with_bcrypt(case: Case, said: re.Match[str] | None) -> Iterator[Cure]:
    """The last passlib is of 2020, and does not know today's bcrypt."""
    uses = any(
        isinstance(node, ast.Import | ast.ImportFrom) and "passlib" in ast.unparse(node)
        for source in case.sources.files
        for node in ast.walk(source.tree)
    )
    if not uses and not said:
        return
    try:
        old, new = version("passlib"), version("bcrypt")
    except PackageNotFoundError:
        return
    if tuple(int(part) for part in new.split(".")[:2] if part.isdigit()) >= (4, 1):
        yield Cure(
            f"passlib {old} cannot hash with bcrypt {new}: it looks for what is no longer there",
            'pip install "bcrypt==4.0.1"',
        )


SYMPTOMS = (module_not_found, password_in_url, asyncpg_in_env, running_loop, passlib_with_bcrypt)

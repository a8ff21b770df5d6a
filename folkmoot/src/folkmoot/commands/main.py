"""The ``folkmoot`` command: of its commands, only the one that is called is imported.

All of them together import half of what is installed, which takes more than a second: whoever opens psql
does not wait for the HTTP server.
"""

from __future__ import annotations

import sys
from importlib import import_module

import typer

_COMMANDS = (
    "serve",
    "migrate",
    "psql",
    "seed",
    "recount",
    "reindex",
    "grant-admin",
    "revoke-admin",
    "backup",
    "restore",
)
_SETTINGS = {"psql": {"allow_extra_args": True, "ignore_unknown_options": True}}


def main() -> None:
    """Run the command that the arguments name, or say which there are."""
    program(sys.argv[1] if len(sys.argv) > 1 else "")()


def program(named: str) -> typer.Typer:
    """The program with the command of this name, or with all where there is none of it."""
    commands = typer.Typer(
        help="A service in which people register, write posts and vote.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    commands.callback()(_one_of_many)
    for name in (named,) if named in _COMMANDS else _COMMANDS:
        command = import_module(f"folkmoot.commands.{name.replace('-', '_')}").command
        commands.command(name, context_settings=_SETTINGS.get(name))(command)
    return commands


def _one_of_many() -> None:
    """Have Typer ask for a command's name even where only one is imported."""

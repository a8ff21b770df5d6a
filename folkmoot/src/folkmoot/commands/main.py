"""The ``folkmoot`` command."""

from __future__ import annotations

import typer

from folkmoot.commands import migrate, psql, recount, reindex, seed, serve

main = typer.Typer(
    help="A service in which people register, write posts and vote.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
main.command("serve")(serve.command)
main.command("migrate")(migrate.command)
main.command("psql", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    psql.command
)
main.command("seed")(seed.command)
main.command("recount")(recount.command)
main.command("reindex")(reindex.command)

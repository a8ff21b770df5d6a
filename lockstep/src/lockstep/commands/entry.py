"""What `lockstep` on a command line starts: the one command that is typed is imported, not all of them."""

from __future__ import annotations

import gc
import sys
from importlib import import_module

import typer

#: The modules of commands that stand for themselves.
_OF = {
    "check": "check", "doctor": "doctor", "history": "history", "plan": "plan", "watch": "watch",
    "adopt": "snapshots", "diff": "snapshots", "show": "snapshots", "snapshot": "snapshots",
    "verify": "snapshots",
}  # fmt: skip


def run() -> None:
    """Run the command that is typed."""
    gc.set_threshold(
        100_000
    )  # a command lives for a second: little of what it makes is garbage before it ends
    module = _OF.get(sys.argv[1]) if len(sys.argv) > 1 else None
    if module is None:
        import_module("lockstep.commands.main").main()
        return
    one = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    one.callback()(import_module("lockstep.commands.project").keep_x)
    import_module(f"lockstep.commands.{module}").register(one)
    one()

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

#: Those that live for a second, and whose garbage ends with them.
_BRIEF = {"diff", "history", "show", "status", "verify"}


def run() -> None:
    """Run the command that is typed."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command in _BRIEF:
        gc.disable()
    else:
        gc.set_threshold(100_000)  # little of what a command makes is garbage before it ends
    module = _OF.get(command)
    if module is None:
        import_module("lockstep.commands.main").main()
        return
    one = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    one.callback()(import_module("lockstep.commands.project").keep_x)
    import_module(f"lockstep.commands.{module}").register(one)
    one()

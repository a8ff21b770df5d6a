"""A plan as people read it: in a terminal, as SQL, as a comment on a pull request."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from lockstep.plan.judgement import told, waits
from lockstep.plan.operation import MODES
from lockstep.plan.plan import says

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lockstep.plan.estimates import Range
    from lockstep.plan.judgement import Hazard, Wait
    from lockstep.plan.operation import Effect, PlannedOperation, TableName
    from lockstep.plan.plan import Plan, PlannedRevision


def heading(plan: Plan) -> str:
    """What the plan is of, in a line."""
    start, end = (", ".join(heads) or "base" for heads in (plan.target.heads, plan.end))
    if not plan.revisions:
        return f"nothing to do: {plan.target.database} is at {start}"
    count = len(plan.revisions)
    runs = "Lockstep runs" if plan.adopted else "plain Alembic runs"
    return (
        f"{plan.direction} of {plan.target.database} from {start} to {end}: "
        f"{runs} {count} revision{'s' if count > 1 else ''}"
    )


def verdict(plan: Plan) -> str:
    """What it comes to, in a line."""
    open_ones = [hazard for hazard in plan.hazards() if not plan.is_allowed(hazard)]
    failing = sum(one.fails for one in plan.findings)
    if failing:
        return f"{failing} statement{'s' * (failing > 1)} would fail on the data that there are"
    if not open_ones:
        return "nobody waits for longer than a moment"
    count = f"{len(open_ones)} hazard" + "s" * (len(open_ones) > 1)
    return f"{count}: {', '.join(dict.fromkeys(str(h.name) for h in open_ones))}"


def html(plan: Plan, *, plain: bool) -> str:
    """What a terminal of 120 columns shows, as one file of HTML."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(highlight=False, record=True, width=120, file=nowhere)
        show(plan, plain=plain, console=console)
    return console.export_html()


def show(plan: Plan, *, plain: bool, console: Console | None = None) -> None:
    """Print it to the terminal."""
    console = console or Console(highlight=False)
    console.print(heading(plan))
    for revision in plan.revisions:
        console.print()
        console.print(Text(f"{revision.revision}  {revision.says}", style="bold"))
        if plain:
            _side_by_side(console, plan, revision)
            continue
        _print(console, plan, plan.runs, revision)
        if not plan.adopted and any(h.revision == revision.revision for h in plan.hazards()):
            console.print("Lockstep would do instead:")
            _print(console, plan, plan.lockstep, revision)
    if plan.revisions:
        console.print()
        for hazard in plan.hazards():
            console.print(Text(_hazard(plan, hazard), style="dim" if plan.is_allowed(hazard) else "red"))
        for line in _asked(plan):
            console.print(Text(line))
        console.print(verdict(plan))


def _asked(plan: Plan) -> Iterator[str]:
    """What the data say, with rows at fault, and what is in the way."""
    for finding in plan.findings:
        yield f"{'data' if finding.fails else 'not known'}: {finding}"
        for row in finding.rows:
            yield "    " + ", ".join(f"{name} = {value}" for name, value in row.items())
    for one in plan.estimates:
        yield (
            f"estimated: revision {one.revision}: {one.work} of {one.table} ({one.rows:,} rows): "
            f"{one.seconds.low:,.1f} to {one.seconds.high:,.1f} s, {_between(one.wal)} of WAL, "
            f"{_between(one.disk)} of disk"
        )
    for obstacle in plan.obstacles:
        yield f"now in the way: {obstacle}"


def _between(size: Range) -> str:
    return f"{decimal(round(size.low))} to {decimal(round(size.high))}" if size.high else "nothing"


def _hazard(plan: Plan, hazard: Hazard) -> str:
    allowed = " (allowed)" if plan.is_allowed(hazard) else ""
    return f"{hazard.name}{allowed}: revision {hazard.revision}: {hazard.says}"


def _print(
    console: Console, plan: Plan, operations: Sequence[PlannedOperation], revision: PlannedRevision
) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    for column, ratio in (("does", 4), ("locks", 5), ("who waits", 4)):
        table.add_column(column, ratio=ratio, overflow="fold")
    for row in _rows(plan, operations, revision):
        table.add_row(*row)
    console.print(table)


def _rows(
    plan: Plan, operations: Sequence[PlannedOperation], revision: PlannedRevision
) -> Iterator[tuple[str, str, str]]:
    waiting = waits(operations, plan.target)
    for number, operation in enumerate(operations):
        if operation.revision != revision.revision:
            continue
        each = list(_lines(operation, number, waiting))
        if len(each) == 1:
            yield says(operation), *_row(plan, each[0][1], each[0][2])
            continue
        yield says(operation), "", "" if each else "nobody"
        for text, effects, waits_for in each:
            yield f"  {text}", *_row(plan, effects, waits_for)


def _lines(
    operation: PlannedOperation, number: int, waiting: dict[tuple[int, int], list[Wait]]
) -> Iterator[tuple[str, list[Effect], list[Wait]]]:
    """A line for each statement, or for all of a step's."""
    groups: list[tuple[str, list[Effect], list[Wait]]] = []
    for position, effect in enumerate(operation.effects):
        if not effect.step:
            text = " ".join(effect.sql.split())
            groups.append((text, [effect], waiting.get((number, position), [])))
            continue
        if not groups or groups[-1][0] != effect.step:
            groups.append((effect.step, [], []))
        groups[-1][1].append(effect)
        groups[-1][2].extend(waiting.get((number, position), []))
    yield from groups


def _row(plan: Plan, effects: list[Effect], waiting: list[Wait]) -> tuple[str, str]:
    locks = sorted(strongest(effects).items(), key=lambda found: (-MODES.index(found[1]), found[0]))
    does = [("rewrites", e.rewrites) for e in effects] + [("reads", e.scans) for e in effects]
    work = [f"{word} {', '.join(map(str, found))}" for word, found in does if found]
    held = [f"{mode}: {size(plan, table)}" for table, mode in locks]
    return "\n".join([*held, *dict.fromkeys(work)]), "\n".join(told(waiting)) or "nobody"


def strongest(effects: Sequence[Effect]) -> dict[TableName, str]:
    """The strongest lock on each table."""
    found: dict[TableName, str] = {}
    for lock in (lock for effect in effects for lock in effect.locks):
        if lock.table not in found or MODES.index(lock.mode) > MODES.index(found[lock.table]):
            found[lock.table] = lock.mode
    return found


def size(plan: Plan, table: TableName) -> str:
    """A table with its rows and bytes."""
    known = plan.target.tables.get(table)
    if known is None:
        return str(table)
    rows = "rows not known" if known.rows is None else f"{known.rows:,} rows"
    return f"{table} ({rows}, {decimal(known.bytes)})"


def _side_by_side(console: Console, plan: Plan, revision: PlannedRevision) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column("plain Alembic", ratio=1, overflow="fold")
    table.add_column("Lockstep", ratio=1, overflow="fold")
    left, right = (list(_told(plan, each, revision)) for each in (plan.plain, plan.lockstep))
    table.add_row("\n".join(left), "\n".join(right))
    console.print(table)


def _told(plan: Plan, operations: Sequence[PlannedOperation], revision: PlannedRevision) -> Iterator[str]:
    for does, locks, who in _rows(plan, operations, revision):
        yield does
        if locks:
            yield f"    {', '.join(locks.splitlines())}"
        if who and who != "nobody":
            yield from (f"    {line}" for line in who.splitlines())


def sql(plan: Plan) -> str:
    """What plain Alembic sends, a comment before each revision."""
    lines = [f"-- {heading(plan)}"]
    for revision in plan.revisions:
        lines += ["", f"-- {revision.revision}  {revision.says}"]
        for operation in plan.plain:
            if operation.revision == revision.revision:
                lines += [f"{statement.rstrip(';')};" for statement in operation.sql]
    return "\n".join(lines)


def markdown(plan: Plan) -> str:
    """One comment: the hazards, and a table of the statements."""
    lines = [f"### {heading(plan)}", "", f"**{verdict(plan)}**", ""]
    lines += [f"- `{h.name}`{' (allowed)' if plan.is_allowed(h) else ''}: {h.says}" for h in plan.hazards()]
    lines += [f"- {line}" for line in _asked(plan) if not line.startswith(" ")]
    for revision in plan.revisions:
        lines += ["", f"#### {revision.revision} {revision.says}", ""]
        lines += ["| does | locks | who waits |", "|---|---|---|"]
        for row in _rows(plan, plan.runs, revision):
            cells = [cell.replace("|", "\\|").replace("\n", "<br>") for cell in row]
            lines.append(f"| {' | '.join([f'`{cells[0].strip()}`', *cells[1:]])} |")
    return "\n".join(lines)

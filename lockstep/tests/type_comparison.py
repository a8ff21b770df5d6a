"""Runs the changes of type of many tables by plain Alembic and by Lockstep, and says what differs."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alembic import command

import type_cases
from project import Project
from type_casts import TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from testing.cluster import Cluster
    from type_cases import TypeCase

#: The revision: each case in turn, whatever came of those before it.
_REVISION = """
import json
from pathlib import Path
from alembic import context
from lockstep.operations.register import OPTION

class Named(sa.types.UserDefinedType):
    cache_ok = True
    def __init__(self, sql):
        self.sql = sql
    def get_col_spec(self, **_):
        return self.sql

options = context.config.attributes
for table, new, using in json.loads(Path({file!r}).read_text())[{direction!r}]:
    if table not in options["chosen"]:
        continue
    keywords = {{"postgresql_using": using}} if using else {{}}
    try:
        if options["plain"]:
            with op.get_bind().begin_nested():
                op.alter_column(table, "v", type_=Named(new), **keywords)
        else:
            op.alter_column(table, "v", type_=Named(new), **keywords)
    except Exception as error:
        options["told"][table] = error
        if not options["plain"]:  # a case is a revision to itself, and what comes after it is another one
            transaction = context.get_context().opts[OPTION].transaction
            transaction._failed = transaction.listener.refused = None
"""


@dataclass
class Outcome:
    """What came of the cases: how many, what differs, what Lockstep refuses and plain Alembic does not."""

    cases: int = 0
    same: int = 0
    refused_by_both: int = 0
    differences: list[str] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    example: dict[str, str] = field(default_factory=dict)
    """For each reason of a refusal, one of the cases."""

    def told(self) -> dict[str, Any]:
        """For the summary of a test run."""
        return {
            "cases": self.cases,
            "differences": len(self.differences),
            "changes that end alike (up and down)": self.same,
            "refused by both": self.refused_by_both,
            "refused by Lockstep alone": sum(self.refusals.values()),
            "refusals": dict(self.refusals),
        }

    def __str__(self) -> str:
        alone = sum(self.refusals.values())
        lines = [
            f"{self.cases} cases, {len(self.differences)} differences, {self.same} changes that end alike, "
            f"{self.refused_by_both} that both refuse, {alone} that only Lockstep refuses:",
            *(f"  {number} x {reason}" for reason, number in self.refusals.most_common()),
        ]
        return "\n".join(lines)


class Comparison:
    """The tables of some cases in two databases."""

    def __init__(self, cluster: Cluster, cases: Iterable[TypeCase], folder: Path) -> None:
        self.cluster = cluster
        self.online = cluster.create_database()
        with cluster.connect(self.online) as connection:
            connection.execute(TYPES + _FUNCTIONS)
            self.cases = {case.table: type_cases.build(connection, case) for case in cases}
        self.plain = cluster.create_database(self.online)
        self.project = Project(folder, "", short_way=False)
        script = folder / "cases.json"
        ups = [(case.table, case.cast.new, case.using) for case in self.cases.values()]
        downs = [
            (case.table, case.cast.old, case.cast.back)
            for case in self.cases.values() if case.cast.back is not None
        ]  # fmt: skip
        script.write_text(json.dumps({"upgrade": ups, "downgrade": downs}))
        self.project.revision(
            *(_REVISION.format(file=str(script), direction=d) for d in ("upgrade", "downgrade"))
        )

    def run(self) -> Outcome:
        outcome = Outcome(cases=len(self.cases))
        chosen = set(self.cases)
        for direction, to in (("upgrade", "head"), ("downgrade", "base")):
            chosen = self._both_ways(direction, to, chosen, outcome)
        for database in (self.online, self.plain):
            self.cluster.drop_database(database)
        return outcome

    def _both_ways(self, direction: str, to: str, chosen: set[str], outcome: Outcome) -> set[str]:
        """Run one direction in both databases; return the cases that both have done."""
        before = self._state(self.online)
        plainly, online = (self._go(direction, to, chosen, plain=plain) for plain in (True, False))
        right, found = self._state(self.plain), self._state(self.online)
        done = set()
        for table in sorted(chosen):
            case, error = self.cases[table], online.get(table)
            if error is not None:
                reason = re.sub(r"c\d{5}", "TABLE", str(getattr(error, "orig", error)))
                wrong = _difference(before[table], found[table])
                if wrong:
                    outcome.differences.append(f"{direction} {case}: stopped half way by {reason}: {wrong}")
                elif table in plainly:
                    outcome.refused_by_both += 1
                else:
                    outcome.refusals[_short(reason)] += 1
                    outcome.example[_short(reason)] = f"{direction} {case}"
            elif table in plainly:
                outcome.differences.append(f"{direction} {case}: plain Alembic refuses: {plainly[table]}")
            elif wrong := _difference(right[table], found[table]):
                outcome.differences.append(f"{direction} {case}: {wrong}")
            else:
                done.add(table)
                outcome.same += 1
        return done

    def _go(self, direction: str, to: str, chosen: set[str], *, plain: bool) -> dict[str, Exception]:
        config = self.project.config(
            self.cluster.url(self.plain if plain else self.online, "psycopg"), plain=plain
        )
        told: dict[str, Exception] = {}
        config.attributes.update(chosen=chosen, told=told)
        getattr(command, direction)(config, to)
        return told

    def _state(self, database: str) -> dict[str, list[str]]:
        """The schema and rows of each table and what belongs to it, as lines to be compared."""
        state: defaultdict[str, list[str]] = defaultdict(list)
        # The order of columns in a statistics object is that of the row, and means nothing.
        dump = re.sub(r"(?<= ON )v, n(?= FROM)", "n, v", self.cluster.dump_schema(database))
        for statement in dump.removesuffix(";").split(";\n"):
            for table in set(re.findall(r"\bc\d{5}(?=\b|_)", statement)):
                lines = sorted(line.strip().removesuffix(",") for line in statement.split("\n"))
                state[table].append("\n".join(lines))
        with self.cluster.connect(database) as connection:
            for relation, columns in connection.execute(_COLUMNS).fetchall():
                found = connection.execute(
                    f"SELECT ROW({columns})::text FROM {relation} ORDER BY 1"
                ).fetchall()
                state[relation[:6]] += [f"{relation}: {row[0]}" for row in found]
            for name, line in connection.execute(_BESIDES).fetchall():
                state[name[:6]].append(f"{name}: {line}")
        for lines in state.values():
            lines.sort()
        return state


def _difference(right: Iterable[str], found: Iterable[str]) -> str:
    gone, new = Counter(right) - Counter(found), Counter(found) - Counter(right)
    if not gone and not new:
        return ""
    return f"{sorted(new)} instead of {sorted(gone)}"


def _short(reason: str) -> str:
    return re.split(r"[{:;]? ?[{\n]", re.sub(r"as [a-z].*?[:;] ", "as TYPE: ", reason))[0][:150]


_COLUMNS = """
SELECT c.relname, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind IN ('r', 'p') AND c.relname ~ '^c[0-9]{5}' AND a.attnum > 0 AND NOT a.attisdropped
GROUP BY c.relname
"""

#: What pg_dump does not say.
_BESIDES = """
SELECT relname, format('%s %s %s', indisvalid, indisready, indislive)
FROM pg_class JOIN pg_index ON indexrelid = oid WHERE relname ~ '^c[0-9]{5}'
UNION ALL SELECT sequencename, format('%s', last_value) FROM pg_sequences WHERE sequencename ~ '^c[0-9]{5}'
UNION ALL SELECT relname, tgname FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid
WHERE NOT tgisinternal AND relname ~ '^c[0-9]{5}'
"""

_FUNCTIONS = """
DO $$ BEGIN CREATE ROLE reader; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.n := coalesce(NEW.n, 0) + 1; RETURN NEW; END $$;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE 'the trigger of % fires', TG_RELID::regclass; END $$;
"""

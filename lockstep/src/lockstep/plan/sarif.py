"""A plan's hazards as SARIF 2.1.0, the format of code scanning: each where its revision's file has it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lockstep.plan.judgement import Hazard
    from lockstep.plan.plan import Plan


def as_sarif(plan: Plan, root: Path) -> dict[str, Any]:
    """The log, whose files are named from ``root``. A hazard that is allowed is a note."""
    found = plan.hazards()
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "lockstep plan",
                        "rules": [{"id": name} for name in sorted({str(one.name) for one in found})],
                    }
                },
                "results": [
                    {
                        "ruleId": str(one.name),
                        "level": "note" if plan.is_allowed(one) else "error",
                        "message": {"text": f"{one.says}: {one.statement}" if one.statement else one.says},
                        "locations": [{"physicalLocation": _place(plan, one, root)}],
                    }
                    for one in found
                ],
            }
        ],
    }


def _place(plan: Plan, hazard: Hazard, root: Path) -> dict[str, Any]:
    path = Path(next(one.path for one in plan.revisions if one.revision == hazard.revision)).absolute()
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    begins = f"def {plan.direction}("
    lines = path.read_text(encoding="utf-8").splitlines()
    line = next((number for number, text in enumerate(lines, 1) if text.startswith(begins)), 1)
    return {"artifactLocation": {"uri": shown.as_posix()}, "region": {"startLine": line}}

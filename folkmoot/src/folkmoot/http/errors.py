"""What the ``type`` of a problem points to: each kind, explained."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from folkmoot.http.openapi import answers
from folkmoot.http.problems import KINDS, TYPE_PATH, NotFound


class Kind(BaseModel):
    """A kind of problem, explained."""

    type: str
    title: str
    status: int
    explanation: str


router = APIRouter(tags=["errors"])


@router.get(TYPE_PATH + "{kind}", response_model=Kind, responses=answers(NotFound))
async def explain(kind: str) -> Any:
    """Explain a kind of problem: what the `type` of an error points to."""
    found = KINDS.get(kind)
    if found is None:
        raise NotFound("There is no such kind of problem.")
    return Kind(
        type=TYPE_PATH + kind, title=found.title, status=found.status, explanation=found.explanation()
    )

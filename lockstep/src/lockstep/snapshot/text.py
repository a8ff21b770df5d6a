"""A snapshot as a file: sorted text, a line for each thing, made to be read in a diff.

An object stands at the margin, and its parts below it, each with its value after two spaces. The further
lines of a value (a function's body) follow with a bar before them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lockstep.errors import LockstepError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: The first line, and the version of what follows.
_HEAD = "# The schema after revision "
_FORMAT = "# Written by `lockstep snapshot`, format 1: not to be edited."
_PART, _MORE = "    ", "        |"
#: Two spaces end a part, unless they are within a quoted name.
_PART_AND_VALUE = re.compile(r'((?:"(?:[^"]|"")*"|.)*?)(?:  (.*))?')


@dataclass(frozen=True)
class Snapshot:
    """What a catalog holds: each object (``table public.posts``), its parts (``column title``), their values.

    An object without parts is in it with none. Two catalogs are equal where their objects are.
    """

    objects: Mapping[str, Mapping[str, str]]

    def to_text(self, revision: str) -> str:
        """The file of this snapshot."""
        return "\n".join([_HEAD + revision, _FORMAT, *self.lines()]) + "\n"

    def without(self, left_out: Callable[[str], bool]) -> Snapshot:
        """Without the objects, and the parts (``table public.posts: index one``), that are to be left out."""
        return Snapshot(
            {
                name: {part: value for part, value in parts.items() if not left_out(f"{name}: {part}")}
                for name, parts in self.objects.items()
                if not left_out(name)
            }
        )

    def lines(self) -> Iterator[str]:
        """The objects, each after an empty line."""
        for name in sorted(self.objects):
            yield ""
            yield name
            for part, value in sorted(self.objects[name].items()):
                first, *more = value.split("\n")
                yield f"{_PART}{part}  {first}".rstrip()
                for line in more:
                    yield _MORE + line


def from_text(text: str, name: str) -> Snapshot:
    """The snapshot in a file's text; LockstepError where it is not one, with the file's ``name``."""
    lines = text.split("\n")
    if len(lines) < 2 or not lines[0].startswith(_HEAD) or lines[1] != _FORMAT:
        raise LockstepError(f"{name} is no snapshot of this version: write it anew with `lockstep snapshot`")
    objects: dict[str, dict[str, str]] = {}
    parts: dict[str, str] | None = None
    part = ""
    for number, line in enumerate(lines[2:], 3):
        if parts is not None and part and line.startswith(_MORE):
            parts[part] += "\n" + line.removeprefix(_MORE)
        elif parts is not None and line.startswith(_PART):
            part, value = _PART_AND_VALUE.fullmatch(line, len(_PART)).groups("")  # type: ignore[union-attr]
            parts[part] = value
        elif line and not line.startswith(" "):
            parts, part = objects.setdefault(line, {}), ""
        elif line:
            raise LockstepError(
                f"{name}, line {number}: cannot be read; write it anew with `lockstep snapshot`"
            )
    return Snapshot(objects)

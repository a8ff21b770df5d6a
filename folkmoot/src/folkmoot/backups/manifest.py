"""What a backup says of itself: its file ``manifest.json``, beside the dump."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import msgspec

from folkmoot.backups.errors import BackupError
from folkmoot.backups.programs import major_of
from folkmoot.backups.rows import Rows  # noqa: TC001 - msgspec reads the annotations

if TYPE_CHECKING:
    from pathlib import Path

NAME, DUMP = "manifest.json", "dump"
FORMAT = 1


class File(msgspec.Struct, frozen=True):
    """A file of the dump."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """A backup, in its own words."""

    #: Everything that was acknowledged before is in it, as of this moment by the database's clock.
    taken_at: str
    folkmoot: str
    #: The versions of the server and of the pg_dump that wrote it.
    server: str
    pg_dump: str
    #: Where the schema is, and what of it is half done.
    revisions: list[str]
    half_done: list[str]
    #: Who is granted something in it.
    roles: list[str]
    rows: dict[str, Rows]
    files: dict[str, File]
    format: int = FORMAT

    @property
    def server_major(self) -> int:
        return major_of(self.server)

    @property
    def total(self) -> int:
        return sum(each.number for each in self.rows.values())


def files(dump: Path) -> dict[str, File]:
    """The files of a dump, read from end to end."""
    return {path.name: _file(path) for path in sorted(dump.iterdir())}


def write(folder: Path, manifest: Manifest) -> None:
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    with (folder / NAME).open("wb") as file:
        file.write(text + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read(folder: Path) -> Manifest:
    """The manifest of a backup whose files are all there, as they were written; BackupError otherwise."""
    try:
        found = msgspec.json.decode((folder / NAME).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise BackupError(f"{folder} is no backup: it has no {NAME}.") from None
    except OSError as error:
        raise BackupError(f"{folder} cannot be read: {error.strerror}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BackupError(f"The backup is damaged: {folder / NAME} is not what was written.") from None
    if found.format != FORMAT:
        raise BackupError(f"The backup is of a format ({found.format}) that this program does not know.")
    for name, expected in found.files.items():
        path = folder / DUMP / name
        try:
            same = _file(path) == expected
        except FileNotFoundError:
            raise BackupError(f"The backup is damaged: {path} is missing.") from None
        except OSError as error:
            raise BackupError(f"The backup is damaged: {path} cannot be read: {error.strerror}.") from None
        if not same:
            raise BackupError(f"The backup is damaged: {path} is not what was written.")
    return found


def _file(path: Path) -> File:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return File(file.tell(), digest)

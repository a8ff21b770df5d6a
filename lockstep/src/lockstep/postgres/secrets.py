"""Takes passwords out of what is printed."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable

_URL = re.compile(r"://[^\s:/@]*:(?P<password>\S*)@")


def passwords(texts: Iterable[str]) -> set[str]:
    """The passwords of the URLs in the texts and in this process's environment, as written and as meant."""
    written = {found["password"] for text in [*texts, *os.environ.values()] for found in _URL.finditer(text)}
    written.add(os.environ.get("PGPASSWORD", ""))
    doubled = {one.replace("%%", "%") for one in written}
    return {one for one in written | doubled | {unquote(one) for one in doubled} if one}


def without_secrets(text: str, known: Iterable[str] = ()) -> str:
    """The text with stars in place of passwords, also where an @ in one made it a part of the host."""
    text = re.sub(r"(://[^\s:/@]*):\S*@", r"\1:***@", text)
    text = re.sub(r"""(['"])[^\s'"]*@""", r"\1***@", text)
    text = re.sub(r"(?i)(password\s*=\s*)\S+", r"\1***", text)
    for one in sorted(known, key=len, reverse=True):
        text = text.replace(one, "***")
    return text

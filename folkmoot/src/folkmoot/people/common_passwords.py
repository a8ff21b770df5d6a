"""Passwords that are guessed first: those that many people have, and those made of the person's own words."""

from __future__ import annotations

from zxcvbn.frequency_lists import FREQUENCY_LISTS

from folkmoot.http.problems import Invalid

#: The shortest password, in characters.
SHORTEST = 8
#: The 30,000 most frequent ones of published breaches that zxcvbn carries, in lower case; here those that are
#: long enough. Imported at the start: it takes a tenth of a second.
COMMON = frozenset(password for password in FREQUENCY_LISTS["passwords"] if len(password) >= SHORTEST)
#: Words of the service itself.
OURS = frozenset({"folkmoot"})


def uncommon(password: str) -> str:
    """Give a password back; raises ValueError for one that many people have, in whatever case."""
    if password.lower() in COMMON:
        raise ValueError("Many people have this password, so it is guessed first: choose another")
    return password


def refuse_own_words(password: str, email: str, name: str | None) -> None:
    """Refuse a password that is the address, the name or the service, with digits or signs around it.

    Raises Invalid.
    """
    words = {*OURS, email.lower(), email.lower().rpartition("@")[0], (name or "").lower().replace(" ", "")}
    bare = password.lower().replace(" ", "")
    letters = bare.strip("0123456789!?.,;:-_+*#$%&/()='\"")
    if {bare, letters} & (words - {""}):
        detail = "This is your address, your name or the service's, so it is guessed first: choose another"
        raise Invalid(errors=[{"pointer": "#/password", "detail": detail}])

"""Which addresses are one: PostgreSQL says it, for accounts, for logins and for the count of failures."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from folkmoot.people.credentials import _BY_ADDRESS
from folkmoot.people.login_failures import PAIR_LIMIT

if TYPE_CHECKING:
    from api import Api


def case_pairs() -> list[tuple[str, str]]:
    """Every character with each other one that is the same in another case, as Python has it."""
    pairs = []
    for code in range(0x80, sys.maxunicode + 1):
        if not 0xD800 <= code <= 0xDFFF:
            character = chr(code)
            others = {character.lower(), character.upper(), character.title(), character.casefold()}
            pairs += [(character, other) for other in others - {character}]
    return pairs


@pytest.mark.parametrize(
    ("spelled", "otherwise"), [("iki", "İkİ"), ("iki", "IKI"), ("ΟΔΟΣ", "οδος"), ("ﬀ", "FF")]
)
def test_another_spelling_of_an_account_gives_no_more_tries(api: Api, spelled: str, otherwise: str) -> None:
    api.register(f"{spelled}@example.com")
    found = api.login(f"{otherwise}@example.com").status_code == 200
    for _ in range(PAIR_LIMIT):
        assert api.login(f"{spelled}@example.com", "wrong").status_code == 400
    assert api.login(f"{otherwise}@example.com", "wrong").status_code == (429 if found else 400)


def test_two_addresses_are_counted_as_one_where_they_are_one_account_and_only_there(api: Api) -> None:
    """Over all of Unicode's pairs: as accounts, as logins, and as addresses that nobody has."""
    pairs = case_pairs()
    assert len(pairs) > 2500
    one, other = ([f"{part}@example.com" for part in parts] for parts in zip(*pairs, strict=True))
    insert = """
        INSERT INTO users (email, password)
        SELECT DISTINCT ON (lower(e)) e, '!' FROM unnest(%s::text[]) AS e
    """
    find = _BY_ADDRESS.replace("$1", "e").replace("$2", "e").replace("$3", "'192.0.2.1'")
    look_up = f"""
        SELECT n, f.id, f.folded
          FROM unnest(%s::text[]) WITH ORDINALITY AS u (e, n), LATERAL ({find}) AS f ORDER BY n
    """
    fold = "SELECT lower(e) FROM unnest(%s::text[]) WITH ORDINALITY AS u (e, n) ORDER BY n"
    with api.connect() as connection:
        connection.execute(insert, [one])
        spelled = connection.execute(look_up.encode(), [one + other]).fetchall()
        folded = connection.execute(fold, [one + other]).fetchall()
    assert [row[2] for row in spelled] == [row[0] for row in folded]
    by_fold: dict[str, set[int | None]] = {}
    for _, account, fold in spelled:
        by_fold.setdefault(fold, set()).add(account)
    # One folding, one account; and one account, one folding.
    assert all(len(accounts) == 1 for accounts in by_fold.values())
    accounts = [account for found in by_fold.values() for account in found if account is not None]
    assert len(accounts) == len(set(accounts))

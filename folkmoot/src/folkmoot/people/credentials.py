"""Who somebody is, proved by a password: found, limited, verified, and counted where it is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from folkmoot.http.problems import Forbidden, InvalidGrant, TooManyAttempts
from folkmoot.people import events
from folkmoot.people.caller import session_ended
from folkmoot.people.email import normalised
from folkmoot.people.limits import client_of, network_of
from folkmoot.people.login_failures import Attempts
from folkmoot.postgres.pool import transaction

if TYPE_CHECKING:
    from fastapi import Request

    from folkmoot.people.passwords import Passwords
    from folkmoot.postgres.pool import Pool


class AccountBlocked(InvalidGrant):
    """The password is right, and an administrator has blocked the account.

    `detail` says why. Carries `error` and `error_description` as RFC 6749, 5.2 has them.
    """

    kind, title = "account-blocked", "The account is blocked"
    example = "An administrator has blocked this account: It is an advertisement."

    def __init__(self, reason: str) -> None:
        super().__init__(f"An administrator has blocked this account: {reason}")


@dataclass(frozen=True)
class Proof:
    """An account, and the hash that a password was verified against.

    It proves something only as long as that hash is the account's: whoever acts on it says so in the same
    statement, `WHERE users.password = hash`.
    """

    account_id: int
    hash: str
    #: What is to take the place of the hash.
    replacement: str | None
    attempts: Attempts


# The dearest hash of bcrypt is found in users_bcrypt_cost, whose condition this is.
_DEAREST = """
    SELECT max(substr(password::text, 5, 2)) AS bcrypt_cost FROM users
     WHERE password ~ '^\\$2[aby]\\$(0[4-9]|1[0-5])\\$[./A-Za-z0-9]{53}$'
"""
# A person's exact spelling comes first: accounts that are older than the rule that letter case does not tell
# addresses apart may share one but for case.
_BY_ADDRESS = f"""
    SELECT found.id, found.password, found.clients, lower($2) AS folded, dearest.bcrypt_cost
      FROM ({_DEAREST}) AS dearest LEFT JOIN LATERAL (
        SELECT id::bigint, password,
               ARRAY (SELECT client FROM sessions WHERE user_id = users.id AND client IS NOT NULL) AS clients
          FROM users
         WHERE email = $1 OR (lower(email) = lower($2) AND NOT duplicate_email)
         ORDER BY email = $1 DESC LIMIT 1
      ) AS found ON TRUE
"""
_BY_ID = f"""
    SELECT found.id, found.password, NULL::text[] AS clients, '' AS folded, dearest.bcrypt_cost
      FROM ({_DEAREST}) AS dearest
      JOIN (SELECT id::bigint, password FROM users WHERE id = $1::bigint) AS found ON TRUE
"""


@dataclass(frozen=True)
class _Found:
    """What the database has to an address or an id: perhaps no account."""

    account_id: int | None
    password: str | None
    known: bool
    bcrypt_cost: int | None
    attempts: Attempts


async def prove_by_address(request: Request, username: str, password: str) -> Proof | None:
    """Prove that somebody has the account by this address; None for a wrong password and a wrong address.

    Raises TooManyAttempts, and Unavailable where too many wait to be verified.
    """
    username = username.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    key = username, normalised(username) or username
    return await _prove(request, _BY_ADDRESS, key, password)


async def prove_again(request: Request, user_id: int, password: str | None) -> Proof:
    """Ask somebody who is logged in for the password again.

    Raises Forbidden, TokenRefused where the account was deleted meanwhile, and as `prove_by_address`.
    """
    if password is None:
        raise Forbidden("This needs the current_password as well.")
    proof = await _prove(request, _BY_ID, (user_id,), password)
    if proof is None:
        raise Forbidden("The current_password is wrong.")
    return proof


def changed_meanwhile() -> Forbidden:
    """What is said where the password that was verified is not the account's any more."""
    return Forbidden("The password was changed meanwhile.")


async def _prove(request: Request, query: str, key: tuple[str | int, ...], password: str) -> Proof | None:
    passwords: Passwords = request.app.state.passwords
    pool: Pool = request.app.state.pool
    # A look before the wait, so that those who are refused anyway do not fill the queue.
    await _look(request, query, key)
    async with passwords.turn():
        # And one in the turn: a worker's guesses come one by one, so that hardly any slips past the count.
        found = await _look(request, query, key)
        right, replacement = await passwords.verify(password, found.password, found.bcrypt_cost)
        if right and found.account_id is not None:
            return Proof(found.account_id, cast("str", found.password), replacement, found.attempts)
        async with transaction(pool) as connection:
            await found.attempts.failed(connection)
    events.note("login_failed", request, account_id=found.account_id)
    return None


async def _look(request: Request, query: str, key: tuple[str | int, ...]) -> _Found:
    """Find the account and count its failures; raises TooManyAttempts."""
    pool: Pool = request.app.state.pool
    async with pool.acquire() as connection:
        row = await connection.fetchrow(query, *key)
        if row is None:
            raise session_ended()
        account_id, clients = row["id"], row["clients"]
        attempts = Attempts(account_id, row["folded"], client_of(request))
        # Whoever is asked again, by id, is logged in from here.
        network = network_of(client_of(request))
        known = account_id is not None and (clients is None or network in map(network_of, clients))
        wait = await attempts.wait(connection, known=known)
    if wait:
        events.note("login_limited", request, account_id=account_id)
        raise TooManyAttempts(wait)
    cost = row["bcrypt_cost"]
    return _Found(account_id, row["password"], known, int(cost) if cost else None, attempts)

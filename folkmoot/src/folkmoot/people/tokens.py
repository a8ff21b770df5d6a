"""Tokens: JWT (RFC 7519), signed with HS256, by this service for this service.

Those of the API and those of the pages' cookie name the same sessions and have an audience and a type each,
so that neither is good for the other's place.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jwt

from folkmoot.http.parameters import MAX_ID
from folkmoot.http.problems import TokenRefused

if TYPE_CHECKING:
    from datetime import timedelta

#: Who issues tokens.
_SERVICE = "folkmoot"
#: When it was issued is not held against the clock: the one of another machine may be ahead.
_CHECKS: Any = {"require": ["iss", "aud", "sub", "sid", "iat", "exp"], "verify_iat": False}
ID = re.compile(r"[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: nothing but its signature has been checked."""

    user_id: int
    session_id: int


class Purpose(NamedTuple):
    """What tokens are good for, and for nothing else."""

    audience: str
    type: str


#: Access tokens of the API; their type is that of RFC 9068, 2.1.
API = Purpose(_SERVICE, "at+jwt")
#: What the cookie of the pages holds.
PAGES = Purpose(f"{_SERVICE} pages", "session+jwt")


class Tokens:
    """Makes and reads the tokens of one purpose."""

    def __init__(self, secret: str, lifetime: timedelta, *older: str, purpose: Purpose = API) -> None:
        """Sign with a secret, and go on to accept what was signed with older ones."""
        self._keys = [each.encode() for each in (secret, *older)]
        self._purpose = purpose
        self.seconds = int(lifetime.total_seconds())

    def write(self, user_id: int, session_id: int) -> str:
        now = int(time.time())
        claims = {
            "iss": _SERVICE, "aud": self._purpose.audience, "sub": str(user_id), "sid": session_id,
            "iat": now, "exp": now + self.seconds,
        }  # fmt: skip
        return jwt.encode(claims, self._keys[0], "HS256", headers={"typ": self._purpose.type})

    def read(self, token: str) -> Claims:
        """Check a token's signature, purpose and expiry; whether its session lives, the database says.

        Raises TokenRefused.
        """
        claims = self._verified(token)
        subject, session = claims["sub"], claims["sid"]
        if not ID.fullmatch(subject) or type(session) is not int or not 0 < session <= MAX_ID:
            raise TokenRefused("The access token is not one of ours.")
        user = int(subject)
        if user > MAX_ID:
            raise TokenRefused("The access token is not one of ours.")
        return Claims(user, session)

    def _verified(self, token: str) -> dict[str, Any]:
        for key in self._keys:
            try:
                found = jwt.decode_complete(
                    token, key, ["HS256"], _CHECKS, audience=self._purpose.audience, issuer=_SERVICE
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.ExpiredSignatureError:
                raise TokenRefused("The access token has expired.") from None
            except (jwt.InvalidTokenError, ValueError, OverflowError, RecursionError):
                break
            if found["header"].get("typ") != self._purpose.type:
                break
            claims: dict[str, Any] = found["payload"]
            return claims
        raise TokenRefused("The access token is not one of ours.")

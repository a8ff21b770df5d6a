"""E-mail addresses: what is accepted, and the one form in which it is kept."""

from __future__ import annotations

from typing import Annotated

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, Field


def normalised(email: str) -> str | None:
    """The form in which an address is kept (domain in lower case, Unicode in NFC), None if it is no address.

    Whether mail arrives there is not checked: that would take the network. The local part keeps its case, as
    mail servers may heed it; that no two accounts differ by case alone is seen to by the database.
    """
    try:
        # `.test` is reserved for tests (RFC 6761); an address there does no harm.
        return validate_email(email, check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError:
        return None


def _email(email: str) -> str:
    try:
        return validate_email(email, check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError as error:
        raise ValueError(f"Not an e-mail address: {error}") from None


Email = Annotated[
    str,
    AfterValidator(_email),
    Field(max_length=254, json_schema_extra={"format": "email"}, examples=["ada@example.com"]),
]

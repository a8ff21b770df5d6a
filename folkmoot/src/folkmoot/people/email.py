"""E-mail addresses: what is accepted, and the one form in which it is kept."""

from __future__ import annotations

from typing import Annotated

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, Field

#: Characters, RFC 5321, 4.5.3.1.
MAX_LENGTH = 254


def normalised(email: str) -> str | None:
    """The form in which an address is kept (domain in lower case, Unicode in NFC), None if it is no address.

    Whether mail arrives there is not checked: that would take the network. The local part keeps its case, as
    mail servers may heed it; that no two accounts differ by case alone is seen to by the database.
    """
    if len(email) > MAX_LENGTH:  # before anything that takes longer than in proportion to it
        return None
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
    # The length comes first: normalising a long text takes time with the square of it.
    Field(max_length=MAX_LENGTH, json_schema_extra={"format": "email"}, examples=["ada@example.com"]),
    AfterValidator(_email),
]

"""E-mail addresses and phone numbers: what is accepted, and the one form in which it is kept."""

from __future__ import annotations

from typing import Annotated

import phonenumbers
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


def _phone_number(number: str) -> str:
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        parsed = None
    # Possible, not valid: which ranges are assigned changes more often than a library is updated.
    if parsed is None or not phonenumbers.is_possible_number(parsed):
        raise ValueError("Not a phone number: write + and the country code first, as in +493012345678")
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


Email = Annotated[
    str,
    AfterValidator(_email),
    Field(max_length=254, json_schema_extra={"format": "email"}, examples=["ada@example.com"]),
]
#: E.164.
PhoneNumber = Annotated[
    str, AfterValidator(_phone_number), Field(pattern=r"^\+[1-9][0-9]{6,14}$", examples=["+493012345678"])
]

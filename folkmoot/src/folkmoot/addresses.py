"""E-mail addresses and phone numbers: what is accepted, and the one form in which it is kept."""

from __future__ import annotations

import re
from typing import Annotated

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, REGION_CODE_FOR_NON_GEO_ENTITY, PhoneMetadata
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


def _e164() -> str:
    """Write the numbers that can exist as a pattern: each country code with the lengths that it has.

    Possible, not assigned: which ranges are assigned changes more often than a library is updated.
    """
    codes: dict[tuple[int, ...], list[str]] = {}
    for code, regions in COUNTRY_CODE_TO_REGION_CODE.items():
        metadata = (
            PhoneMetadata.metadata_for_nongeo_region(code)
            if regions[0] == REGION_CODE_FOR_NON_GEO_ENTITY
            else PhoneMetadata.metadata_for_region(regions[0])
        )
        if metadata is not None and metadata.general_desc is not None:
            codes.setdefault(metadata.general_desc.possible_length, []).append(str(code))
    kinds = (
        f"(?:{'|'.join(some)})(?:{'|'.join(f'[0-9]{{{length}}}' for length in lengths)})"
        for lengths, some in codes.items()
    )
    return rf"^\+(?:{'|'.join(kinds)})$"


_E164 = _e164()
_possible = re.compile(_E164, re.ASCII).fullmatch


def _phone_number(number: str) -> str:
    if not _possible(number):
        raise ValueError("Not a phone number: write + and the country code first, as in +493012345678")
    # A 0 that is only dialled within the country goes.
    return phonenumbers.format_number(phonenumbers.parse(number), phonenumbers.PhoneNumberFormat.E164)


Email = Annotated[
    str,
    AfterValidator(_email),
    Field(max_length=254, json_schema_extra={"format": "email"}, examples=["ada@example.com"]),
]
#: E.164.
PhoneNumber = Annotated[
    str,
    AfterValidator(_phone_number),
    Field(json_schema_extra={"pattern": _E164}, examples=["+493012345678"]),
]

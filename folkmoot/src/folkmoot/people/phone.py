"""Phone numbers: what is accepted, and the one form in which it is kept."""

from __future__ import annotations

import re
from typing import Annotated

import phonenumbers
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, REGION_CODE_FOR_NON_GEO_ENTITY, PhoneMetadata
from pydantic import AfterValidator, Field

#: A + and the 15 digits of E.164, and one more: some countries number longer than that.
MAX_LENGTH = 20


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


#: E.164.
PhoneNumber = Annotated[
    str,
    Field(max_length=MAX_LENGTH, json_schema_extra={"pattern": _E164}, examples=["+493012345678"]),
    AfterValidator(_phone_number),
]

from __future__ import annotations

import random

import phonenumbers
import pytest
from pydantic import TypeAdapter, ValidationError

from folkmoot.people.email import Email, normalised
from folkmoot.people.phone import PhoneNumber

EMAIL: TypeAdapter[str] = TypeAdapter(Email)
PHONE_NUMBER: TypeAdapter[str] = TypeAdapter(PhoneNumber)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Ada@EXAMPLE.com", "Ada@example.com"),
        ("ada+folkmoot@example.com", "ada+folkmoot@example.com"),
        ("ada@BÜCHER.example", "ada@bücher.example"),
        ("ada@xn--bcher-kva.example", "ada@bücher.example"),
        ("ada@a.test", "ada@a.test"),
    ],
)
def test_an_address_is_kept_in_one_form(typed: str, kept: str) -> None:
    assert EMAIL.validate_python(typed) == kept
    assert normalised(typed) == kept


@pytest.mark.parametrize(
    "typed", ["", "ada", "@example.com", "a b@example.com", "ada@localhost", "a@b@c.com"]
)
def test_what_is_no_address_is_refused(typed: str) -> None:
    assert normalised(typed) is None
    with pytest.raises(ValidationError, match="Not an e-mail address"):
        EMAIL.validate_python(typed)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("+493012345678", "+493012345678"),
        ("+4903012345678", "+493012345678"),
        ("+12025550123", "+12025550123"),
        ("+390612345678", "+390612345678"),
    ],
)
def test_a_phone_number_is_kept_as_e164_has_it(typed: str, kept: str) -> None:
    assert PHONE_NUMBER.validate_python(typed) == kept


@pytest.mark.parametrize(
    "typed", ["", "+", "+1", "030123456", "+999123456789", "+49 30 12345678", "+1202555012x"]
)
def test_what_is_no_phone_number_is_refused(typed: str) -> None:
    with pytest.raises(ValidationError, match="Not a phone number"):
        PHONE_NUMBER.validate_python(typed)


def test_the_library_finds_a_number_possible_exactly_where_the_pattern_does() -> None:
    digits = random.Random(1)
    codes = sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
    for _ in range(3000):
        rest = "".join(digits.choices("0123456789", k=digits.randint(1, 15)))
        typed = f"+{digits.choice(codes)}{digits.choice('123456789')}{rest}"
        try:
            parsed = phonenumbers.parse(typed)
        except phonenumbers.NumberParseException:
            possible = False
        else:
            # Not IS_POSSIBLE_LOCAL_ONLY: what lacks its area code cannot be dialled from abroad.
            reason = phonenumbers.is_possible_number_with_reason(parsed)
            possible = reason == phonenumbers.ValidationResult.IS_POSSIBLE
            if phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164) != typed:
                continue  # the library took something for a prefix that is only dialled within the country
        try:
            accepted = bool(PHONE_NUMBER.validate_python(typed))
        except ValidationError:
            accepted = False
        assert accepted == possible, typed

from __future__ import annotations

from typing import TYPE_CHECKING

from folkmoot.people.login_failures import (
    ADDRESS_ATTACKED,
    CLIENT_LIMIT,
    PAIR_LIMIT,
    PAIR_LIMIT_UNDER_ATTACK,
    Attempts,
)

if TYPE_CHECKING:
    from api import Api


def test_too_many_failures_for_an_address_from_a_client_are_turned_away(api: Api) -> None:
    api.register("ada@example.com")
    for _ in range(PAIR_LIMIT):
        assert api.login("ada@example.com", "wrong").status_code == 400
    refused = api.login("ADA@example.com", "wrong")
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 15 * 60
    assert api.login("ada@example.com").status_code == 429


def test_the_owner_logs_in_from_elsewhere_meanwhile(api: Api) -> None:
    api.register("ada@example.com")
    for _ in range(PAIR_LIMIT + 1):
        api.login("ada@example.com", "wrong")
    assert api.login("ada@example.com", client="198.51.100.7").status_code == 200


def test_an_unknown_address_is_counted_like_a_known_one(api: Api) -> None:
    statuses = [api.login("nobody@example.com", "wrong").status_code for _ in range(PAIR_LIMIT + 1)]
    assert statuses == [400] * PAIR_LIMIT + [429]


def test_a_right_login_makes_the_failures_before_it_forgotten(api: Api) -> None:
    api.register("ada@example.com")
    for _ in range(3):
        for _ in range(PAIR_LIMIT - 1):
            api.login("ada@example.com", "wrong")
        assert api.login("ada@example.com").status_code == 200


def test_too_many_failures_from_a_client_are_turned_away_whatever_the_address(api: Api) -> None:
    api.register("ada@example.com")
    ben = api.person("ben@example.com")
    assert api.login(ben.email, client="192.0.2.9").status_code == 200
    for number in range(CLIENT_LIMIT):
        assert api.login(f"guess{number}@example.com", "wrong", client="192.0.2.9").status_code == 400
    assert api.login("ada@example.com", client="192.0.2.9").status_code == 429
    assert api.login("ada@example.com", client="192.0.2.10").status_code == 200
    # Somebody who is logged in at that client already is not stopped by who shares it.
    assert api.login(ben.email, client="192.0.2.9").status_code == 200


def test_the_addresses_that_one_subscriber_has_of_ipv6_count_as_one(api: Api) -> None:
    for number in range(PAIR_LIMIT):
        api.login("ada@example.com", "wrong", client=f"2001:db8:1:2::{number + 1:x}")
    assert api.login("ada@example.com", client="2001:db8:1:2:ffff::1").status_code == 429
    assert api.login("ada@example.com", client="2001:db8:1:3::1").status_code == 400


def test_an_address_under_attack_from_many_leaves_each_newcomer_few_tries(api: Api) -> None:
    ada = api.person("ada@example.com")
    for number in range(ADDRESS_ATTACKED):
        api.login(ada.email, "wrong", client=f"203.0.113.{number + 1}")
    statuses = [api.login(ada.email, "wrong", client="198.51.100.1").status_code for _ in range(3)]
    assert statuses == [400] * PAIR_LIMIT_UNDER_ATTACK + [429]
    assert api.login(ada.email, client="198.51.100.2").status_code == 200


def test_whoever_has_a_session_from_a_network_keeps_all_tries_there(api: Api) -> None:
    """Machines change their address of IPv6 every day, within a /64."""
    ada = api.register("ada@example.com").json()
    api.login(ada["email"], client="2001:db8:1:2::1")
    for number in range(ADDRESS_ATTACKED):
        api.login(ada["email"], "wrong", client=f"203.0.113.{number + 1}")
    for client, tries in (("2001:db8:1:2:a:b:c:d", PAIR_LIMIT), ("2001:db8:1:3::1", PAIR_LIMIT_UNDER_ATTACK)):
        statuses = [api.login(ada["email"], "wrong", client=client).status_code for _ in range(tries + 1)]
        assert statuses == [400] * tries + [429], client


def test_guesses_at_once_do_not_slip_past_the_count(api: Api) -> None:
    api.register("ada@example.com")
    answers = api.at_once(*[lambda: api.login("ada@example.com", "wrong")] * 60)
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(400) == PAIR_LIMIT
    assert statuses.count(429) == 60 - PAIR_LIMIT


def test_failures_are_forgotten_after_their_time_and_cleared_away(api: Api) -> None:
    api.register("ada@example.com")
    for _ in range(PAIR_LIMIT):
        api.login("ada@example.com", "wrong")
    with api.connect() as connection:
        connection.execute("UPDATE login_failures SET until = now() - interval '1 second'")
        assert api.login("ada@example.com", "wrong").status_code == 400
        rows = connection.execute("SELECT failures FROM login_failures").fetchall()
    assert rows == [(1,)] * 3


def test_wrong_confirmations_of_a_change_count_as_failures(api: Api) -> None:
    ada = api.person()
    change = {"password": "another password", "current_password": "wrong"}
    statuses = [
        api.patch("/users/me", json=change, headers=ada.auth).status_code for _ in range(PAIR_LIMIT + 1)
    ]
    assert statuses == [403] * PAIR_LIMIT + [429]


def test_the_table_of_failures_names_no_address(api: Api) -> None:
    api.login("ada@example.com", "wrong")
    with api.connect() as connection:
        rows = connection.execute("SELECT encode(key, 'escape') FROM login_failures").fetchall()
    assert len(rows) == 3
    assert "ada" not in str(rows)


def test_an_attempt_is_of_an_account_from_a_network() -> None:
    one, other = Attempts(7, "ada@example.com", "192.0.2.1"), Attempts(7, "", "::ffff:192.0.2.1")
    assert vars(one) == vars(other)

"""X-Forwarded-For is written by whoever likes to: limits by client must hold all the same."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from folkmoot.http.proxies import Forwarded, address
from folkmoot.settings import SettingsError, load

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

PROXY = "10.0.0.1"


async def client(*headers: str, peer: str = PROXY, trusted: str = "10.0.0.0/8, 2001:db8:ffff::/48") -> str:
    """Whom a request with these X-Forwarded-For headers counts as."""
    seen: dict[str, Any] = {}

    async def application(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.update(scope)

    async def unused(*_: Any) -> Any:
        raise AssertionError

    scope = {
        "type": "http", "client": (peer, 1), "scheme": "http",
        "headers": [(b"x-forwarded-for", value.encode("latin-1")) for value in headers],
    }  # fmt: skip
    await Forwarded(application, trusted)(scope, unused, unused)
    return str(seen["client"][0])


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1 ", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
    ],
)
def test_an_address_is_read_in_every_form_that_proxies_write(written: str, read: str) -> None:
    assert str(address(written)) == read


@pytest.mark.parametrize(
    "written",
    [
        "", "unknown", "_hidden", "192.0.2", "192.0.2.256", "192.0.2.1:port",
        "192.0.2.1:123456", "192.0.2.1:",
        "192.0.2.01", "[192.0.2.1", "2001:db8::1]:80", "fe80::1%eth0", "[fe80::1%25eth0]:80", "a@192.0.2.1",
        "192.0.2.1/32", "3221225985", "0x7f.1", "\u0661.2.3.4", "9" * 60_000, ":" * 60_000, "[" * 60_000,
    ],
)  # fmt: skip
def test_what_is_no_address_is_none(written: str) -> None:
    assert address(written) is None


@pytest.mark.parametrize(
    ("headers", "counted"),
    [
        ([], PROXY),
        (["192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1:1", "10.0.0.2"], "192.0.2.1"),
        (["198.51.100.9, 192.0.2.1:5, 10.0.0.2:80"], "192.0.2.1"),
        (["198.51.100.9, [2001:db8::1]:443, [2001:db8:ffff::1]:80"], "2001:db8::1"),
        (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (["garbage"], PROXY),
        (["192.0.2.1, garbage"], PROXY),
        (["192.0.2.1, garbage, 10.0.0.2"], "10.0.0.2"),
        (["192.0.2.1,"], PROXY),
        ([",".join(["192.0.2.1"] * 5000)], "192.0.2.1"),
        ([",".join(["10.0.0.2"] * 5000)], "10.0.0.2"),
    ],
)
def test_the_client_is_the_one_that_trusted_proxies_vouch_for(headers: list[str], counted: str) -> None:
    assert asyncio.run(client(*headers)) == counted


def test_whoever_is_no_proxy_is_the_client_whatever_it_writes() -> None:
    assert asyncio.run(client("203.0.113.9", peer="192.0.2.1")) == "192.0.2.1"
    assert asyncio.run(client("203.0.113.9", peer="::ffff:10.0.0.1")) == "203.0.113.9"
    assert asyncio.run(client("203.0.113.9", peer="testclient")) == "testclient"


def test_a_port_does_not_make_another_client() -> None:
    assert {asyncio.run(client(f"192.0.2.1:{port}")) for port in range(1000, 1100)} == {"192.0.2.1"}


@pytest.mark.parametrize(
    "trusted", ["garbage", "*", "10.0.0.0/33", "10.0.0.1/8", "127.0.0.1,,::1", "10.0.0.1:80"]
)
def test_proxies_that_are_no_addresses_are_refused_at_the_start(trusted: str) -> None:
    with pytest.raises(SettingsError, match=r"^TRUSTED_PROXIES takes ") as refused:
        load(trusted_proxies=trusted)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    "origins",
    ["garbage", "example.org", "https://example.org/", "https://example.org/a", "https://", "*, *", "null"],
)
def test_origins_that_are_none_are_refused_at_the_start(origins: str) -> None:
    with pytest.raises(SettingsError, match=r"^CORS_ORIGINS takes "):
        load(cors_origins=origins)


@pytest.mark.parametrize("host", ["no such host", "127.0.0.1:80", "-", "a" * 300, "http://localhost"])
def test_a_host_that_is_none_is_refused_at_the_start(host: str) -> None:
    with pytest.raises(SettingsError, match=r"^HOST takes "):
        load(host=host)

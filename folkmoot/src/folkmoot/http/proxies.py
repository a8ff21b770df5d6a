"""Who a request is from, where a trusted reverse proxy says so in X-Forwarded-For."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from ipaddress import IPv4Network

    from starlette.types import ASGIApp, Receive, Scope, Send

Address: TypeAlias = IPv4Address | IPv6Address
#: With and without a port; `ipaddress` reads what is between.
_FORMS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?|([0-9A-Fa-f:.]+)")
#: How many proxies in a row are heeded.
_HOPS = 20


def networks(trusted: str) -> list[IPv4Network | IPv6Network]:
    """Read a list of addresses and networks with commas between; raises ValueError for anything else."""
    return [ip_network(item.strip()) for item in trusted.split(",")]


def address(text: str) -> Address | None:
    """Read an address as proxies write it: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.

    None for anything else. An IPv4 address in IPv6's clothes is the IPv4 address; a zone (`%eth0`) means
    something on the machine that wrote it only, and is none.
    """
    form = _FORMS.fullmatch(text.strip())
    try:
        found = ip_address((form[1] or form[2] or form[3]) if form else "")
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


class Forwarded:
    """Sets the client of a request to the one that trusted proxies vouch for.

    The list is read from its end: what a trusted proxy added is believed, and what stands before the first
    address that is not a proxy's was written by the client. Where a part can't be read, the client is whoever
    sent it.
    """

    def __init__(self, app: ASGIApp, trusted: str) -> None:
        self._app = app
        self._trusted = networks(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("client"):
            self._believe(scope)
        await self._app(scope, receive, send)

    def _believe(self, scope: Scope) -> None:
        client = address(scope["client"][0])
        if client is None or not self._trusts(client):
            return
        headers = [(name, value.decode("latin-1")) for name, value in scope["headers"]]
        listed = ",".join(value for name, value in headers if name == b"x-forwarded-for")
        for item in reversed(listed.rsplit(",", _HOPS)[-_HOPS:] if listed else ()):
            hop = address(item)
            if hop is None:
                break
            client = hop
            if not self._trusts(hop):
                break
        scope["client"] = (str(client), 0)
        schemes = [value.strip().lower() for name, value in headers if name == b"x-forwarded-proto"]
        if schemes in (["http"], ["https"]):
            scope["scheme"] = schemes[0]

    def _trusts(self, client: Address) -> bool:
        return any(client in network for network in self._trusted)

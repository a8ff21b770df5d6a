"""Mail over TLS, from the first byte and by STARTTLS: to a server with a certificate that is trusted."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from folkmoot.mail_settings import parse_smtp
from mail_server import MailServer, delivery, waiting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from api import Api

IMPLICIT, STARTTLS = "smtps://moot:p%40ss%2Fword@{}:{}", "smtp://moot:p%40ss%2Fword@{}:{}?starttls=required"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 and of no other name, with its key."""
    made: Path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "2", "-subj", "/CN=mail of a test", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", str(made.with_name("key.pem")), "-out", str(made),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return made


@pytest.fixture(params=[IMPLICIT, STARTTLS], ids=["implicit", "STARTTLS"])
def server(request: pytest.FixtureRequest, certificate: Path) -> Iterator[MailServer]:
    """A mail server that takes letters over TLS, and notes who logs in."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    if request.param == IMPLICIT:
        server = MailServer(ssl_context=context, auth_require_tls=False)
    else:
        server = MailServer(tls_context=context, require_starttls=True)
    server._options["authenticator"] = server.authenticate  # noqa: SLF001 - it is its own
    server.address = request.param
    with server:
        yield server


def _sent(api: Api, url: str) -> int:
    """How many letters go out after a registration."""
    sends = api.application.state.delivery = delivery(api, parse_smtp(url))
    api.register("ada@example.com")
    api.application.state.delivery = None
    sent: int = api.run(sends.deliver)
    return sent


def test_a_letter_and_its_password_go_over_tls_to_a_server_that_is_trusted(
    api: Api, server: MailServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert _sent(api, server.url) == 1
    assert server.logins == [("moot", "p@ss/word")]
    assert [recipients for recipients, _ in server.taken] == [["ada@example.com"]]
    assert waiting(api) == []


@pytest.mark.parametrize("trusted", [False, True], ids=["nobody vouches for", "another's"])
def test_a_server_whose_certificate_is_not_its_own_gets_neither_letter_nor_password(
    api: Api, server: MailServer, certificate: Path, monkeypatch: pytest.MonkeyPatch, *, trusted: bool
) -> None:
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert _sent(api, server.url.replace("127.0.0.1", "localhost") if trusted else server.url) == 0
    assert (server.logins, server.taken) == ([], [])
    ((_, attempts, error),) = waiting(api)
    assert attempts == 1
    assert "CERTIFICATE_VERIFY_FAILED" in error, "the mail waits, and says for what"

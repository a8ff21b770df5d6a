"""Settings: read once from the environment or ``.env``, checked, and handed on as one typed object."""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from folkmoot.mail_settings import parse_mailbox, parse_smtp

_PORT = "a port number from 1 to 65535"
_URI = "a PostgreSQL URI such as postgresql://user:password@host:5432/name"
_SMTP = "a URL such as smtp://user:password@mail.example.org:587 or smtps://user:password@mail.example.org"
_LIMIT = "a number of requests up to 1000000, 0 for no limit"
#: The settings that name an external database when there is no DATABASE_URL.
_PARTS = ("database_hostname", "database_port", "database_name", "database_username", "database_password")

Port = Annotated[int, Field(ge=1, le=65535, description=_PORT)]


_HOST = re.compile(r"(?=.{1,253}$)(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
#: As browsers write it in the Origin header (RFC 6454, 6.2).
_ORIGIN = re.compile(r"\s*https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?\s*")


class SettingsError(ValueError):
    """A setting is wrong or missing. The text has one line for each, and no secret."""


class Settings(BaseSettings):
    """What can be set. The description of a field says what it takes, in the words of its error message."""

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", env_ignore_empty=True, hide_input_in_errors=True, frozen=True
    )

    database_url: SecretStr | None = Field(None, description=_URI)
    database_read_url: SecretStr | None = Field(
        None, description=f"one or several, with spaces between, beside DATABASE_URL: each {_URI}"
    )
    database_hostname: str | None = Field(None, description="the name of the database's host")
    database_port: Port = 5432
    database_name: str | None = Field(None, description="the database's name")
    database_username: str | None = Field(None, description="the role to connect as")
    database_password: SecretStr | None = Field(None, description="that role's password")
    database_pool_size: int = Field(
        10, ge=1, le=1000, description="the connections of one worker, from 1 to 1000"
    )
    database_statement_cache_size: int = Field(
        1024, ge=0, le=100_000,
        description="the prepared statements kept on a connection, from 0 to 100000 (0 behind PgBouncer)",
    )  # fmt: skip
    secret_key: SecretStr | None = Field(
        None,
        min_length=32,
        description="at least 32 random characters, such as `openssl rand -hex 32` prints",
    )
    secret_key_old: SecretStr | None = Field(
        None, min_length=32, description="the SECRET_KEY before this one: at least 32 characters"
    )
    access_token_expire_minutes: int = Field(
        30, ge=1, le=525_600, description="a number of minutes from 1 to 525600"
    )
    refresh_token_expire_days: int = Field(30, ge=1, le=3650, description="a number of days from 1 to 3650")
    session_expire_days: int = Field(90, ge=1, le=3650, description="a number of days from 1 to 3650")
    sessions_per_person: int = Field(20, ge=1, le=1000, description="a number of sessions from 1 to 1000")
    registrations_per_hour: int = Field(60, ge=0, le=1_000_000, description=_LIMIT)
    refreshes_per_minute: int = Field(60, ge=0, le=1_000_000, description=_LIMIT)
    searches_per_minute: int = Field(60, ge=0, le=1_000_000, description=_LIMIT)
    writes_per_minute: int = Field(120, ge=0, le=1_000_000, description=_LIMIT)
    exports_per_hour: int = Field(10, ge=0, le=1_000_000, description=_LIMIT)
    password_resets_per_hour: int = Field(20, ge=0, le=1_000_000, description=_LIMIT)
    public_read: bool = Field(
        default=True, description="true or false: whether people who are not logged in may read"
    )
    smtp_url: SecretStr | None = Field(None, description=_SMTP)
    mail_from: str | None = Field(
        None, description="an address such as folkmoot@example.org or Folkmoot <folkmoot@example.org>"
    )
    public_url: str | None = Field(
        None, description="where people find the service, such as https://folkmoot.example.org"
    )
    cors_origins: str = Field(
        "",
        description="origins such as https://example.org whose pages may call the API, with commas, or *",
    )
    trusted_proxies: str = Field(
        "", description="addresses or networks of reverse proxies, such as 10.0.0.0/8, with commas between"
    )
    host: str = Field("127.0.0.1", description="an address or the name of a host, to listen on")
    port: Port = 8000
    workers: int = Field(
        default_factory=lambda: min(4, os.cpu_count() or 1), ge=1, le=256,
        description="a number of processes from 1 to 256",
    )  # fmt: skip
    metrics_host: str = Field("127.0.0.1", description="an address or the name of a host, for metrics")
    metrics_port: Port | None = Field(None, description=_PORT)
    otel_exporter_otlp_endpoint: str | None = Field(
        None, description="the URL of an OpenTelemetry collector, such as http://127.0.0.1:4318"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="debug, info, warning or error"
    )
    folkmoot_data_dir: Path = Field(Path(".data"), description="the folder of the embedded database")
    folkmoot_embedded_port: Port | None = Field(None, description=_PORT)

    @field_validator("database_url")
    @classmethod
    def _is_uri(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_uri(value.get_secret_value())
        return value

    @field_validator("database_read_url")
    @classmethod
    def _are_uris(cls, value: SecretStr | None) -> SecretStr | None:
        for each in value.get_secret_value().split() if value is not None else ():
            parse_uri(each)
        return value

    @field_validator("smtp_url")
    @classmethod
    def _is_smtp(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_smtp(value.get_secret_value())
        return value

    @field_validator("mail_from")
    @classmethod
    def _is_mailbox(cls, value: str | None) -> str | None:
        if value is not None:
            parse_mailbox(value)
        return value

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _is_collector(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value):
            raise ValueError
        return value

    @field_validator("public_url")
    @classmethod
    def _is_origin(cls, value: str | None) -> str | None:
        if value is not None and not _ORIGIN.fullmatch(value.rstrip("/")):
            raise ValueError
        return value.strip().rstrip("/") if value else None

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        for item in value.split(",") if value else ():
            ip_network(item.strip())
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        if value and value != "*" and not all(map(_ORIGIN.fullmatch, value.split(","))):
            raise ValueError
        return value

    @field_validator("host", "metrics_host")
    @classmethod
    def _is_host(cls, value: str) -> str:
        with suppress(ValueError):
            return str(ip_address(value))
        if not _HOST.fullmatch(value):
            raise ValueError
        return value

    @property
    def embedded(self) -> bool:
        """Whether the database is the embedded one: no setting names another."""
        named = {"database_url", *_PARTS} & self.model_fields_set
        return all(getattr(self, name) is None for name in named)

    @property
    def data_dir(self) -> Path:
        return self.folkmoot_data_dir.expanduser().absolute()

    @property
    def origin(self) -> str:
        """Where people find the service: what links in mail begin with. Never taken from a request."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - not bound here
        return self.public_url or f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def read_conninfos(self) -> list[dict[str, str]]:
        """The libpq parameters of each replica; they hold passwords."""
        given = self.database_read_url.get_secret_value() if self.database_read_url else ""
        return [parse_uri(each) for each in given.split()]

    def external_conninfo(self) -> dict[str, str]:
        """The external database's libpq parameters; they hold the password.

        Raises SettingsError where DATABASE_URL cannot be read or one of the DATABASE_… settings is missing.
        """
        if self.database_url is not None:
            return parse_uri(self.database_url.get_secret_value())
        given = {name: getattr(self, name) for name in _PARTS}
        required = [name for name in _PARTS if name not in {"database_port", "database_password"}]
        if missing := [name for name in required if given[name] is None]:
            raise SettingsError("\n".join(_missing(name) for name in missing))
        password = self.database_password.get_secret_value() if self.database_password else None
        parts = {
            "host": self.database_hostname, "port": str(self.database_port), "dbname": self.database_name,
            "user": self.database_username, "password": password,
        }  # fmt: skip
        return {key: value for key, value in parts.items() if value is not None}


def parse_uri(uri: str) -> dict[str, str]:
    """The libpq parameters in a URI. A ``@`` or ``%`` that the password should have escaped is understood."""
    match = re.fullmatch(r"postgres(?:ql)?(?:\+\w+)?://([^/?]*)(.*)", uri, re.DOTALL)
    if match is None:
        raise SettingsError(f"DATABASE_URL takes {_URI}")
    credentials, at, host = match[1].rpartition("@")
    credentials = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", credentials.replace("@", "%40"))
    try:
        found = conninfo_to_dict(f"postgresql://{credentials}{at}{host}{match[2]}")
    except ProgrammingError:
        # libpq's own message quotes the URI, password and all.
        raise SettingsError(f"DATABASE_URL takes {_URI}") from None
    ports = str(found.get("port", "5432")).split(",")
    if not all(port == "" or (port.isdecimal() and 1 <= int(port) <= 65535) for port in ports):
        raise SettingsError(f"DATABASE_URL takes {_URI}; its port is {_PORT}")
    return {key: str(value) for key, value in found.items() if value is not None}


def load(**overrides: Any) -> Settings:
    """Read the settings; what is passed here comes before the environment, and that before ``.env``.

    Raises SettingsError, whose text is ready to be shown: one line for each setting that is wrong.
    """
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(
            "\n".join(dict.fromkeys(_wrong(str(e["loc"][0])) for e in error.errors()))
        ) from None
    except UnicodeDecodeError:
        raise SettingsError(".env takes UTF-8 text") from None
    except OSError as error:
        raise SettingsError(f".env cannot be read: {error.strerror}") from None
    if not settings.embedded:
        settings.external_conninfo()
    elif settings.database_read_url is not None:
        raise SettingsError("DATABASE_READ_URL is of replicas of the DATABASE_URL, which is not set")
    if settings.smtp_url is not None:
        needed = [name for name in ("mail_from", "public_url") if getattr(settings, name) is None]
        if needed:
            raise SettingsError("\n".join(map(_missing, needed)))
    if settings.otel_exporter_otlp_endpoint and find_spec("opentelemetry.instrumentation.asyncpg") is None:
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and traces need: pip install 'folkmoot[otel]'"
        )
    return settings


def _wrong(field: str) -> str:
    return f"{field.upper()} takes {Settings.model_fields[field].description}"


def _missing(field: str) -> str:
    return f"{field.upper()} is not set; it takes {Settings.model_fields[field].description}"


def signing_key(settings: Settings) -> str:
    """The key that signs tokens. Raises SettingsError where it must be set and is not."""
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value()
    if not settings.embedded:
        raise SettingsError(_missing("secret_key"))
    return kept_secret(settings.data_dir / "secret_key")


def verifying_keys(settings: Settings) -> list[str]:
    """The keys whose signatures are accepted: the one that signs, and the one before it, if it is set."""
    old = settings.secret_key_old
    return [signing_key(settings), *([old.get_secret_value()] if old else [])]


def kept_secret(path: Path) -> str:
    """A random secret in a file that its owner alone can read; the first one to ask makes it."""
    try:
        with suppress(FileNotFoundError):
            return path.read_text().strip()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)  # mode 0600
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(name, path)
        Path(name).unlink()
        return path.read_text().strip()
    except OSError as error:
        raise SettingsError(f"FOLKMOOT_DATA_DIR: {path} cannot be used: {error.strerror}") from None

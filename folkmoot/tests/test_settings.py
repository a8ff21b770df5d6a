from __future__ import annotations

import os
import re
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from folkmoot.mail_settings import parse_smtp
from folkmoot.postgres import database
from folkmoot.settings import Settings, SettingsError, load, parse_uri, signing_key

EXTERNAL = {
    "DATABASE_HOSTNAME": "db.example.com",
    "DATABASE_NAME": "fastapi",
    "DATABASE_USERNAME": "postgres",
    "DATABASE_PASSWORD": "p%4@s:s/w?rd#'\\ ",
}
KEY = "k" * 32


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def test_with_nothing_set_the_database_is_the_embedded_one() -> None:
    assert load().embedded
    assert not load(database_url="postgresql://h/d").embedded


def test_settings_come_from_a_dotenv_file_and_the_environment_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("PORT=9000\nWORKERS=3\nSOMETHING_ELSE=1\nSECRET_KEY=\n")
    monkeypatch.setenv("PORT", "9001")
    assert (load().port, load().workers, load().secret_key) == (9001, 3, None)


def test_any_character_works_in_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in EXTERNAL.items():
        monkeypatch.setenv(name, value)
    settings = load()
    assert database.conninfo(settings)["password"] == EXTERNAL["DATABASE_PASSWORD"]
    assert database.sqlalchemy_url(settings).password == EXTERNAL["DATABASE_PASSWORD"]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (
            "postgresql://u:p@h:5433/d",
            {"user": "u", "password": "p", "host": "h", "port": "5433", "dbname": "d"},
        ),
        ("postgres://h/d?sslmode=require", {"host": "h", "dbname": "d", "sslmode": "require"}),
        ("postgresql:///d?host=/run/postgresql", {"dbname": "d", "host": "/run/postgresql"}),
        ("postgresql://u@%2Frun%2Fpg/d", {"user": "u", "host": "/run/pg", "dbname": "d"}),
        ("postgresql+psycopg://u@h/d", {"user": "u", "host": "h", "dbname": "d"}),
        ("postgresql://u:p%40ss%25@h/d", {"user": "u", "password": "p@ss%", "host": "h", "dbname": "d"}),
        ("postgresql://u:p@ss%@h/d", {"user": "u", "password": "p@ss%", "host": "h", "dbname": "d"}),
        ("postgresql://[::1]:5432,h2:5433/d", {"host": "::1,h2", "port": "5432,5433", "dbname": "d"}),
    ],
)
def test_a_uri_is_read_as_libpq_reads_it(uri: str, expected: dict[str, str]) -> None:
    assert parse_uri(uri) == expected


@pytest.mark.parametrize(
    "name",
    [
        "DATABASE_PORT=0", "DATABASE_PORT=5432x", "DATABASE_URL=mysql://u:hunter2@h/d",
        "DATABASE_URL=postgresql://u:hunter2@h:port/d", "DATABASE_URL=postgresql://u:hunter2@h:99999/d",
        "DATABASE_URL=postgresql://u:hunter2@h/d?nothing=1", "DATABASE_URL=hunter2", "SECRET_KEY=hunter2",
        "ACCESS_TOKEN_EXPIRE_MINUTES=0", "ACCESS_TOKEN_EXPIRE_MINUTES=soon", "PORT=65536", "PORT=http",
        "SMTP_URL=hunter2", "SMTP_URL=http://u:hunter2@h", "SMTP_URL=smtp://u:hunter2@h:port",
        "SMTP_URL=smtp://hunter2@h", "SMTP_URL=smtp://u:hunter2@h/path", "SMTP_URL=smtp://u:hunter2@h?tls=no",
        "SMTP_URL=smtps://u:hunter2@h?starttls=never", "SMTP_URL=smtp://u:hunter2@h_x", "SMTP_URL=smtp://",
        "MAIL_FROM=hunter2", "MAIL_FROM=a@b.example, c@d.example", "MAIL_FROM=A <a@b.example", "MAIL_FROM=@b",
        "PUBLIC_URL=hunter2", "PUBLIC_URL=https://h/path", "PUBLIC_URL=https://u:hunter2@h",
        "WORKERS=0", "WORKERS=two", "FOLKMOOT_EMBEDDED_PORT=-1", "LOG_LEVEL=loud", "DATABASE_POOL_SIZE=0",
    ],
)  # fmt: skip
def test_a_wrong_setting_is_one_line_that_names_it_and_says_what_it_takes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _, value = name.partition("=")
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        load()
    said = str(error.value)
    assert said.startswith(f"{name} takes ")
    assert "\n" not in said
    assert "hunter2" not in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize("missing", ["DATABASE_HOSTNAME", "DATABASE_NAME", "DATABASE_USERNAME"])
def test_a_missing_part_of_the_database_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in EXTERNAL.items():
        if name != missing:
            monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{missing} is not set; it takes .*"):
        load()


def test_a_dotenv_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"PORT=\xff")
    with pytest.raises(SettingsError, match=r"^\.env takes UTF-8 text$"):
        load()


def test_secrets_are_in_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hunter2@h/d")
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
    monkeypatch.setenv("SECRET_KEY", "hunter2" * 5)
    settings = load()
    shown = f"{settings!r} {settings} {settings.model_dump()} {database.sqlalchemy_url(settings)!r}"
    assert "hunter2" not in shown


def test_the_key_is_required_for_another_than_the_embedded_database() -> None:
    with pytest.raises(SettingsError, match=r"^SECRET_KEY is not set; it takes at least 32 "):
        signing_key(load(database_url="postgresql://h/d"))
    assert signing_key(load(database_url="postgresql://h/d", secret_key=KEY)) == KEY


def test_the_embedded_mode_makes_a_key_once_that_its_owner_alone_can_read(tmp_path: Path) -> None:
    key = signing_key(load())
    assert len(key) >= 32
    assert signing_key(load()) == key
    assert (tmp_path / ".data" / "secret_key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("arguments", [["folkmoot", "serve"], ["folkmoot", "migrate"], ["folkmoot", "psql"]])
def test_every_command_says_what_is_wrong_and_exits_with_2(arguments: list[str], tmp_path: Path) -> None:
    program = Path(sys.executable).with_name(arguments[0])
    environment = {
        "PATH": os.defpath,
        "PORT": "http",
        "WORKERS": "0",
        "DATABASE_URL": "postgresql://u:hunter2@h:x/d",
    }
    done = subprocess.run(
        [program, *arguments[1:]], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert [line.split(" takes ")[0] for line in done.stderr.splitlines()] == [
        "DATABASE_URL",
        "PORT",
        "WORKERS",
    ]
    assert "hunter2" not in done.stderr
    assert done.stdout == ""


def test_every_setting_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    documented = re.findall(r"^\| `([A-Z_]+)`", text, re.MULTILINE)
    assert sorted(documented) == sorted(field.upper() for field in Settings.model_fields)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://u:p%40%3A%2F@mail.example.org", ("mail.example.org", 587, "u", "p@:/", "starttls")),
        ("smtp://mail.example.org:25?starttls=never", ("mail.example.org", 25, None, None, "none")),
        ("smtps://u:p@mail.example.org", ("mail.example.org", 465, "u", "p", "implicit")),
        ("smtp://localhost", ("localhost", 25, None, None, "none")),
        ("smtp://127.0.0.1:1025/", ("127.0.0.1", 1025, None, None, "none")),
        ("smtp://[::1]?starttls=required", ("::1", 587, None, None, "starttls")),
        ("smtp://192.0.2.1", ("192.0.2.1", 587, None, None, "starttls")),
    ],
)
def test_a_mail_server_elsewhere_is_spoken_to_over_tls_unless_it_is_said_otherwise(
    url: str, expected: tuple[object, ...]
) -> None:
    found = parse_smtp(url)
    assert (found.host, found.port, found.user, found.password, found.tls) == expected
    assert "password" not in repr(found)


@pytest.mark.parametrize("missing", ["MAIL_FROM", "PUBLIC_URL"])
def test_mail_needs_a_sender_and_the_address_of_the_service(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "SMTP_URL": "smtp://localhost", "MAIL_FROM": "a@example.org", "PUBLIC_URL": "https://example.org/",
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert load().origin == "https://example.org"
    monkeypatch.delenv(missing)
    with pytest.raises(SettingsError, match=f"^{missing} is not set; it takes"):
        load()


def test_links_lead_to_where_the_service_listens_unless_it_is_said_otherwise() -> None:
    assert load().origin == "http://127.0.0.1:8000"
    assert load(host="0.0.0.0", port=80).origin == "http://127.0.0.1:80"
    assert load(host="::").origin == "http://[::1]:8000"

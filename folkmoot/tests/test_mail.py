"""Mail: written with what causes it, sent once as far as anybody can know, and lost by no failure."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest

from api import SECRET, Api
from folkmoot.mail import outbox
from folkmoot.mail.couriers import SmtpCourier
from folkmoot.mail.delivery import Delivery, Pace
from folkmoot.mail.links import RESET, VERIFY
from folkmoot.mail.messages import missing_texts
from folkmoot.mail_settings import Smtp, parse_smtp
from folkmoot.postgres.pool import transaction
from mail_server import SENDER, MailServer, delivery, token_in, waiting

if TYPE_CHECKING:
    from typing import Any


def test_a_registration_writes_a_mail_and_a_worker_sends_it_once(
    api: Api, mail_server: MailServer, sends: Delivery
) -> None:
    api.register("Ada.B@example.com", display_name="Ada")
    assert waiting(api) == [("verify", 0, None)]
    assert api.run(sends.deliver) == 1
    assert api.run(sends.deliver) == 0
    assert (len(mail_server.taken), waiting(api)) == (1, [])
    recipients, _ = mail_server.taken[0]
    letter = mail_server.last()
    assert recipients == ["Ada.B@example.com"]
    assert (letter["From"], letter["To"]) == (SENDER, "Ada.B@example.com")
    assert letter["Auto-Submitted"] == "auto-generated"
    assert f"https://moot.example.org/verify/{mail_server.token()}\r\n" in letter.get_content()


def test_no_mail_is_written_where_what_causes_it_fails(api: Api, sends: Delivery) -> None:
    api.register("ada@example.com")
    assert api.register("ADA@example.com").status_code == 409
    assert len(waiting(api)) == 1
    assert api.run(sends.deliver) == 1


def test_a_mail_server_that_is_away_loses_no_mail_and_sends_none_twice(
    api: Api, mail_server: MailServer, sends: Delivery
) -> None:
    mail_server.stop()
    for number in range(5):
        api.register(f"person{number}@example.com")
    for _ in range(10):
        assert api.run(sends.deliver) == 0
    assert len(waiting(api)) == 5
    mail_server.start()
    assert api.run(sends.deliver) == 5
    assert api.run(sends.deliver) == 0
    assert sorted(recipients[0] for recipients, _ in mail_server.taken) == [
        f"person{number}@example.com" for number in range(5)
    ]
    assert waiting(api) == []


def test_what_waits_for_the_server_is_tried_later_each_time() -> None:
    delays = [Pace().delay(attempt).total_seconds() for attempt in (1, 2, 3, 4, 7, 8, 100_000)]
    assert delays == [10, 20, 40, 80, 640, 900, 900]


def test_a_mail_that_is_put_off_is_not_tried_before_its_time(api: Api, mail_server: MailServer) -> None:
    slow = delivery(api, parse_smtp(mail_server.url), pace=Pace())
    api.application.state.delivery = slow
    api.register()
    mail_server.stop()
    api.run(slow.deliver)
    mail_server.start()
    assert api.run(slow.deliver) == 0
    with api.connect() as connection:
        wait = connection.execute("SELECT due_at - now() FROM outbox").fetchone()
        assert wait
        assert timedelta(seconds=5) < wait[0] <= timedelta(seconds=10)
        connection.execute("UPDATE outbox SET due_at = now()")
    assert api.run(slow.deliver) == 1
    api.application.state.delivery = None


@pytest.mark.parametrize("breaks", ["within DATA", "for the answer"])
def test_a_letter_that_broke_off_before_it_was_taken_is_sent_again(
    api: Api, mail_server: MailServer, sends: Delivery, breaks: str
) -> None:
    api.register()
    mail_server.breaks = breaks
    assert api.run(sends.deliver) == 0
    assert (mail_server.taken, [row[1] for row in waiting(api)]) == ([], [1])
    mail_server.breaks = ""
    assert api.run(sends.deliver) == 1
    assert (len(mail_server.taken), waiting(api)) == (1, [])


def test_a_letter_whose_answer_was_lost_comes_again_as_the_same_letter(
    api: Api, mail_server: MailServer, sends: Delivery
) -> None:
    api.register()
    mail_server.breaks = "before the answer"
    assert api.run(sends.deliver) == 0
    mail_server.breaks = ""
    assert api.run(sends.deliver) == 1
    first, second = (content for _, content in mail_server.taken)
    assert first == second, "the same Message-ID, by which whoever gets it knows it"
    assert mail_server.last()["Message-ID"].endswith("@example.org>")


def test_a_worker_that_is_killed_between_sending_and_recording_sends_the_same_letter_again(
    api: Api, mail_server: MailServer, sends: Delivery
) -> None:
    api.register()

    async def killed() -> None:
        mail = await outbox.claim(api.application.state.pool)
        assert mail
        letter = await sends._letter(mail)  # noqa: SLF001 - as the worker does, up to where it dies
        assert letter
        courier = SmtpCourier(parse_smtp(mail_server.url), SENDER)
        await courier.send(letter)
        await courier.close()

    api.run(killed)
    assert api.run(sends.deliver) == 0, "for some minutes it is the other worker's"
    with api.connect() as connection:
        connection.execute("UPDATE outbox SET due_at = due_at - %s", [outbox.CLAIMED])
    assert api.run(sends.deliver) == 1
    first, second = (content for _, content in mail_server.taken)
    assert first == second
    assert waiting(api) == []


def test_what_was_sent_is_not_sent_again_where_the_database_was_away_just_then(
    api: Api, mail_server: MailServer, sends: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.register()

    async def away(*_: object) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "done", away)
        with pytest.raises(ConnectionResetError):
            api.run(sends.deliver)
    with api.connect() as connection:
        connection.execute("UPDATE outbox SET due_at = now()")
    assert api.run(sends.deliver) == 0
    assert (len(mail_server.taken), waiting(api)) == (1, [])


def test_two_workers_at_once_send_each_letter_once(
    api: Api, mail_server: MailServer, sends: Delivery
) -> None:
    for number in range(20):
        api.register(f"person{number}@example.com")
    with Api(api.cluster, api.database) as second:
        other = delivery(second, parse_smtp(mail_server.url))
        sent: list[int] = []

        def deliver(of: Api, by: Delivery) -> Any:
            sent.append(of.run(by.deliver))

        api.at_once(lambda: deliver(api, sends), lambda: deliver(second, other))
    assert sum(sent) == 20
    assert len({letter["Message-ID"] for letter in mail_server.letters}) == len(mail_server.taken) == 20


@pytest.mark.parametrize("answer", ["451 later", "421 too many connections"])
def test_a_refusal_for_now_is_tried_again(
    api: Api, mail_server: MailServer, sends: Delivery, answer: str
) -> None:
    api.register()
    mail_server.answers.append(answer)
    mail_server.recipient_answers.append(answer)
    assert api.run(sends.deliver) == 1, "at the third attempt: here they follow at once"
    assert (len(mail_server.taken), mail_server.answers, mail_server.recipient_answers) == (1, [], [])


def test_greylisting_of_one_holds_up_no_other(api: Api, mail_server: MailServer) -> None:
    slow = delivery(api, parse_smtp(mail_server.url), pace=Pace())
    api.application.state.delivery = slow
    api.register("first@example.com")
    api.register("second@example.com")
    mail_server.recipient_answers.append("450 come again")
    assert api.run(slow.deliver) == 1
    assert mail_server.taken[0][0] == ["second@example.com"]
    assert waiting(api) == [("verify", 1, "RCPT 450")]
    api.application.state.delivery = None


@pytest.mark.parametrize("which", ["recipient_answers", "answers"])
def test_a_refusal_for_good_is_the_end_of_it(
    api: Api, mail_server: MailServer, sends: Delivery, which: str
) -> None:
    api.register("gone@example.com")
    api.register("there@example.com")
    getattr(mail_server, which).append("550 no such user here")
    assert api.run(sends.deliver) == 1
    assert waiting(api) == []
    assert [recipients for recipients, _ in mail_server.taken] == [["there@example.com"]]


def test_mail_goes_out_soon_after_the_request_that_causes_it(api: Api, mail_server: MailServer) -> None:
    settings: dict[str, Any] = {
        "smtp_url": mail_server.url,
        "mail_from": f"Moot <{SENDER}>",
        "public_url": "http://m.test",
    }
    with Api(api.cluster, api.database, **settings) as sending:
        sending.register("ada@example.com")
        mail_server.wait_for(1)
    assert mail_server.last()["From"] == f"Moot <{SENDER}>"
    assert "http://m.test/verify/" in mail_server.last().get_content()


def test_a_password_for_the_mail_server_is_sent_over_tls_or_to_this_machine_alone(api: Api) -> None:
    """Without STARTTLS a server elsewhere gets neither letter nor password."""
    server = MailServer(auth_require_tls=False)
    server._options["authenticator"] = server.authenticate  # noqa: SLF001 - it is its own
    with server:
        host = partial(Smtp, host="127.0.0.1", port=server.port, user="moot")
        insists = delivery(api, host(password="p@ss/word", tls="starttls"))
        api.application.state.delivery = insists
        api.register()
        assert api.run(insists.deliver) == 0
        assert server.logins == []
        trusts = delivery(api, host(password="p@ss/word", tls="none"))
        assert api.run(trusts.deliver) == 1
        assert server.logins == [("moot", "p@ss/word")]
        wrong = delivery(api, host(password="no", tls="none"))
        api.register()
        assert api.run(wrong.deliver) == 0
    api.application.state.delivery = None
    assert waiting(api) == [("verify", 1, "SMTPAuthenticationError 535")], "that can be set right"


HOSTILE = [
    "a\r\nBcc: victim@example.com@example.com", "ada@example.com\r\nBcc: victim@example.com",
    "ada@example.com\nSubject: x", "<ada@example.com> SIZE=1", "ada@example.com, eve@example.com", "ada",
    "\x00@example.com", "a b@example.com", '"a\r\n.\r\n"@example.com', "nobody@folkmoot.invalid",
    "ada@[127.0.0.1]\r\nDATA", "\u202eada@example.com\n", "",
]  # fmt: skip


def test_an_address_that_is_none_gets_no_mail_and_adds_no_header(
    api: Api, mail_server: MailServer, sends: Delivery
) -> None:
    """A database may have addresses from before they were looked at."""
    with api.connect() as connection:
        for address in HOSTILE:
            connection.execute(
                "WITH u AS (INSERT INTO users (email, password) VALUES (%s, '!') RETURNING id) "
                "INSERT INTO outbox (purpose, user_id, nonce) SELECT 'verify', id, id::text::bytea FROM u",
                [address.replace("\x00", "\x01")],
            )
    assert api.run(sends.deliver) == 0
    assert (mail_server.taken, waiting(api)) == ([], [])


def test_addresses_of_all_scripts_get_mail(api: Api, mail_server: MailServer, sends: Delivery) -> None:
    for address in ("jörg@example.com", "ada@bücher.example", "o'hara+moot@example.com", '"a b"@example.com'):
        assert api.register(address).status_code in {201, 422}
    sent = api.run(sends.deliver)
    assert {recipients[0] for recipients, _ in mail_server.taken} >= {
        "jörg@example.com", "ada@xn--bcher-kva.example", "o'hara+moot@example.com",
    }  # fmt: skip
    assert (sent, waiting(api)) == (len(mail_server.taken), [])


def test_a_mail_whose_time_is_over_or_whose_account_is_gone_is_not_sent(
    api: Api, mail_server: MailServer, sends: Delivery
) -> None:
    ada, ben = api.person(), api.person()
    with api.connect() as connection:
        connection.execute(
            "UPDATE outbox SET created_at = now() - %s WHERE user_id = %s", [VERIFY.tried, ada.id]
        )
        connection.execute("DELETE FROM users WHERE id = %s", [ben.id])
    assert api.run(sends.deliver) == 0
    assert (mail_server.taken, waiting(api)) == ([], [])


def test_a_link_is_made_anew_by_the_key_that_it_was_made_with(
    api: Api, mail_server: MailServer, sends: Delivery
) -> None:
    api.register()
    mail_server.breaks = "before the answer"
    api.run(sends.deliver)
    mail_server.breaks = ""
    later = delivery(api, parse_smtp(mail_server.url), secret_key="f" * 32, secret_key_old=SECRET)
    assert api.run(later.deliver) == 1
    first, second = map(token_in, mail_server.letters)
    assert first == second


def test_the_database_has_no_link_while_its_mail_waits_or_afterwards(
    api: Api, mail_server: MailServer, sends: Delivery
) -> None:
    api.register()
    mail_server.breaks = "before the answer"
    api.run(sends.deliver)
    with api.connect() as connection:
        kept = connection.execute(
            "SELECT outbox::text, email_links::text FROM outbox, email_links"
        ).fetchone()
    assert mail_server.token() not in str(kept)


def test_each_purpose_has_its_text() -> None:
    assert missing_texts() == set()


def test_a_claim_lasts_longer_than_a_letter_may_take() -> None:
    assert outbox.CLAIMED.total_seconds() > 2 * SmtpCourier.patience
    assert RESET.tried < RESET.lifetime


def test_a_rolled_back_mail_was_never_written(api: Api) -> None:
    async def fail() -> None:
        async with transaction(api.application.state.pool) as connection:
            await outbox.put(connection, RESET, address="ada@example.com")
            raise LookupError

    with pytest.raises(LookupError):
        api.run(fail)
    assert waiting(api) == []

"""How passwords are hashed: which hashes are taken, by whom, and in whose turn."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import bcrypt
import pytest
from argon2 import PasswordHasher

from api import CHEAP, PASSWORD
from folkmoot.http.problems import Unavailable
from folkmoot.people import hashing, turns
from folkmoot.people.passwords import HASHER, Passwords

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.process import BaseProcess

    from api import Api

COSTS = CHEAP.time_cost, CHEAP.memory_cost, CHEAP.parallelism


def of_bcrypt(password: str, cost: int = 4) -> str:
    """A hash as the course's own application makes it: of no more than 72 bytes."""
    return bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(cost)).decode()


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords(CHEAP)
    yield made
    made.close()


def process(passwords: Passwords) -> BaseProcess:
    """The process that hashes."""
    (found,) = passwords._pool._processes.values()  # noqa: SLF001
    return found


def test_a_password_of_72_bytes_and_any_tail_replace_no_hash_of_bcrypt(api: Api) -> None:
    password = "x" * 72
    hashed = of_bcrypt(password)
    with api.connect() as connection:
        connection.execute("INSERT INTO users (email, password) VALUES ('ada@example.com', %s)", [hashed])
        api.login("ada@example.com", password + "and a tail")
        assert connection.execute("SELECT password FROM users").fetchone() == (hashed,)
        assert api.login("ada@example.com", password).status_code == 200
        (kept,) = connection.execute("SELECT password FROM users").fetchone() or ("",)
    assert kept.startswith("$argon2id$")
    assert api.login("ada@example.com", password).status_code == 200
    assert api.login("ada@example.com", password + "and a tail").status_code == 400


def test_a_longer_password_of_bcrypt_goes_on_logging_in(api: Api) -> None:
    password = "x" * 71 + "é" + "y" * 20
    with api.connect() as connection:
        connection.execute(
            "INSERT INTO users (email, password) VALUES ('ada@example.com', %s)", [of_bcrypt(password)]
        )
    assert [api.login("ada@example.com", password).status_code for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    "hashed",
    [
        "!", "", "$2b$", "$2b$99$" + "." * 53, "$2b$16$" + "." * 53, "$2b$04$" + "é" * 53,
        "$argon2id$v=19$broken", "$argon2id$v=19$m=8,t=1,p=1$$", "x" * 10_000, "\x00", "\ud800",
    ],
)  # fmt: skip
@pytest.mark.parametrize("password", ["wrong", "", "\x00", "\ud800\udfff", "é" * 40, "x" * 100_000])
def test_no_password_is_right_for_what_is_no_hash(hashed: str, password: str) -> None:
    assert hashing.verify(COSTS, password, hashed, 4) == (False, None)


def test_a_password_with_a_nul_is_not_the_one_before_the_nul() -> None:
    hashed = of_bcrypt("right")
    assert hashing.verify(COSTS, "right", hashed, 4)[0]
    assert not hashing.verify(COSTS, "right\x00tail", hashed, 4)[0]


def test_a_hash_with_other_parameters_is_replaced_and_one_with_these_is_not() -> None:
    outdated = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1).hash("right")
    right, replaced = hashing.verify(COSTS, "right", outdated, None)
    assert right
    assert replaced is not None
    assert hashing.verify(COSTS, "right", replaced, None) == (True, None)


def test_what_is_computed_is_the_same_whatever_hash_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: one hash of argon2, and as many rounds of bcrypt as its dearest hash takes."""
    argon2, rounds = 0, 0
    compute = PasswordHasher.verify
    slow = bcrypt.hashpw

    def verify(self: PasswordHasher, hashed: str | bytes, password: str | bytes) -> bool:
        nonlocal argon2
        argon2 += 1
        return compute(self, hashed, password)

    def hashpw(password: bytes, salt: bytes) -> bytes:
        nonlocal rounds
        rounds += 2 ** int(salt[4:6])
        return slow(password, salt)

    def checkpw(password: bytes, hashed: bytes) -> bool:
        return hashpw(password, hashed) == hashed

    monkeypatch.setattr(PasswordHasher, "verify", verify)
    monkeypatch.setattr(bcrypt, "hashpw", hashpw)
    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    right = hashing.hash_password(COSTS, "right")
    stored = [None, "!", "$2b$99$" + "." * 53, right, *(of_bcrypt("right", cost) for cost in (4, 5, 6))]
    done = set()
    for hashed in stored:
        argon2, rounds = 0, 0
        hashing.verify(COSTS, "wrong\x00", hashed, 6)
        done.add((argon2, rounds))
    assert done == {(1, 2**6)}


@pytest.mark.prove
def test_a_wrong_password_takes_as_long_for_every_kind_of_hash() -> None:
    costs = HASHER.time_cost, HASHER.memory_cost, HASHER.parallelism
    stored = {
        "unknown": None,
        "argon2": hashing.hash_password(costs, "right"),
        "bcrypt": of_bcrypt("right", 10),
        "cheaper bcrypt": of_bcrypt("right", 8),
    }
    times: dict[str, list[float]] = {name: [] for name in stored}
    for _ in range(200):
        for name, hashed in stored.items():
            began = time.process_time()
            hashing.verify(costs, "wrong", hashed, 10)
            times[name].append(time.process_time() - began)
    medians = {name: median(taken) * 1000 for name, taken in times.items()}
    print("a wrong password, medians of 200, ms:", {name: round(ms, 2) for name, ms in medians.items()})
    assert max(medians.values()) < 1.05 * min(medians.values())


def test_who_hashes_lets_others_go_first(passwords: Passwords) -> None:
    asyncio.run(passwords.hash("long enough"))
    pid = process(passwords).pid
    assert pid is not None
    assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)


@pytest.mark.parametrize("busy", [False, True], ids=["while nobody asks", "while it computes"])
def test_a_hashing_process_that_is_killed_is_replaced(passwords: Passwords, busy: bool) -> None:  # noqa: FBT001
    async def scenario() -> None:
        hashed = await passwords.hash(PASSWORD)
        victim = process(passwords)
        if busy:
            assert victim.pid is not None
            os.kill(victim.pid, signal.SIGSTOP)
        asked = asyncio.create_task(passwords.verify(PASSWORD, hashed))
        if busy:
            await asyncio.sleep(0)  # it is asked
            victim.kill()
            with pytest.raises(Unavailable):
                await asked
        else:
            assert await asked == (True, None)
            victim.kill()
            manager: Any = passwords._pool._executor_manager_thread  # noqa: SLF001
            manager.join(20)  # it has seen it
        assert await passwords.verify(PASSWORD, hashed) == (True, None)

    asyncio.run(scenario())


def test_whatever_is_sent_the_process_lives_on(passwords: Passwords) -> None:
    async def scenario() -> None:
        await passwords.hash("long enough")
        before = process(passwords).pid
        for password in ("\ud800", "\x00", "", "\U0010ffff" * 300_000):
            hashed = await passwords.hash(password)
            assert await passwords.verify(password, hashed) == (True, None)
            assert await passwords.verify(password, of_bcrypt("right")) == (False, None)
        assert process(passwords).pid == before

    asyncio.run(scenario())


def test_a_service_that_is_being_stopped_says_so(passwords: Passwords) -> None:
    passwords.close()
    with pytest.raises(Unavailable, match="being stopped"):
        asyncio.run(passwords.hash("long enough"))


@pytest.mark.parametrize("moment", ["spawning", "computing", "stopped"])
def test_the_end_does_not_wait_for_the_process_that_hashes(moment: str) -> None:
    passwords = Passwords(CHEAP)
    hashing_now = process(passwords)
    pool = passwords._pool  # noqa: SLF001
    if moment == "spawning":  # and it never gets any further
        os.kill(hashing_now.pid or 0, signal.SIGSTOP)
    if moment == "stopped":
        hashing_now.kill()
        hashing_now.join()

    async def asked() -> None:
        slow = PasswordHasher(time_cost=100_000, memory_cost=19456, parallelism=1)
        passwords._costs = slow.time_cost, slow.memory_cost, slow.parallelism  # noqa: SLF001
        waiting = asyncio.create_task(passwords.hash("x"))
        if moment == "computing":
            await asyncio.wrap_future(pool.submit(hashing.ready, COSTS))
        else:
            await asyncio.sleep(0)
        passwords.close()
        with pytest.raises(Unavailable, match="being stopped"):
            await waiting

    began = time.monotonic()
    asyncio.run(asked())
    assert time.monotonic() - began < 15
    assert hashing_now.exitcode == -signal.SIGKILL


def test_who_hashes_ends_with_the_worker_even_where_that_is_killed() -> None:
    program = (
        "import asyncio, multiprocessing\n"
        "from folkmoot.people.passwords import Passwords\n"
        "passwords = Passwords()\n"
        "asyncio.run(passwords.hash('long enough'))\n"
        "print(*passwords._pool._processes, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        child = os.pidfd_open(int(worker.stdout.readline()))
        worker.send_signal(signal.SIGKILL)
    ended, _, _ = select.select([child], [], [], 20)
    os.close(child)
    assert ended


def test_the_process_that_hashes_imports_nothing_else_of_the_service() -> None:
    program = "import folkmoot.people.hashing, folkmoot.__main__, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    ours = {
        name for name in done.stdout.split() if name.startswith(("folkmoot", "fastapi", "asyncpg", "granian"))
    }
    assert ours == {"folkmoot", "folkmoot.__main__", "folkmoot.people", "folkmoot.people.hashing"}
    script = Path(sys.executable).with_name("folkmoot").read_text()
    assert "from folkmoot.__main__ import main" in script


def test_who_logs_in_goes_before_who_registers() -> None:
    order: list[str] = []

    async def take(all_turns: turns.Turns, name: str, *, registering: bool) -> None:
        async with all_turns.turn(registering=registering):
            order.append(name)

    async def scenario() -> None:
        all_turns = turns.Turns()
        async with asyncio.TaskGroup() as group:  # noqa: SIM117 - the turn ends before the group
            async with all_turns.turn():
                for name, registering in (("new", True), ("ada", False), ("newer", True), ("ben", False)):
                    group.create_task(take(all_turns, name, registering=registering))
                await asyncio.sleep(0)

    asyncio.run(scenario())
    assert order == ["ada", "ben", "new", "newer"]


def test_no_number_of_registrations_turns_a_login_away() -> None:
    async def scenario() -> None:
        all_turns = turns.Turns()
        async with asyncio.TaskGroup() as group:
            async with all_turns.turn():
                waiting = [
                    group.create_task(_through(all_turns, registering=True))
                    for _ in range(turns.REGISTRATIONS_WAITING)
                ]
                await asyncio.sleep(0)
                with pytest.raises(Unavailable, match="Too many people are registering"):
                    await _through(all_turns, registering=True)
                login = group.create_task(_through(all_turns))
                await asyncio.sleep(0)
            await login
            assert not any(task.done() for task in waiting[1:])

    asyncio.run(scenario())


def test_those_who_log_in_wait_in_a_queue_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LOGINS_WAITING", 2)
    monkeypatch.setattr(turns, "PATIENCE", 0.01)

    async def scenario() -> None:
        all_turns = turns.Turns()
        async with all_turns.turn():
            waiting = [asyncio.create_task(_through(all_turns)) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(Unavailable, match="Too many people are logging in"):
                await _through(all_turns)
            answers = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(answer) for answer in answers] == [Unavailable] * 2
        await _through(all_turns)  # nobody holds the turn who has gone

    asyncio.run(scenario())


def test_a_turn_that_is_given_to_somebody_who_goes_away_is_passed_on() -> None:
    async def scenario() -> None:
        all_turns = turns.Turns()
        async with all_turns.turn():
            gone, next_ = (asyncio.create_task(_through(all_turns)) for _ in range(2))
            await asyncio.sleep(0)
        gone.cancel()  # at the very moment at which it is its turn
        await next_
        await _through(all_turns)

    asyncio.run(scenario())


async def _through(all_turns: turns.Turns, *, registering: bool = False) -> None:
    async with all_turns.turn(registering=registering):
        await asyncio.sleep(0)

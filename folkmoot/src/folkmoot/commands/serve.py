"""Serve the API with workers; the embedded database is kept alive beside them."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio.lowlevel
import typer
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings

from folkmoot.app import create_app
from folkmoot.commands.migrate import upgrade
from folkmoot.commands.schema import check_schema
from folkmoot.http import metrics
from folkmoot.postgres import database, replicas, sharing
from folkmoot.postgres.server import Server, ServerError
from folkmoot.posts import comments, lists
from folkmoot.settings import Settings, SettingsError, load, signing_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from argon2 import PasswordHasher
    from fastapi import FastAPI

    from folkmoot.postgres.pool import Connection

#: How many clients may be connected to a worker. An idle one costs some kilobytes, and is closed in time.
CONNECTIONS = 10_000
#: How long a connection may be idle, or take for the head of a request.
IDLE_SECONDS = 15
#: How long a client may take nothing of an answer that is sent to it.
UNREAD_SECONDS = 30
#: How much of its answers the kernel holds for a client, about: else megabytes, which are made for nothing
#: where the client does not read.
UNREAD_KILOBYTES = 256
_STOPS = {signal.SIGINT, signal.SIGTERM}


async def _planned(connection: Connection) -> None:
    await lists.planned(connection)
    await comments.planned(connection)


def command(
    *,
    migrate: Annotated[
        bool, typer.Option("--migrate", help="Migrate another than the embedded database, too.")
    ] = False,
) -> None:
    """Serve the API; the embedded database is started and migrated first."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # until the server takes over
    with database.explained():
        settings = load()
        signing_key(settings)
        _check_ports(settings)
        with database.server(settings) as server:
            if migrate or settings.embedded:
                upgrade(settings, "head")
            check_schema(settings)
            if settings.database_read_url is not None:
                for unreached in asyncio.run(replicas.check(settings)):
                    typer.echo(unreached, err=True)
            if settings.embedded:
                sharing.let_serve(settings)
            if isinstance(server, Server):
                threading.Thread(target=_keep_alive, args=(server, settings), daemon=True).start()
                if settings.folkmoot_embedded_port:
                    typer.echo(
                        f"PostgreSQL: 127.0.0.1:{server.port}, user {sharing.ROLE}, "
                        f"database {sharing.DATABASE}, password in {settings.data_dir / 'password'}"
                    )
            with _measured(settings):
                _serve(settings)


@contextmanager
def _measured(settings: Settings) -> Iterator[None]:
    """Metrics of all workers, on an address of their own: never on the one that people come to."""
    if settings.metrics_port is None:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="folkmoot-metrics-") as folder:
        os.environ[metrics.FOLDER] = folder  # for the workers, which write into it
        server = metrics.serve(settings.metrics_host, settings.metrics_port, folder)
        try:
            yield
        finally:
            server.shutdown()


def _check_ports(settings: Settings) -> None:
    _check_port("HOST, PORT", settings.host, settings.port)
    if settings.metrics_port is not None:
        if settings.metrics_port == settings.port:
            raise SettingsError("METRICS_PORT takes another port than PORT: metrics are not for everybody")
        _check_port("METRICS_HOST, METRICS_PORT", settings.metrics_host, settings.metrics_port)


def _check_port(named: str, host: str, port: int) -> None:
    """Say in one line that the address cannot be had; the server's own words are a traceback."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise SettingsError(f"{named}: cannot listen on {host}:{port}: {error.strerror}") from None


def _open_files(settings: Settings) -> None:
    """Raise the limit on open files, as far as it may be, so that every connection may be one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + settings.database_pool_size + 256
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def _serve(settings: Settings) -> None:
    _open_files(settings)
    # Each worker would start one for its process pool, which unblocks the signals that are held back below.
    resource_tracker.ensure_running()
    os.register_at_fork(after_in_child=partial(signal.pthread_sigmask, signal.SIG_BLOCK, _STOPS))
    server = Granian(
        "folkmoot.commands.serve:worker",
        address=settings.host,
        port=settings.port,
        workers=settings.workers,
        interface=Interfaces.ASGI,
        factory=True,
        websockets=False,
        # A proxy in front speaks HTTP/2; over a plain connection it only adds ways to take memory.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=IDLE_SECONDS * 1000, max_buffer_size=64 * 1024),
        backlog=CONNECTIONS,
        backpressure=CONNECTIONS,
        respawn_failed_workers=True,
        workers_kill_timeout=10,
        log_level=settings.log_level,  # type: ignore[arg-type]
    )
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    server.on_startup(lambda: typer.echo(f"Folkmoot listens on http://{host}:{settings.port} (API: /docs)"))
    server.serve()


def worker(hasher: PasswordHasher | None = None) -> FastAPI:
    """The application of one worker process; `hasher` is for tests in a hurry.

    Granian loses a signal that comes before a worker serves, and then waits for that worker: such a signal
    is held back until it serves.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    app = create_app(hasher=hasher)
    lifespan = app.router.lifespan_context

    @asynccontextmanager
    async def then_listen(app: FastAPI) -> AsyncIterator[Any]:
        async with lifespan(app) as state:
            await anyio.lowlevel.checkpoint()  # imports what it runs on, which the first export would do
            await app.state.pool.open_all(_planned)
            for replica in app.state.replicas.each if app.state.replicas else ():
                await replica.open_all(_planned)
            # What the start made lives as long as the worker: the collector of garbage passes it by from now
            # on. Going through it holds everybody for a tenth of a second.
            gc.collect()
            gc.freeze()
            loop = asyncio.get_running_loop()
            loop.call_later(0.1, signal.pthread_sigmask, signal.SIG_UNBLOCK, _STOPS)
            loop.call_soon(_bound_unread_answers, loop)
            yield state

    app.router.lifespan_context = then_listen
    return app


def _bound_unread_answers(loop: asyncio.AbstractEventLoop) -> None:
    """Have connections closed whose clients take nothing: else each holds its place and its answer for ever.
    And keep little of an answer ahead of its client.

    Granian has no setting for it, and keeps its listening socket to itself, which it opens after the start of
    the application: it is looked for until it is there. What is accepted inherits this.
    """
    if sys.platform != "linux":
        return
    listening = False
    for each in Path("/proc/self/fd").iterdir():
        if not each.is_socket():
            continue
        with suppress(OSError), socket.socket(fileno=os.dup(int(each.name))) as found:
            if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
                # Linux doubles it, for what it needs itself.
                found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNREAD_KILOBYTES * 1024 // 2)
                listening = True
    if not listening:
        loop.call_later(0.005, _bound_unread_answers, loop)


def _keep_alive(server: Server, settings: Settings) -> None:
    """Start the embedded server again should it be killed."""
    while True:
        threading.Event().wait(0.5)
        try:
            if sharing.revive(server, settings):
                typer.echo("PostgreSQL had stopped and was started again", err=True)
        except ServerError as error:
            typer.echo(str(error), err=True)

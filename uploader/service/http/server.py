"""The web server, once somebody asks: uvicorn, with the application behind its doors."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import uvicorn

from uploader.core.addresses import is_loopback
from uploader.runtime import Clock
from uploader.service.http.accept import Taker
from uploader.service.http.app import application
from uploader.service.http.connection import Connection, Handshake
from uploader.service.http.doors import Names
from uploader.service.http.feed import Feed
from uploader.service.http.listen import certificate, written
from uploader.service.http.site import Site
from uploader.service.http.tokens import Keeper
from uploader.settings.schema import Settings
from uploader.store.database.answers import answering_within
from uploader.store.jobs import Jobs

_GRACE_S = 1
#: Seconds that the job table has for an answer.
ANSWERS_S = 30.0


class _Server(uvicorn.Server):
    """Signals are the daemon's business, whichever thread this runs in."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _protocol(tls: ssl.SSLContext | None) -> Any:
    """What makes the protocol of a new connection. uvicorn's own TLS would not be counted."""
    return Connection if tls is None else lambda **given: Handshake(Connection(**given), tls)


def serve(  # noqa: PLR0913, PLR0917 - the parts of an API
    by_now: Callable[[], Settings],
    jobs: Jobs,
    clock: Clock,
    keeper: Keeper,
    listener: socket.socket,
    turned_s: Callable[[], float | None],
    bell: socket.socket,
) -> None:
    """Answer requests on ``listener`` until ``bell`` can be read; ``by_now`` as in `Site`."""
    settings = by_now()
    site = Site(by_now, jobs, keeper, clock, turned_s)
    host = settings.api.address[0].lower()
    names = Names({host, *(name.lower() for name in settings.api.hosts)}, not is_loopback(host))
    feed = Feed(jobs)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # it warns of every stranger's nonsense
    config = uvicorn.Config(
        application(site, names, written(listener), feed),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
    server = _Server(config)
    of_server = {"config": config, "server_state": server.server_state, "app_state": {}}
    protocol = partial(_protocol(certificate(settings)), **of_server)

    async def until_ended() -> None:
        running, rung = asyncio.ensure_future(server.serve([])), asyncio.Event()
        loop, ending = asyncio.get_running_loop(), asyncio.ensure_future(rung.wait())
        taker = Taker(listener, protocol)
        taker.begin()
        loop.add_reader(bell, rung.set)
        await asyncio.wait([running, ending], return_when=asyncio.FIRST_COMPLETED)
        loop.remove_reader(bell)
        taker.end()
        ending.cancel()
        await feed.close()  # or the end would wait for its readers
        server.should_exit = True
        await running

    with answering_within(ANSWERS_S):
        asyncio.run(until_ended())

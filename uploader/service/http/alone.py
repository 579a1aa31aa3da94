"""`uploader serve`: the API without a worker, in the foreground."""

from __future__ import annotations

import logging
import signal
import socket
from concurrent.futures import Future
from contextlib import suppress

from uploader import wiring
from uploader.core.errors import UsageError
from uploader.runtime import threads_end_in_the_log
from uploader.service.ending import at_signals
from uploader.service.http.listen import END_S, announced, bound, written
from uploader.service.http.server import serve as answer
from uploader.service.http.site import no_worker
from uploader.service.http.tokens import Keeper, api_token
from uploader.service.logs import log_as
from uploader.settings.schema import Settings
from uploader.store.database.dialect import store_errors
from uploader.store.database.state_folder import private_folder
from uploader.store.jobs import Jobs
from uploader.threads import spawn

_log = logging.getLogger(__name__)


def serve(settings: Settings, jobs: Jobs) -> None:
    """Listen until SIGTERM or Ctrl-C. Raises UsageError, StoreError, OSError."""
    if settings.api.off:
        raise UsageError("api.listen is off", hint="`uploader serve --listen 127.0.0.1:8642`")
    log_as(settings.log)
    with store_errors():
        private_folder(settings.state_dir)  # with PostgreSQL nothing has needed it before
    clock = wiring.clock()
    bell, rung = socket.socketpair()
    with (
        threads_end_in_the_log(),
        bell,
        rung,
        bound(settings) as listener,
        announced(settings.state_dir, written(listener), works=False),
    ):
        keeper = Keeper(api_token(settings.state_dir), clock)
        ended = Future[None]()

        def ring() -> None:
            with suppress(OSError):  # nobody listens any more
                bell.send(b".")

        def run() -> None:
            try:
                answer(lambda: settings, jobs, clock, keeper, listener, no_worker, rung)
                ended.set_result(None)
            except BaseException as error:  # noqa: BLE001 - raised below
                ended.set_exception(error)
            finally:
                ring()

        at_signals((signal.SIGTERM, signal.SIGINT), ring)
        _log.info("the API listens on %s; `uploader dashboard` opens its page", written(listener))
        spawn("api", run)
        rung.recv(1, socket.MSG_PEEK)
        with suppress(TimeoutError):  # it waits for a job table that does not answer
            ended.result(END_S)

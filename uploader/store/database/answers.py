"""How long PostgreSQL may take for an answer: for ever, or some seconds.

A server that is stopped, or a proxy that has forgotten a connection, keeps it open and is silent.
The API, which asks for little and is asked by many, gives such a connection up for a new one.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from uploader.runtime import SystemClock

if TYPE_CHECKING:
    from sqlalchemy import Engine  # slow to import

_CLOCK = SystemClock()
_MOST_LONGER = 10
_WITHIN_S: ContextVar[float | None] = ContextVar("answering_within", default=None)


@contextlib.contextmanager
def answering_within(seconds: float) -> Iterator[None]:
    """As long as this lasts, a connection on which nothing comes or goes for ``seconds`` is lost.

    So is one that takes ten times as long for one answer, however slowly that comes. Also for
    threads and tasks that are begun meanwhile, as long as they live.
    """
    token = _WITHIN_S.set(seconds)
    try:
        yield
    finally:
        _WITHIN_S.reset(token)


def bound(engine: Engine) -> None:
    """Let every connection of ``engine`` obey `answering_within`."""
    from psycopg import Connection, OperationalError  # noqa: PLC0415 - few have it
    from sqlalchemy import event  # noqa: PLC0415 - the engine has loaded it

    # What it says of a query that Ctrl-C ends reads like an error.
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)

    class Bounded(Connection[Any]):
        def wait(self, gen: Any, *how: Any, **more: Any) -> Any:
            within_s = _WITHIN_S.get()
            waited = gen if within_s is None else self._in_time(gen, within_s)
            return super().wait(waited, *how, **more)

        def _in_time(self, gen: Any, within_s: float) -> Generator[Any, Any, Any]:
            began_s = moved_s = _CLOCK.boot_s()
            try:
                wish = next(gen)
                while True:
                    ready = yield wish  # also resumed now and then with nothing ready
                    now_s = _CLOCK.boot_s()
                    moved_s = now_s if ready else moved_s
                    if now_s - moved_s >= within_s or now_s - began_s >= _MOST_LONGER * within_s:
                        self.pgconn.finish()
                        raise OperationalError("the server has not answered in time")
                    wish = gen.send(ready)
            except StopIteration as end:
                return end.value

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, words: Any, options: Any) -> Any:
        return Bounded.connect(*words, **options)

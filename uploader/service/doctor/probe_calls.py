"""The requests of a probe: repeated if there was no answer, timed, and within a budget."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from uploader import wiring
from uploader.core.errors import RemoteError, Stopped, UploaderError
from uploader.core.probe import Item, Line, shape
from uploader.core.verdict import CONTROL, Verdict
from uploader.runtime import StopToken
from uploader.settings.schema import Settings
from uploader.threads import spawn
from uploader.wiring.overheard import overheard

BUDGET_S = 900.0
TRIES = 4
#: Seconds before a request is repeated that nobody asked to wait with.
SHORT_WAIT_S = 1.0
#: Seconds within which a call is usually answered.
USUAL_S = 60.0
_AGAIN = (Verdict.TRANSIENT, Verdict.THROTTLED)
_T = TypeVar("_T")


class Over(Exception):
    """Nothing more can be asked."""


class Calls:
    """Both services, for ``budget_s`` seconds; then every method raises Stopped."""

    def __init__(self, settings: Settings, budget_s: float | None = None) -> None:
        """Raises UsageError."""
        self._stop = StopToken()
        self._ended = threading.Event()
        self._clients = overheard(settings, self._stop)
        self.control, self.stranger = self._clients.control, self._clients.stranger
        self.storage = self._clients.storage
        self._took_s: dict[str, float] = {}
        self._repeated = Counter[str]()
        self._with_id = Counter[bool]()
        self._error: UploaderError | None = None
        seconds = BUDGET_S if budget_s is None else budget_s
        spawn("probe", lambda: self._bound(seconds))

    def _bound(self, seconds: float) -> None:
        if not wiring.clock().wait(self._ended, seconds):
            self._stop.cut()

    def end(self) -> None:
        """Close everything."""
        self._ended.set()
        self._clients.close()

    def ask(self, name: str, send: Callable[[], _T]) -> tuple[_T | None, str]:
        """What came of a call, and how it was answered: ``200``, or status and shape of a refusal.

        Raises Stopped.
        """
        self._error = None
        try:
            found = self.repeated(name, send)
        except Stopped:
            raise
        except UploaderError as error:
            self._error = error
            return None, self._refusal(error)
        return found, str(self.status)

    def repeated(self, name: str, send: Callable[[], _T]) -> _T:
        """As ``send``, repeated while it is asked to wait, and a few times if it got no answer.

        Raises what it raised last.
        """
        left = TRIES
        while True:
            try:
                return self._timed(name, send)
            except RemoteError as error:
                left -= error.verdict is Verdict.TRANSIENT
                if error.verdict not in _AGAIN or not left:
                    raise
                if error.status or error.verdict is Verdict.TRANSIENT:  # else nothing was sent
                    self._repeated[str(error.code)] += 1
                wait_s = error.retry_after_s
            self.wait(SHORT_WAIT_S if wait_s is None else wait_s)

    def _timed(self, name: str, send: Callable[[], _T]) -> _T:
        clock = wiring.clock()
        began_s = clock.boot_s()
        try:
            return send()
        finally:
            took_s = clock.boot_s() - began_s
            self._took_s[name] = max(self._took_s.get(name, 0.0), took_s)
            if name in CONTROL and self._clients.ear.last:
                self._with_id["x-request-id" in self.headers] += 1

    def _refusal(self, error: UploaderError) -> str:
        status = error.status if isinstance(error, RemoteError) else None
        if status is None or not self.status:
            return f"no answer: {error.code}"
        return shape(status, self.body) if status >= 300 else f"{status}, {error.code}"  # noqa: PLR2004

    def wait(self, seconds: float) -> None:
        """Wait, at most until the budget is spent. Raises Stopped."""
        wiring.clock().wait(self._stop.event, seconds)
        self._stop.check()

    # -- the last call ---------------------------------------------------------------------

    @property
    def status(self) -> int:
        """Of its answer; 0 if there was none."""
        return self._clients.ear.last.status if self._clients.ear.last else 0

    @property
    def body(self) -> bytes:
        """Of its answer."""
        return self._clients.ear.last.body if self._clients.ear.last else b""

    @property
    def headers(self) -> Mapping[str, str]:
        """Of its answer, by lower-case names."""
        return self._clients.ear.last.headers if self._clients.ear.last else {}

    def header(self, name: str) -> str:
        """One of them; empty if there is none."""
        return self.headers.get(name, "")

    @property
    def done(self) -> bool:
        """Whether it did what it is for: a page of a proxy has 200, too."""
        return self._error is None

    @property
    def refused(self) -> int:
        """The status of its refusal; 0 if it was not refused, or not answered."""
        return (self._error.status or 0) if isinstance(self._error, RemoteError) else 0

    @property
    def words(self) -> str:
        """What the service said about a refusal."""
        return self._error.message.partition(" (request ")[0] if self._error else ""

    @property
    def not_yet(self) -> bool:
        """Was it refused because files are still landing?"""
        return isinstance(self._error, RemoteError) and self._error.verdict is Verdict.NOT_YET

    # -- all calls -------------------------------------------------------------------------

    @property
    def repeats(self) -> int:
        """How many requests were repeated."""
        return self._repeated.total()

    @contextmanager
    def counted(self) -> Iterator[Callable[[], Iterator[Line]]]:
        """While it lasts, Over and Stopped end what is asked; then: the lines about all calls."""
        in_time = True

        def lines() -> Iterator[Line]:
            some = "some" if self._with_id[True] else "none"
            yield Line(Item.REQUEST_ID, some if self._with_id[False] else "all")
            why = ", ".join(f"{count} {code}" for code, count in sorted(self._repeated.items()))
            yield Line(Item.REPEATED, why or "none")
            longest = max(self._took_s.values(), default=0.0)
            took = ", ".join(f"{name} {took_s:.2f} s" for name, took_s in self._took_s.items())
            what = "at most a minute" if longest <= USUAL_S else "longer"
            yield Line(Item.DURATIONS, what if in_time else "out of time", took)

        try:
            yield lines
        except Over:
            pass
        except Stopped:
            in_time = False

"""Few folders are looked at at once, however often anybody asks: each takes memory and a thread.

A disk may never answer, and nothing ends a call to one. So each look has a thread of its own, and
no thread of the server waits for it: those answer everything else. If the look has not used a
processor for half a minute, whoever asked is told so, and others get its place; it ends at the next
file, once the disk answers. A look that goes on for minutes reads all of a model, or a slow disk,
and others get its place, too. Until those have ended, nobody else looks at their folders: one
folder takes two threads at most, however often it is asked about, and by whatever links. A look
at another one is refused before it touches what one of those waits for: the folder of a base model,
say, or anything else on the same file server.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from threading import Lock, get_ident

from uploader import files, mounts
from uploader.core.api_reasons import ApiCode
from uploader.core.errors import StoreError, UploaderError
from uploader.engine.disks import MOST_HELD_UP, PATIENCE_S
from uploader.runtime import StopToken, processor_clock
from uploader.service.http.answers import Answer
from uploader.service.http.problems import Refusal
from uploader.store.database.dialect import asks
from uploader.threads import LOOK, spawn

#: A preflight may take 400 MB (docs/preflight.md), and a small machine has a GiB.
_AT_ONCE = 2
_WAITING = 16
_WAITS_S = 10.0
#: Seconds: no folder keeps a processor busy for as long.
_LONG_S = 120.0
_TURN_S = 0.5
#: As the system itself follows; and more parts than any path has, with what its links add.
_MOST_LINKS, _MOST_PARTS = 40, 256
_NO_TABLE = "the job table has not answered for half a minute"
_NO_TABLE_HINT = "see whether its database runs and answers others, then ask again"


@dataclass(eq=False)
class Look:
    """One look at a folder."""

    #: Its paths that are known so far: as it was named, and with the links in that resolved.
    paths: frozenset[str]
    #: What it touches at this moment: a file server, or a path on a disk of this machine.
    at: str = ""
    #: Which file server a path is on; empty for a disk of this machine.
    server: Callable[[str], str] = field(default_factory=mounts.far_devices)
    #: Set if nobody waits for its end any more.
    stop: StopToken = field(default_factory=StopToken)
    #: The number of its thread, once that has begun.
    thread: int = 0
    #: How many seconds of a processor it has used.
    used_s: Callable[[], float] = float
    #: It has used no processor for half a minute.
    idle: bool = False
    #: Its end is waited for, whatever it takes.
    settled: bool = False
    #: What kept it from a silent disk: it went on as if nothing were there.
    refusal: Refusal | None = None
    #: Others got its place.
    has_left: bool = False
    _lock: Lock = field(default_factory=Lock)

    def move(self, path: str) -> None:
        """To be called before ``path`` is touched. All of a file server falls silent at once."""
        self.at = self.server(path) or path

    def settle(self) -> None:
        """To be called before anything is changed.

        Raises Stopped if nobody waits any more, and Refusal if it was kept from a silent disk.
        """
        with self._lock:
            self.stop.check()
            if self.refusal is not None and not self.settled:
                raise self.refusal
            self.settled = True

    def give_up(self) -> None:
        """Wait for its end no longer, unless it has settled."""
        with self._lock:
            if not self.settled:
                self.stop.stop()

    def refuse(self) -> None:
        """Raises Refusal if its disk is silent, or if others got its place; StoreError likewise."""
        if self.stop.stopped and asks(self.thread):
            raise StoreError(_NO_TABLE, hint=_NO_TABLE_HINT)
        if self.stop.stopped:
            raise Refusal(ApiCode.FOLDER_SILENT)
        if self.has_left:
            raise Refusal(ApiCode.TOO_FAST, "This folder is being read already")

    @property
    def waits_for_disk(self) -> bool:
        """Has what it touches not answered for half a minute?"""
        return (self.idle or self.stop.stopped) and not asks(self.thread)


class Looks:
    """All that have not ended; two of them have a place. For the thread of the server."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._all: list[Look] = []
        self._waiting = 0

    async def at(self, path: str, look: Callable[[Look], Answer]) -> Answer:
        """What ``look`` answers about the folder ``path``; it settles before it changes anything.

        Raises what it raises, NoThread, and Refusal: `too_fast` if others keep it waiting for ten
        seconds, `folder_silent` if the disk does for thirty; StoreError if the job table does.
        """
        one = _new(path)
        await self._begin(one)
        found, ended, loop = Future[Answer](), asyncio.Event(), asyncio.get_running_loop()

        def end() -> None:
            self._end(one)
            ended.set()

        def run() -> None:
            try:
                one.thread, one.used_s = get_ident(), processor_clock()
                self._resolve(one)
                with files.looking(one.stop, partial(self._touching, one)):
                    answer = look(one)
                one.settle()
                found.set_result(answer)
            except BaseException as error:  # noqa: BLE001 - it is the answer
                found.set_exception(error)
            finally:
                with suppress(RuntimeError):  # the server has ended
                    loop.call_soon_threadsafe(end)

        try:
            spawn(LOOK, run)
        except BaseException:
            self._end(one)
            raise
        try:
            await self._awaited(one, ended)
        except UploaderError:
            one.give_up()
            raise
        return found.result()

    async def _begin(self, one: Look) -> None:
        self._refuse_again(one)
        if self._waiting == _WAITING:
            raise _full()
        self._waiting += 1
        try:
            if not await _in_time(self._places.acquire(), _WAITS_S):
                raise _full()
        finally:
            self._waiting -= 1
        try:
            self._refuse_again(one)
        except UploaderError:
            self._places.release()
            raise
        self._all.append(one)

    def _resolve(self, one: Look) -> None:
        """Find out by what other paths the folder is known. In the look's own thread."""
        for path in _without_links(*one.paths):
            one.paths |= {path}
            one.move(path)
            self._refuse_again(one)

    @contextmanager
    def _touching(self, one: Look, path: str) -> Iterator[None]:
        """Whatever is not in the folder itself may be silent, too: the folder of a base model."""
        if get_ident() != one.thread:  # a question, which has a thread of its own
            yield
            return
        before = one.at
        try:
            for found in chain((os.path.normpath(path),), _without_links(path)):
                one.move(found)
                self._refuse_silent(one)
            yield
        finally:
            one.at = before

    def _refuse_again(self, one: Look) -> None:
        for other in tuple(self._all):
            if other is not one and not other.paths.isdisjoint(one.paths):
                other.refuse()
        self._refuse_silent(one)

    def _refuse_silent(self, one: Look) -> None:
        there = (other for other in tuple(self._all) if other is not one and other.at == one.at)
        if any(other.waits_for_disk for other in there):
            one.refusal = Refusal(ApiCode.FOLDER_SILENT)
            raise one.refusal

    async def _awaited(self, one: Look, ended: asyncio.Event) -> None:
        used_s = silent_s = lasted_s = 0.0
        while not await _in_time(ended.wait(), _TURN_S):
            before_s, used_s = used_s, one.used_s()
            silent_s = silent_s + _TURN_S if used_s == before_s else 0.0
            lasted_s += _TURN_S
            one.idle = silent_s >= PATIENCE_S
            if one.idle:
                one.give_up()
            if one.stop.stopped or one.settled or lasted_s >= _LONG_S:
                self._leave(one)
            if one.stop.stopped:
                one.refuse()

    def _leave(self, one: Look) -> None:
        if not one.has_left and sum(other.has_left for other in self._all) < MOST_HELD_UP:
            one.has_left = True
            self._places.release()

    def _end(self, one: Look) -> None:
        self._all.remove(one)
        if not one.has_left:
            self._places.release()


def _new(path: str) -> Look:
    named = os.path.normpath(path)
    one = Look(frozenset({named}))
    one.move(named)
    return one


def _without_links(path: str) -> Iterator[str]:
    """``path`` with one link in it after another resolved, each before its target is touched."""
    if not os.path.isabs(path):  # noqa: PTH117 - it is text, and may hold what no path has
        return
    at, ahead, told, links, parts = "/", path.split("/")[::-1], True, 0, 0
    while ahead and links < _MOST_LINKS and parts < _MOST_PARTS:
        part, parts = ahead.pop(), parts + 1
        if part == "..":
            at = os.path.dirname(at)  # noqa: PTH120
        elif part not in ("", "."):
            try:
                target = os.readlink(os.path.join(at, part))  # noqa: PTH115, PTH118
            except (OSError, ValueError):
                at = os.path.join(at, part)  # noqa: PTH118
            else:
                at = "/" if target.startswith("/") else at
                ahead += target.split("/")[::-1]
                told, links = False, links + 1
        if not told and ".." not in ahead:
            told = True
            yield os.path.normpath(os.path.join(at, *ahead[::-1]))  # noqa: PTH118


async def _in_time(event: Coroutine[None, None, object], within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await event
    except TimeoutError:
        return False
    except asyncio.CancelledError:  # the server ends, and waits for no disk
        raise Refusal(ApiCode.TOO_FAST, "The API is ending") from None
    return True


def _full() -> Refusal:
    return Refusal(ApiCode.TOO_FAST, f"{_AT_ONCE} other folders are being looked at")

"""The history as it happens: one look at the store for all readers, by number, without a gap.

Writers take their turn in both databases, so numbers become visible in their order and a reader
who goes on after the last one it saw misses none (docs/architecture.md).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

from starlette.concurrency import run_in_threadpool

from uploader.core.documents import EventJson, event_json
from uploader.core.errors import StoreError
from uploader.store.jobs import Jobs

LOOK_S = 0.5
KEEPALIVE_S = 15.0
MAX_EVENTS = 1000
MAX_STREAMS = 64


class Feed:
    """Wakes whoever waits for events. As long as nobody does, the store is not asked."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._readers = 0
        self._news = asyncio.Condition()
        self._last = 0
        self._task: asyncio.Task[None] | None = None
        self.closed = False

    def read(self, since: int, limit: int = MAX_EVENTS) -> list[EventJson]:
        """The events after number ``since``. Blocks; raises StoreError."""
        return [event_json(event) for event in self._jobs.events(since=since, limit=limit)]

    def read_of(self, job: str, since: int) -> list[EventJson]:
        """One job's events after number ``since``, at once. Blocks; raises NotFound, StoreError."""
        found = self._jobs.events(self._jobs.find(job).id, since=since, limit=MAX_EVENTS)
        return [event_json(event) for event in found]

    async def wait(self, since: int, wait_s: float) -> list[EventJson]:
        """Those after ``since``, as soon as there is one; empty after ``wait_s`` without any."""
        found = await run_in_threadpool(self.read, since)
        if found or wait_s <= 0:
            return found
        await self._next(since, wait_s)
        return await run_in_threadpool(self.read, since)

    async def stream(self, since: int) -> AsyncIterator[str]:
        """Server-sent events from ``since`` on; a comment now and then finds dead readers."""
        yield f"retry: 1000\n: after {since}\n\n"
        while not self.closed:
            try:
                found = await self.wait(since, KEEPALIVE_S)
            except StoreError:
                return  # the reader connects again and goes on at its number
            if not found:
                yield ": still here\n\n"
            for event in found:
                since = event["seq"]
                yield f"id: {since}\ndata: {json.dumps(event)}\n\n"

    async def close(self) -> None:
        """End every stream: the server stops."""
        self.closed = True
        async with self._news:
            self._news.notify_all()

    async def _next(self, since: int, wait_s: float) -> None:
        self._readers += 1
        try:
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._watch())
            async with self._news:
                newer: Callable[[], bool] = lambda: self._last > since or self.closed  # noqa: E731
                async with asyncio.timeout(wait_s):
                    await self._news.wait_for(newer)
        except TimeoutError:
            return
        finally:
            self._readers -= 1

    async def _watch(self) -> None:
        while self._readers and not self.closed:
            try:
                last = await run_in_threadpool(self._jobs.last_event)
            except StoreError:
                last = self._last  # it may come back
            if last != self._last:
                self._last = last
                async with self._news:
                    self._news.notify_all()
            await asyncio.sleep(LOOK_S)

"""The files of a probe, on their way to storage, and what is answered there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import google_crc32c

from uploader.core.probe import Item, Line
from uploader.core.probe_reading import facts, header_names
from uploader.core.redact import SessionUri
from uploader.core.resumable import (
    Confirmed,
    Finished,
    Reading,
    Unclear,
    UploadUrl,
    UrlKind,
    stored_facts,
)
from uploader.service.doctor.probe_calls import Calls, Over

_INCOMPLETE = 308
_MOST_PUTS = 8


class _Body:
    """A short file in one block."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._left = content

    def __len__(self) -> int:
        return len(self._content)

    def read(self, size: int = -1, /) -> bytes:
        del size
        block, self._left = self._left, b""
        return block

    def __iter__(self) -> Iterator[bytes]:
        yield from iter(self.read, b"")


class Sending:
    """Sends the files of one model, one after the other."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._storage = calls.storage
        self._watched = ""

    def cancelled(self, url: UploadUrl, size_bytes: int) -> Iterator[Line]:
        """Open a session and cancel it; nothing for a URL that gives none."""
        session, _ = self._session(url, size_bytes)
        if session is not None:
            _, what = self._calls.ask("cancel", lambda: self._storage.end(session))
            yield Line(Item.CANCEL, what)

    def stored(self, url: UploadUrl, content: bytes) -> str:
        """Send a file as its URL says: ``stored``, or how it was refused."""
        if url.kind is UrlKind.PUT:
            found, what = self._put(url, content)
        else:
            session, what = self._session(url, len(content))
            if session is None:
                return what
            found, what = self._send(session, content)
        return "stored" if isinstance(found, Finished) else what

    def watched(self, url: UploadUrl, content: bytes) -> Iterator[Line]:
        """Send a file through a session, and say how each step was answered."""
        calls, size_bytes = self._calls, len(content)
        if url.kind is UrlKind.PUT:
            return
        session, what = self._session(url, size_bytes)
        if url.kind is UrlKind.START:
            named = "upload_id=" in calls.header("location")
            where = "a session" if named else "an address"
            yield Line(Item.START, f"{what}, {where}" if session else what)
        if session is None:
            return
        _, what = self._query(session, size_bytes)
        held = "with" if "range" in calls.headers else "without"
        yield Line(Item.QUERY_EMPTY, f"308 {held} Range" if calls.status == _INCOMPLETE else what)
        found, what = self._send(session, content)
        yield Line(Item.FINISH, what, header_names(calls.headers))
        if not isinstance(found, Finished):
            return
        self._watched = url.object_path
        yield Line(Item.FINISH_FACTS, self._facts(found, content))
        again, what = self._query(session, size_bytes)
        same = "the same" if again == found else "other facts"
        yield Line(Item.QUERY_FINISHED, f"{what}, {same}" if again else what)

    def rest(self, urls: Mapping[str, UploadUrl], files: Mapping[str, bytes]) -> Iterator[Line]:
        """Send what was not watched. Raises Over if a file could not be stored."""
        told = False
        for name, content in files.items():
            if urls[name].object_path == self._watched:
                continue
            what = self.stored(urls[name], content)
            if what != "stored":
                yield Line(Item.SENT, what)
                raise Over
            if urls[name].kind is UrlKind.PUT and not told:
                told = True
                found = stored_facts(self._calls.headers, self._calls.body)
                seen = self._facts(found, content)
                yield Line(Item.PLAIN_PUT, f"{self._calls.status}, {seen}")
        yield Line(Item.SENT, "all")

    def _session(self, url: UploadUrl, size_bytes: int) -> tuple[SessionUri | None, str]:
        if url.kind is UrlKind.SESSION:
            return SessionUri(url.url.reveal()), ""
        return self._calls.ask("start", lambda: self._storage.start(url, size_bytes))

    def _query(self, session: SessionUri, size_bytes: int) -> tuple[Reading | None, str]:
        return self._calls.ask("query", lambda: self._storage.query(session, size_bytes))

    def _put(self, url: UploadUrl, content: bytes) -> tuple[Reading | None, str]:
        size_bytes = len(content)
        return self._calls.ask(
            "plain PUT", lambda: self._storage.put(url, _Body(content), size_bytes)
        )

    def _send(self, session: SessionUri, content: bytes) -> tuple[Reading | None, str]:
        """The last reading; and how the first PUT was answered, if that finished it."""
        size_bytes, offset, found, what = len(content), 0, None, ""
        for number in range(_MOST_PUTS):
            if offset < size_bytes and not isinstance(found, Unclear):
                found, what = self._data(session, content, offset)
            else:
                found, what = self._query(session, size_bytes)
            if isinstance(found, Finished):
                body = "no" if not self._calls.body else "a JSON" if self._json else "another"
                at_once = not number or not content
                return found, f"{what}, {body} body" if at_once else "308, then finished"
            if found is None:
                break
            if isinstance(found, Confirmed):
                offset = found.offset
        return None, what

    def _data(self, session: SessionUri, content: bytes, offset: int) -> tuple[Reading | None, str]:
        size_bytes = len(content)
        return self._calls.ask(
            "data",
            lambda: self._storage.send(
                session, _Body(content[offset:]), offset, size_bytes, size_bytes
            ),
        )

    @property
    def _json(self) -> bool:
        return "json" in self._calls.header("content-type")

    def _facts(self, found: Finished, content: bytes) -> str:
        md5 = "md5=" in self._calls.header("x-goog-hash") or b'"md5Hash"' in self._calls.body
        return facts(found, len(content), google_crc32c.value(content), md5=md5)

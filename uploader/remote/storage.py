"""The storage behind Fireworks: a small adapter on google-resumable-media, and plain PUT.

The library makes the requests; where it reads answers or retries differently from what
docs/gcs-resumable.md §2.1 (T1 to T18) requires, it is replaced here. The private attributes used
are pinned in tests/remote. One `Storage` serves one thread and holds one connection per host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol, TypeVar, cast

import requests
from google.resumable_media.common import RetryStrategy
from google.resumable_media.requests import ResumableUpload
from requests.adapters import BaseAdapter

from uploader.core.addresses import trusted
from uploader.core.errors import JobRefused
from uploader.core.redact import SessionUri
from uploader.core.resumable import (
    CONTENT_TYPE,
    GRANULE,
    Confirmed,
    Finished,
    Reading,
    UploadUrl,
    answers,
    content_range,
    interpret,
    read_url,
    stored_facts,
)
from uploader.core.verdict import Call
from uploader.remote.http import ANSWER_S, CONNECT_S, Session, ask, succeeded
from uploader.remote.middle_box import is_middle_box
from uploader.remote.refusals import malformed, refusal
from uploader.runtime import Clock

_TIMEOUT = (CONNECT_S, ANSWER_S)
_STORED = (HTTPStatus.OK, HTTPStatus.CREATED)
_ENDED = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE, 499)
_T = TypeVar("_T")


class Body(Protocol):
    """What a PUT sends: exactly ``len(body)`` bytes, in blocks of at most 256 KiB.

    A body that cannot do so raises: fewer bytes would leave the server waiting
    (docs/gcs-resumable.md T17). Its UploaderErrors reach the caller unchanged.
    """

    def __len__(self) -> int: ...

    def read(self, size: int = -1, /) -> bytes:
        """The next block as fresh ``bytes``, whatever ``size`` says; b"" at the end.

        See docs/gcs-resumable.md T13.
        """

    def __iter__(self) -> Iterator[bytes]: ...


class _Upload(ResumableUpload):
    """The library's upload with exactly one request per call and no checksum.

    See docs/gcs-resumable.md T2, T3, T8.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(url, GRANULE, headers=headers)  # type: ignore[no-untyped-call]
        self._retry_strategy = RetryStrategy(max_retries=0)


class _Start(_Upload):
    """The library's start, with exactly the signed headers and an empty body.

    See docs/gcs-resumable.md §2.
    """

    def __init__(self, url: UploadUrl, size_bytes: int, clock: Clock, *, plain: bool) -> None:
        super().__init__(url.url.reveal(), url.headers(size_bytes))
        self._url = url
        self._clock = clock
        self._plain = plain

    def _prepare_initiate_request(self, *_: Any, **__: Any) -> tuple[str, str, bytes, Any]:
        return "POST", self.upload_url, b"", self._headers

    def _process_initiate_response(self, response: requests.Response) -> None:
        if response.status_code not in _STORED or is_middle_box(Call.START, response):
            raise refusal(Call.START, response, self._clock.now())
        location = response.headers.get("location", "")
        session = _session(location) if trusted(location, plain=self._plain) else None
        if session is None:
            raise malformed(Call.START, "names no usable session")
        if answers(self._url, session) is False:
            raise malformed(Call.START, "names the session of another start")
        self._resumable_url = location


class _Data(_Upload):
    """The library's data PUT with a streamed body and our reading of answers.

    See docs/gcs-resumable.md T1 to T7, T12.
    """

    reading: Reading

    def __init__(
        self,
        session: SessionUri,
        body: Body,
        byte_range: str,
        read: Callable[[requests.Response], Reading],
    ) -> None:
        super().__init__("")
        self._resumable_url = session.reveal()
        self._stream = body
        self._byte_range = byte_range
        self._read = read

    def _prepare_request(self) -> tuple[str, Any, Any, dict[str, str]]:
        headers = {"content-type": CONTENT_TYPE, "content-range": self._byte_range}
        return "PUT", self._resumable_url, self._stream, headers

    def _process_resumable_response(self, response: requests.Response, _: int) -> None:
        self.reading = self._read(response)


class Storage:
    """Starts, queries, feeds and ends sessions; sends plain PUTs. Never retries, never waits.

    Every method raises RemoteError with the verdict of core/retry.py (TRANSIENT if no answer came),
    JobRefused for an address that is not https, Stopped, and what the body raised. After any of
    them the connection is closed before the next request opens another (docs/architecture.md §6).
    """

    def __init__(
        self,
        clock: Clock,
        adapter: BaseAdapter,
        *,
        plain: bool,
        slowest_uplink_bps: int | None = None,
    ) -> None:
        """With ``plain`` it also uses http to this machine.

        A proxy may take a whole PUT at once and answer only after it has handed it on: the wait
        for an answer grows as if that went at ``slowest_uplink_bps``, in bytes per second.
        """
        self._clock = clock
        self._slowest_uplink_bps = slowest_uplink_bps
        self._plain = plain
        self._session = Session(adapter, _anonymous, plain=plain)

    def start(self, url: UploadUrl, size_bytes: int) -> SessionUri:
        """Open a session for a file of ``size_bytes``.

        See docs/gcs-resumable.md §1.1, docs/fireworks.md §2.3.

        Raises RemoteError with START_REFUSED or URL_EXPIRED as core/retry.py has them, and
        TRANSIENT `malformed` if the answer names no usable session, or that of another start.
        """
        start = _Start(url, size_bytes, self._clock, plain=self._plain)
        initiate = partial(start.initiate, self._session, None, None, CONTENT_TYPE)
        self._ask(Call.START, start.upload_url, partial(initiate, timeout=_TIMEOUT))
        return SessionUri(start.resumable_url)

    def query(self, session: SessionUri, size_bytes: int) -> Confirmed | Finished:
        """What the server has; this also finishes a session that has everything.

        See docs/gcs-resumable.md §1, T1, T7.

        Raises ProtocolError, unchanged, if the answer confirms more than ``size_bytes``.
        """
        headers = {"content-range": content_range(0, 0, size_bytes)}
        reading = self._request(
            Call.QUERY,
            "PUT",
            session.reveal(),
            lambda answer: self._read(Call.QUERY, answer, size_bytes),
            headers=headers,
        )
        return cast("Confirmed | Finished", reading)  # a query is never answered with Unclear

    def send(
        self, session: SessionUri, body: Body, start: int, stop: int, size_bytes: int
    ) -> Reading:
        """Send [start, stop) of a file of ``size_bytes`` in one PUT; ``body`` holds just that.

        Unclear means: query before anything else is sent. Raises ProtocolError as `query` does.
        """
        upload = _Data(
            session,
            body,
            content_range(start, stop, size_bytes),
            lambda answer: self._read(Call.DATA, answer, size_bytes),
        )
        timeout = self._timeout(len(body))
        transmit = partial(upload.transmit_next_chunk, self._session, timeout=timeout)
        self._ask(Call.DATA, session.reveal(), transmit)
        return upload.reading

    def put(self, url: UploadUrl, body: Body, size_bytes: int) -> Finished:
        """The whole file in one signed PUT, never chunked (docs/fireworks.md §2.4, §0.5)."""
        return self._request(
            Call.PUT,
            "PUT",
            url.url.reveal(),
            self._read_put,
            headers=url.headers(size_bytes),
            data=body,
            timeout=self._timeout(size_bytes),
        )

    def end(self, session: SessionUri) -> None:
        """Cancel a session (docs/gcs-resumable.md §1); one that is already gone is not an error."""
        self._request(Call.END, "DELETE", session.reveal(), self._read_end)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._session.close()

    def _request(
        self,
        call: Call,
        method: str,
        url: str,
        read: Callable[[requests.Response], _T],
        **request: Any,
    ) -> _T:
        return self._ask(
            call,
            url,
            lambda: read(self._session.request(method, url, **{"timeout": _TIMEOUT, **request})),
        )

    def _timeout(self, put_bytes: int) -> tuple[float, float]:
        """Seconds to connect, and for an answer to a PUT of ``put_bytes`` bytes."""
        connect_s, answer_s = _TIMEOUT
        bps = self._slowest_uplink_bps
        return connect_s, answer_s + (put_bytes / bps if bps else 0.0)

    def _ask(self, call: Call, url: str, send: Callable[[], _T]) -> _T:
        try:
            return ask(call, url, send)
        except BaseException:
            self.close()
            raise

    def _read(self, call: Call, answer: requests.Response, size_bytes: int) -> Reading:
        headers, query = _lower(answer), call is Call.QUERY
        status, body = answer.status_code, answer.content
        if not is_middle_box(call, answer):
            reading = interpret(status, headers, body, size_bytes=size_bytes, query=query)
            if reading is not None:
                return reading
        raise refusal(call, answer, self._clock.now())

    def _read_put(self, answer: requests.Response) -> Finished:
        if answer.status_code not in _STORED or is_middle_box(Call.PUT, answer):
            raise refusal(Call.PUT, answer, self._clock.now())
        return stored_facts(_lower(answer), answer.content)

    def _read_end(self, answer: requests.Response) -> None:
        ended = succeeded(answer) or answer.status_code in _ENDED
        if not ended or is_middle_box(Call.END, answer):
            raise refusal(Call.END, answer, self._clock.now())


def _session(location: str) -> UploadUrl | None:
    """What the session's address says; None if it is not an address."""
    try:
        return read_url(location)
    except JobRefused:
        return None


def _lower(answer: requests.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}


def _anonymous(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No credentials: the URL is the secret, and the key must never be sent here."""
    return request

"""HTTP sessions, timeouts, and what a missing answer means.

Each service has a `requests` session of its own (docs/invariants.md §7);
the seam for tests and simulations is the transport adapter below it (`sockets.SocketAdapter`).
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3.exceptions as transport
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from uploader.core.addresses import host_of, trusted
from uploader.core.distribution import install
from uploader.core.errors import JobRefused, RemoteError
from uploader.core.reasons import Code
from uploader.core.verdict import Call, Verdict
from uploader.remote.answers import AnswerEncoded, AnswerTooLarge
from uploader.remote.client import Auth, Client
from uploader.remote.words import phrase
from uploader.runtime import METERS, SystemClock

_CLOCK = SystemClock()

#: Seconds (docs/architecture.md §7): to connect; for one block to be accepted, and for an answer.
CONNECT_S = 10.0
ANSWER_S = 120.0

_T = TypeVar("_T")


def succeeded(answer: requests.Response) -> bool:
    """Whether it is a 2xx; `Response.ok` would also count a redirect as a success."""
    return answer.status_code // 100 == 2  # noqa: PLR2004 - HTTP's success class


#: The arguments of `Session.request` that are understood without the help of requests.
_SIMPLE = frozenset({"data", "headers", "timeout"})
#: Servers name the hosts, as many as they like; ours are two or three.
_MAX_HOSTS = 16
_AS_IT_IS = re.compile(r"https?://[a-z0-9.:-]+/(?:[A-Za-z0-9/._~!$&'()*+,;=:@?-]|%[0-9A-F]{2})*")


class Session(Client):
    """Speaks to the services: uses only https, or with ``plain`` http to this machine, too.

    See docs/gcs-resumable.md T11.
    """

    def __init__(self, adapter: BaseAdapter, auth: Auth, *, plain: bool) -> None:
        super().__init__(adapter, auth)
        self.plain = plain
        self._environment: dict[tuple[str, str], Any] = {}

    def merge_environment_settings(self, url: Any, *settings: Any) -> Any:
        """As of `requests.Session`, which reads every variable again for each request."""
        parts = urlsplit(url)
        host = (parts.scheme, parts.netloc)
        if host not in self._environment:
            if len(self._environment) >= _MAX_HOSTS:
                self._environment.clear()
            self._environment[host] = super().merge_environment_settings(url, *settings)
        return self._environment[host].copy()

    def request(self, method: Any, url: Any, *more: Any, **named: Any) -> requests.Response:
        """As of `requests.Session`, without what it does again for each of many small requests.

        An address that needs no quoting goes as it is: taking addresses apart four times costs
        more than a small exchange.
        """
        if more or not named.keys() <= _SIMPLE or not _AS_IT_IS.fullmatch(url) or "/." in url:
            return super().request(method, url, *more, **named)
        prepared = requests.PreparedRequest()
        prepared.method, prepared.url = method, url
        own = named.get("headers") or {}
        prepared.headers = CaseInsensitiveDict({**self.headers, **own})
        prepared.body = named.get("data") or None
        prepared.prepare_content_length(prepared.body)
        prepared.prepare_auth(self.auth, url)
        settings = self.merge_environment_settings(url, {}, None, None, None)
        return self.send(prepared, timeout=named.get("timeout"), **settings)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send one request. Raises JobRefused, before it is sent, for an address without https."""
        if not trusted(request.url or "", plain=self.plain):
            message = "an address without https was refused before anything was sent"
            raise JobRefused(message, code=Code.INSECURE_URL)
        return super().send(request, **kwargs)


class NoTunnel(OSError):
    """A proxy answered CONNECT with this status, and not with a tunnel."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the proxy answered {status}")
        self.status = status


#: RequestException is an OSError; urllib3's and http.client's errors are not.
LOST = (OSError, HTTPException, transport.HTTPError)


def ask(call: Call, url: str, send: Callable[[], _T]) -> _T:
    """``send()``, or a RemoteError (TRANSIENT) that says in our words why no answer came.

    A function rather than a context manager: the library's exception holds the URL with its
    signature, and an error raised while it is handled would keep it as `__context__`.
    UploaderErrors from below (Stopped, a body's SourceUnsettled) pass unchanged.
    """
    began_s = _CLOCK.boot_s()
    try:
        return send()
    except LOST as error:
        lost = _no_answer(call, host_of(url) or "the service", error)
    finally:
        METERS.took(call.name.lower(), _CLOCK.boot_s() - began_s)
    raise lost


@dataclass(frozen=True, slots=True)
class _Cause:
    """One row: the exceptions, the message, what to do."""

    kinds: tuple[type[BaseException], ...]
    words: str
    hint: str = Code.UNAVAILABLE.hint
    errnos: tuple[int, ...] = ()
    code: Code = Code.UNAVAILABLE
    stalled: bool = False

    def fits(self, error: BaseException) -> bool:
        if isinstance(error, self.kinds):
            return True
        return isinstance(error, OSError) and error.errno in self.errnos


_CAUSES: tuple[_Cause, ...] = (
    _Cause((AnswerTooLarge,), "{host} sent more than an answer may contain", code=Code.MALFORMED),
    _Cause(
        (AnswerEncoded,), "{host} compressed its answer without being asked to", code=Code.MALFORMED
    ),
    _Cause(
        (transport.ProxyError, requests.exceptions.InvalidProxyURL),
        "the proxy on the way to {host} refused the connection",
        "check HTTPS_PROXY and NO_PROXY",
    ),
    _Cause(
        (ssl.SSLCertVerificationError,),
        "the TLS certificate of {host} is not trusted",
        "if a proxy intercepts TLS, set REQUESTS_CA_BUNDLE to its CA; check the clock",
    ),
    _Cause(
        (transport.LocationParseError, transport.ProxySchemeUnknown),
        "the address of {host}, or of the proxy on the way, is not one",
        "check HTTPS_PROXY: http://HOST:PORT",
    ),
    _Cause((ssl.SSLError, transport.SSLError), "TLS with {host} failed"),
    _Cause(
        (transport.NameResolutionError, socket.gaierror),
        "the name {host} cannot be resolved",
        f"check the network and DNS; {Code.UNAVAILABLE.hint}",
    ),
    _Cause((ConnectionRefusedError,), "{host} refused the connection"),
    _Cause((ConnectionResetError, BrokenPipeError), "the connection to {host} was reset"),
    _Cause(
        (),
        "there is no network to {host}",
        f"check the network; {Code.UNAVAILABLE.hint}",
        (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN),
    ),
    # urllib3 calls every connection that could not be made a ConnectTimeoutError.
    _Cause((transport.ConnectTimeoutError,), "connecting to {host} timed out"),
    _Cause(
        (transport.TimeoutError, TimeoutError),
        "{host} stalled and the exchange timed out",
        stalled=True,
    ),
    _Cause(
        (requests.exceptions.InvalidSchema, ImportError),
        "{host} is to be reached through a SOCKS proxy, but SOCKS support is not installed",
        f"{install('socks')}; or unset ALL_PROXY and HTTPS_PROXY",
    ),
    _Cause((HTTPException, transport.HTTPError), "{host} gave an incomplete answer"),
    _Cause((BaseException,), "the exchange with {host} failed", ""),
)


_NO_CONNECTION = (
    *(transport.NewConnectionError, transport.ConnectTimeoutError, transport.ProxyError),
    *(transport.LocationParseError, transport.ProxySchemeUnknown, ssl.SSLCertVerificationError),
    *(requests.exceptions.InvalidProxyURL, requests.exceptions.InvalidSchema),
)


def _no_answer(call: Call, host: str, error: BaseException) -> RemoteError:
    chain = tuple(chain_of(error))
    if refused := next((link for link in chain if isinstance(link, NoTunnel)), None):
        return _no_tunnel(call, host, refused.status)
    cause = next(row for row in _CAUSES if any(row.fits(link) for link in chain))
    message = f"{call}: {cause.words.format(host=host)}"
    lost = RemoteError(Verdict.TRANSIENT, call, message, hint=cause.hint, code=cause.code)
    lost.stalled = cause.stalled
    lost.unsent = any(isinstance(link, _NO_CONNECTION) for link in chain)
    return lost


def _no_tunnel(call: Call, host: str, status: int) -> RemoteError:
    """A proxy that refuses says so for ever; one that cannot reach the host says 502 and the like.

    Its own words are left out: they may repeat the request.
    """
    wants_password = status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
    hint = "write HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT" if wants_password else ""
    refused = RemoteError(
        Verdict.TRANSIENT,
        call,
        f"{call}: the proxy on the way to {host} answered {status}: {phrase(status)}",
        hint=hint,
        code=Code.UNAVAILABLE if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Code.MIDDLE_BOX,
    )
    refused.unsent = True
    return refused


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """The error and what the libraries wrapped in it, outermost first."""
    yield error
    wrapped = (getattr(error, "reason", None), *error.args, error.__cause__)
    for inner in wrapped:
        if isinstance(inner, BaseException):
            yield from chain_of(inner)

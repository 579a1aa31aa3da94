"""How a server is reached: names, addresses, TLS and its clock; for a diagnosis."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.utils import get_environ_proxies, select_proxy

from uploader.core.addresses import host_of, is_loopback, is_plain, one_place, parts_of
from uploader.core.redact import foreign_line
from uploader.core.verdict import Call
from uploader.deadlines import Deadline
from uploader.remote.dial import addresses
from uploader.remote.http import CONNECT_S, Session, ask
from uploader.remote.words import http_date

_FAMILIES = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}
_MAX_WORDS_CHARS = 200
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Place:
    """One address family of a host: how many addresses, and why none of them answers, if so."""

    family: str
    count: int
    refused: str


@dataclass(frozen=True, slots=True)
class Secure:
    """A TLS connection: its version, who issued the certificate, and until when it holds."""

    version: str
    issuer: str
    until: datetime


def places(url: str) -> Iterator[Place]:
    """How each address family of the host of ``url`` answers.

    Raises OSError for a name that is not known.
    """
    host, port = _host_and_port(url)
    found = addresses(host, port)
    for family, name in _FAMILIES.items():
        mine = [place for known, _, _, place in found if known == family]
        if mine:
            yield Place(name, len(mine), _refused(family, mine[0]))


def _refused(family: int, place: tuple[object, ...]) -> str:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(_PATIENCE_S)
            connection.connect(place)
    except OSError as problem:
        return problem.strerror or type(problem).__name__
    return ""


def secured(url: str, tls: ssl.SSLContext) -> Secure:
    """The TLS connection to the host of ``url``, made directly. Raises OSError."""
    host, port = _host_and_port(url)
    with (
        socket.create_connection((one_place(host), port), timeout=CONNECT_S) as plain,
        plain.dup() as handle,
        Deadline(handle, CONNECT_S),
        tls.wrap_socket(plain, server_hostname=host) as connection,
    ):
        facts: dict[str, Any] = dict(connection.getpeercert() or {})
        issuer = {name: value for part in facts.get("issuer", ()) for name, value in part}
        named = issuer.get("organizationName") or issuer.get("commonName") or "nobody it names"
        ends = ssl.cert_time_to_seconds(str(facts.get("notAfter")))
        until = datetime.fromtimestamp(ends, UTC)  # elsewhere the last second of 9999 is too late
        words = foreign_line(str(named), _MAX_WORDS_CHARS)
        return Secure(connection.version() or "unknown", words, until)


class NoProxy(Exception):
    """What the environment names as a proxy is not the address of one."""


def proxy_of(url: str) -> str:
    """The proxy that requests to ``url`` take, without its password; empty if none.

    Raises NoProxy.
    """
    proxy = "" if is_loopback(host_of(url)) else select_proxy(url, get_environ_proxies(url))
    if not proxy:
        return ""
    place = parts_of(proxy if "://" in proxy else f"http://{proxy}")  # as requests reads it
    if place is None or not place.hostname:
        raise NoProxy
    port = f":{place.port}" if place.port else ""
    return foreign_line(f"{place.scheme}://{place.hostname}{port}", _MAX_WORDS_CHARS)


def server_time(url: str, adapter: BaseAdapter) -> datetime | None:
    """What the server at ``url`` takes for the time. Raises RemoteError if it does not answer."""
    with Session(adapter, _anonymous, plain=is_plain(url)) as session:
        answer = ask(Call.GET, url, lambda: session.get(url, timeout=(CONNECT_S, _PATIENCE_S)))
    return http_date(answer.headers.get("Date", ""))


def _anonymous(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)

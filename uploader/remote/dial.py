"""Connecting to a name that has several addresses, some of which may be dead.

An address that does not answer only has a head start; then the next one is tried alongside it
(RFC 8305): a broken IPv6 route costs a quarter of a second, not ten at every connection.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
from collections.abc import Callable, Sequence
from typing import Any

from uploader.core.addresses import one_place
from uploader.deadlines import LastResort

HEAD_START_S = 0.25
_IN_PROGRESS = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY)

Address = tuple[socket.AddressFamily, int, int, Any]


def addresses(host: str, port: int) -> list[Address]:
    """The addresses of ``host``, address families alternating. Raises socket.gaierror."""
    with LastResort():  # a name server may not answer
        told = socket.getaddrinfo(one_place(host.strip("[]")), port, type=socket.SOCK_STREAM)
    found: list[Address] = [
        (family, kind, number, place) for family, kind, number, _, place in told
    ]
    first = [one for one in found if one[0] == found[0][0]]
    others = [one for one in found if one[0] != found[0][0]]
    turns = [one for pair in zip(first, others, strict=False) for one in pair]
    return turns + first[len(others) :] + others[len(first) :]


def dial(
    places: Sequence[Address],
    timeout_s: float,
    now_s: Callable[[], float],
    check: Callable[[], None],
    options: Sequence[tuple[Any, ...]] = (),
) -> socket.socket:
    """The first of ``places`` that answers within ``timeout_s``; every other is closed.

    ``check`` is called at least four times a second and may raise. Raises TimeoutError, or the
    OSError of the last place that refused.
    """
    with selectors.DefaultSelector() as waiting:
        try:
            winner = _race(list(places), waiting, now_s() + timeout_s, now_s, check, options)
        finally:
            for loser in [key.fileobj for key in waiting.get_map().values()]:
                if isinstance(loser, socket.socket):
                    loser.close()
    winner.settimeout(timeout_s)
    return winner


def _begin(place: Address, options: Sequence[tuple[Any, ...]]) -> socket.socket:
    family, kind, protocol, address = place
    connection = socket.socket(family, kind, protocol)
    try:
        for option in options:
            connection.setsockopt(*option)
        connection.settimeout(0)
        _refuse(connection.connect_ex(address))
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse(number: int) -> None:
    if number not in _IN_PROGRESS:
        raise OSError(number, os.strerror(number))


def _race(
    places: list[Address],
    waiting: selectors.BaseSelector,
    ends_s: float,
    now_s: Callable[[], float],
    check: Callable[[], None],
    options: Sequence[tuple[Any, ...]],
) -> socket.socket:
    refused: OSError = TimeoutError(errno.ETIMEDOUT, "timed out")
    while places or waiting.get_map():
        check()
        try:
            if places:
                waiting.register(_begin(places.pop(0), options), selectors.EVENT_WRITE)
            if winner := _first(waiting, min(HEAD_START_S, ends_s - now_s())):
                return winner
        except OSError as problem:
            refused = problem
        if now_s() >= ends_s:
            break
    raise refused


def _first(waiting: selectors.BaseSelector, wait_s: float) -> socket.socket | None:
    """The first one that is connected, if any; raises the OSError of one that was refused."""
    for key, _ in waiting.select(max(0.0, wait_s)):
        waiting.unregister(key.fileobj)
        connection = key.fileobj
        if isinstance(connection, socket.socket):
            number = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if not number:
                return connection
            connection.close()
            _refuse(number)
    return None

"""Whose socket is at one end of one TCP connection, asked of Linux (man 7 sock_diag).

The kernel finds a connection by its two ends, as it does for a packet. So an answer takes no
longer if somebody else has many sockets, as reading /proc/net/tcp does.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

#: linux/netlink.h, sock_diag.h, inet_diag.h and net/tcp_states.h.
_NETLINK_SOCK_DIAG, _BY_FAMILY, _REQUEST_FLAG, _ERROR = 4, 20, 1, 2
_ESTABLISHED, _FIN_WAIT1, _FIN_WAIT2, _CLOSE_WAIT = 1, 4, 5, 8
_ANY_COOKIE, _ANY_STATE = b"\xff" * 8, 2**32 - 1
_HEADER, _SOCKET = "=IHHII", "2s2s16s16sI8s"
_REQUEST = struct.Struct(f"{_HEADER} BBBxI {_SOCKET}")
_ANSWER = struct.Struct(f"{_HEADER} BBBB {_SOCKET} IIIII")
_REFUSED = struct.Struct(f"{_HEADER} i")
_SEQ = 1

#: Who asks after all still waits for its answer, and may send nothing more.
_ASKING = (_ESTABLISHED, _FIN_WAIT1, _FIN_WAIT2)
_ANSWERING = (_ESTABLISHED, _CLOSE_WAIT)
#: linux/tcp.h: the first byte of `tcp_info`, which is the state.
_STATE_BYTES = 1
#: What a system says that has no such question, or does not let us ask it.
_NOT_HERE = frozenset(
    {
        errno.EAFNOSUPPORT,
        errno.EPROTONOSUPPORT,
        errno.ESOCKTNOSUPPORT,
        errno.EOPNOTSUPP,
        errno.EINVAL,
        errno.ENOSYS,
        errno.EPERM,
        errno.EACCES,
        errno.ECONNREFUSED,
    }
)
_PATIENCE_S = 1.0
_MAX_BYTES = 8192
_MAPPED = b"\0" * 10 + b"\xff\xff"

#: An IPv6 address, or an IPv4 one mapped to IPv6, and a port.
End = tuple[bytes, int]


@dataclass(frozen=True, slots=True)
class Found:
    """A socket as the kernel describes it."""

    own: End
    other: End
    state: int
    user: int
    #: 0 if no process has it any more.
    inode: int


def end_of(host: str, port: int) -> End | None:
    """The end at ``host``, a numeric address; None if it is a name, or a path."""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    packed = found.packed
    return (packed if found.version == 6 else _MAPPED + packed), port  # noqa: PLR2004


class OwnEnd(Protocol):
    """Our socket of a connection, as asyncio lets it be looked at."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes:
        """As a socket's."""


def is_connected(ours: OwnEnd) -> bool:
    """Is the connection of ``ours`` still whole? Raises OSError if it was closed.

    As long as it is, no other socket of this machine can be at the other end. After a reset, the
    next connection of anybody may have the same two ends. So ask this after `user_at`.
    """
    state = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _STATE_BYTES)[0]
    return state in _ANSWERING


def user_at(there: End, here: End) -> int | None:
    """The user whose socket is at the end ``there`` of the connection to our end ``here``.

    None if that end is not on this machine, or if the system does not say. Raises OSError if that
    end was left by its process, or if the kernel cannot answer now.
    """
    if not hasattr(socket, "AF_NETLINK"):
        return None
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
            kernel.settimeout(_PATIENCE_S)
            kernel.bind((0, 0))
            return _user_at(kernel, there, here)
    except OSError as problem:
        if problem.errno in _NOT_HERE:
            return None
        raise


def _user_at(kernel: socket.socket, there: End, here: End) -> int | None:
    for found in _answers(kernel, there, here):
        if (found.own, found.other) == (there, here):
            if found.state not in _ASKING or not found.inode:
                raise ConnectionAbortedError(errno.ECONNABORTED, "the other end was left")
            return found.user
    ours = [*_answers(kernel, here, there)]
    # For a connection that has ended it finds our listener; nothing, if it knows no TCP at all. And
    # an end that was closed is forgotten a moment later, as if it had never been on this machine.
    if ours and not any(one.other == there and one.state == _ESTABLISHED for one in ours):
        raise ConnectionAbortedError(errno.ECONNABORTED, "the connection has ended")
    return None


def _answers(kernel: socket.socket, own: End, other: End) -> Iterator[Found]:
    """What is found in turn: a socket that is bound to an interface is only found with its name."""
    for interface in _interfaces():
        kernel.send(request(own, other, interface))
        data, _, flags, sender = kernel.recvmsg(_MAX_BYTES)
        if sender[0] != 0 or flags & socket.MSG_TRUNC:
            raise _garbled()
        found = read(data, kernel.getsockname()[0])
        if found is not None:
            yield found


def _interfaces() -> Iterator[int]:
    yield 0
    yield from (index for index, _ in socket.if_nameindex())


def request(own: End, other: End, interface: int = 0) -> bytes:
    """The question for the one socket from ``own`` to ``other``."""
    four = all(address.startswith(_MAPPED) for address, _ in (own, other))
    family = socket.AF_INET if four else socket.AF_INET6
    written = [address.removeprefix(_MAPPED) if four else address for address, _ in (own, other)]
    ports = [port.to_bytes(2, "big") for _, port in (own, other)]
    head = (_REQUEST.size, _BY_FAMILY, _REQUEST_FLAG, _SEQ, 0)
    asked = (family, socket.IPPROTO_TCP, 0, _ANY_STATE)
    return _REQUEST.pack(*head, *asked, *ports, *written, interface, _ANY_COOKIE)


def read(data: bytes, port_id: int) -> Found | None:
    """The one message of ``data``, an answer to the netlink socket ``port_id``.

    None if there is no such socket. Raises OSError if the kernel refuses, or it is no answer.
    """
    if len(data) < _REFUSED.size:
        raise _garbled()
    length, kind, _, seq, asker, refused = _REFUSED.unpack_from(data)
    if length > len(data) or (seq, asker) != (_SEQ, port_id):
        raise _garbled()
    if kind == _ERROR and refused < 0:
        if refused == -errno.ENOENT:
            return None
        raise OSError(-refused, "the kernel does not say whose connection it is")
    if kind != _BY_FAMILY or length < _ANSWER.size:
        raise _garbled()
    fields = _ANSWER.unpack_from(data)
    family, state = fields[5:7]
    ports, addresses = fields[9:11], fields[11:13]
    if family not in (socket.AF_INET, socket.AF_INET6):
        raise _garbled()
    own, other = (
        (
            _MAPPED + address[:4] if family == socket.AF_INET else address,
            int.from_bytes(port, "big"),
        )
        for address, port in zip(addresses, ports, strict=True)
    )
    return Found(own, other, state, user=fields[-2], inode=fields[-1])


def _garbled() -> OSError:
    return OSError(errno.EBADMSG, "what the kernel says of a connection cannot be read")

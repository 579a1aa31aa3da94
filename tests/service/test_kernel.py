"""What Linux says of the one connection that it is asked about, and what is believed of it."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Self

import pytest

from uploader.service.http import kernel
from uploader.service.http.kernel import End, end_of, read, request, user_at

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says")
_ME = 4711


def end(address: tuple[str, int]) -> End:
    found = end_of(*address[:2])
    assert found is not None
    return found


@contextmanager
def connected(device: bytes = b"") -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client, bound to ``device`` if there is one, and the server's socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        if device:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        with server:
            yield client, server


def user_of(server: socket.socket) -> int | None:
    return user_at(end(server.getpeername()), end(server.getsockname()))


def test_what_is_read_does_not_grow_with_the_sockets_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lengths: list[int] = []

    def counted(data: bytes, port_id: int) -> kernel.Found | None:
        lengths.append(len(data))
        return read(data, port_id)

    monkeypatch.setattr(kernel, "read", counted)
    with ExitStack() as stack:
        for many in (0, 100):
            for _ in range(many):
                stack.enter_context(connected())
            with connected() as (_, server):
                assert user_of(server) == os.geteuid()
    assert len(lengths) == 2
    assert max(lengths) < 500


def test_who_binds_to_an_interface_is_found_all_the_same() -> None:
    """Such a socket is none of those that a packet from anywhere could be for."""
    with connected(b"lo") as (_, server):
        assert user_of(server) == os.geteuid()


def test_who_has_only_ended_what_it_sends_is_still_there() -> None:
    with connected() as (client, server):
        client.shutdown(socket.SHUT_WR)
        assert user_of(server) == os.geteuid()


def test_who_listens_at_the_other_end_is_not_who_asked() -> None:
    """For a connection that is gone, the kernel names a listener at the same address."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind(("127.0.0.1", 0))
        client.connect(listener.getsockname())
        with closing(listener.accept()[0]) as server:
            there, here = end(server.getpeername()), end(server.getsockname())
            with socket.create_server(("127.0.0.1", there[1])):  # before anybody takes the port
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
                with pytest.raises(ConnectionAbortedError):
                    user_at(there, here)


def test_who_is_not_on_this_machine_has_no_user_here() -> None:
    """As seen from a machine that only has our end of the connection."""
    with connected() as (client, _):
        kernel_says = kernel._answers

        def only_ours(asked: socket.socket, own: End, other: End) -> Iterator[kernel.Found]:
            if own == end(client.getsockname()):
                yield from kernel_says(asked, own, other)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernel, "_answers", only_ours)
            there, here = end(client.getpeername()), end(client.getsockname())
            assert user_at(there, here) is None


@pytest.mark.parametrize("code", sorted(kernel._NOT_HERE))
def test_a_system_without_the_question_says_nothing(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sandbox, a filter of calls, another kernel; and so nobody is kept out."""

    class Refusing:
        def __init__(self, *_: object) -> None:
            raise OSError(code, os.strerror(code))

    with connected() as (_, server):
        there, here = end(server.getpeername()), end(server.getsockname())
        monkeypatch.setattr(socket, "socket", Refusing)
        assert user_at(there, here) is None


def test_a_system_without_netlink_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_NETLINK")
    with connected() as (_, server):
        assert user_of(server) is None


def test_a_kernel_without_the_module_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It then has no such socket, not even ours."""
    monkeypatch.setattr(kernel, "read", lambda *_: None)
    with connected() as (_, server):
        assert user_of(server) is None


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_a_system_that_cannot_answer_now_is_not_taken_for_one_that_never_does(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(kernel, "read", fail)
    with connected() as (_, server), pytest.raises(OSError, match=os.strerror(code)):
        user_of(server)


ONE, TWO = end(("127.0.0.1", 1234)), end(("127.0.0.1", 80))


def answer(
    length: int | None = None,
    kind: int = 20,
    seq: int = 1,
    asker: int = _ME,
    family: int = socket.AF_INET,
    more: bytes = b"",
) -> bytes:
    written = [one[0][-4:] if family == socket.AF_INET else one[0] for one in (ONE, TWO)]
    ports = [one[1].to_bytes(2, "big") for one in (ONE, TWO)]
    size = kernel._ANSWER.size + len(more)
    head = (size if length is None else length, kind, 0, seq, asker)
    rest = (0, b"\0" * 8, 0, 0, 0, 1000, 77)
    return kernel._ANSWER.pack(*head, family, 1, 0, 0, *ports, *written, *rest) + more


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("more", [b"", b"\x05\0\x08\0\0\0\0\0"])
def test_an_answer_is_read(family: int, more: bytes) -> None:
    """Of an IPv6 socket, too, that uses IPv4; what follows the fields is not needed."""
    assert read(answer(family=family, more=more), _ME) == kernel.Found(ONE, TWO, 1, 1000, 77)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 16,
        answer()[:-1],
        answer(length=10),
        answer(length=87),
        answer(length=2**32 - 1),
        answer(kind=3),
        answer(kind=18),
        answer(kind=2),
        answer(seq=2),
        answer(asker=_ME + 1),
        answer(family=1),
    ],
)
def test_what_is_no_answer_is_not_believed(data: bytes) -> None:
    with pytest.raises(OSError, match="cannot be read"):
        read(data, _ME)


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOMEM, errno.ENOENT])
def test_a_refusal_has_its_number_and_only_a_missing_socket_is_none(code: int) -> None:
    refused = kernel._REFUSED.pack(36, 2, 0, 1, _ME, -code) + b"\0" * 16
    if code == errno.ENOENT:
        assert read(refused, _ME) is None
        return
    with pytest.raises(OSError, match="does not say") as raised:
        read(refused, _ME)
    assert raised.value.errno == code


def test_nobody_but_the_kernel_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any process may send to a netlink socket that listens."""
    with connected() as (_, server), closing(_Forger()) as forger:
        monkeypatch.setattr(socket, "socket", lambda *_: forger)
        with pytest.raises(OSError, match="cannot be read"):
            user_of(server)


class _Forger:
    """A netlink socket to which a process has sent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass

    def settimeout(self, _seconds: float) -> None:
        pass

    def bind(self, _address: object) -> None:
        pass

    def send(self, _data: bytes) -> None:
        pass

    def getsockname(self) -> tuple[int, int]:
        return _ME, 0

    def recvmsg(self, _size: int) -> tuple[bytes, list[object], int, tuple[int, int]]:
        return answer(), [], 0, (1234, 0)


def test_the_question_names_one_connection_and_no_list() -> None:
    asked = kernel._REQUEST.unpack(request(ONE, TWO, 3))
    assert asked[:5] == (72, 20, 1, 1, 0)
    assert asked[5:9] == (socket.AF_INET, socket.IPPROTO_TCP, 0, 2**32 - 1)
    assert asked[9:13] == (b"\x04\xd2", b"\0\x50", *(bytes([127, 0, 0, 1]).ljust(16, b"\0"),) * 2)
    assert asked[13:] == (3, b"\xff" * 8)
    mixed = kernel._REQUEST.unpack(request(end(("::1", 1)), TWO))
    assert mixed[5] == socket.AF_INET6

"""A dead address costs a head start, not a timeout; a SOCKS proxy is watched like any way out."""

from __future__ import annotations

import builtins
import errno
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests
import urllib3

from tests.remote.conftest import Serve
from uploader.core.distribution import install
from uploader.core.errors import JobRefused, RemoteError, Stopped
from uploader.core.redact import SessionUri
from uploader.core.verdict import Verdict
from uploader.remote import reach, trust
from uploader.remote.dial import Address, addresses, dial
from uploader.remote.sockets import SocketAdapter
from uploader.remote.storage import Storage
from uploader.runtime import StopToken, SystemClock

NOW = SystemClock().boot_s

DEADLINE_S = 60.0


def tcp(place: tuple[str, int]) -> Address:
    return (socket.AF_INET, socket.SOCK_STREAM, 0, place)


@pytest.fixture
def alive() -> Iterator[Address]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield tcp(server.getsockname())


@pytest.fixture
def silent() -> Iterator[Address]:
    """A place that takes no further connection and does not say so."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
            waiting.append(filler)
        yield tcp(server.getsockname())
        for filler in waiting:
            filler.close()


@pytest.fixture
def refusing() -> Address:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return tcp(server.getsockname())


def test_a_silent_address_costs_a_head_start(silent: Address, alive: Address) -> None:
    began_s = NOW()
    with dial([silent, alive], DEADLINE_S, NOW, lambda: None) as connection:
        assert connection.getpeername() == alive[3]
        assert connection.gettimeout() == DEADLINE_S
    assert NOW() - began_s < DEADLINE_S / 2


def test_a_refusing_address_costs_nothing(refusing: Address, alive: Address) -> None:
    with dial([refusing, refusing, alive], DEADLINE_S, NOW, lambda: None) as connection:
        assert connection.getpeername() == alive[3]


def test_nobody_there_is_the_last_refusal(refusing: Address) -> None:
    with pytest.raises(ConnectionRefusedError):
        dial([refusing, refusing], DEADLINE_S, NOW, lambda: None)


def test_nobody_who_answers_is_a_timeout(silent: Address) -> None:
    with pytest.raises(TimeoutError):
        dial([silent], 0.3, NOW, lambda: None)


def test_an_address_of_a_family_that_is_not_there_is_passed_over(alive: Address) -> None:
    odd: Address = (socket.AF_INET6, socket.SOCK_STREAM, 0, ("not an address", 1, 0, 0))
    with pytest.raises(OSError, match=r"."):
        dial([odd], DEADLINE_S, NOW, lambda: None)
    with dial([odd, alive], DEADLINE_S, NOW, lambda: None) as connection:
        assert connection.getpeername() == alive[3]


def test_connecting_is_stopped_within_a_moment(silent: Address) -> None:
    stop = StopToken()
    threading.Timer(0.2, stop.stop).start()
    with pytest.raises(Stopped):
        dial([silent], 60.0, NOW, stop.check)


def test_the_families_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    def listed(*_: object, **__: object) -> list[Any]:
        six = [(socket.AF_INET6, 1, 6, "", (f"::{n}", 1, 0, 0)) for n in range(3)]
        return [*six, (socket.AF_INET, 1, 6, "", ("10.0.0.1", 1))]

    monkeypatch.setattr(socket, "getaddrinfo", listed)
    families = [family for family, *_ in addresses("h", 1)]
    assert families == [socket.AF_INET6, socket.AF_INET, socket.AF_INET6, socket.AF_INET6]


@pytest.mark.parametrize("host", ["localhost", "LocalHost", "localhost."])
def test_localhost_is_one_address_whoever_listens_at_the_other(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    resolved = socket.getaddrinfo

    def other_first(name: str, *args: Any, **kwargs: Any) -> list[Any]:
        there = ["127.0.0.2", "127.0.0.1"] if name.lower().startswith("localhost") else [name]
        return [one for place in there for one in resolved(place, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", other_first)
    assert [place for *_, place in addresses(host, 1)] == [("127.0.0.1", 1)]
    assert [*reach.places(f"https://{host}:1")] == [reach.Place("IPv4", 1, "Connection refused")]


def test_a_name_that_does_not_resolve_is_reported_as_such(storage: Storage) -> None:
    with pytest.raises(RemoteError) as caught:
        storage.query(SessionUri("https://nowhere.invalid/o?upload_id=U"), 1)
    assert "nowhere.invalid cannot be resolved" in caught.value.message


def test_a_missing_part_for_socks_is_reported_with_the_command(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if "socks" in name]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "socks":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    warnings.simplefilter("ignore")
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:9")
    with pytest.raises(RemoteError) as caught:
        storage.query(SessionUri("https://storage.example/o?upload_id=U"), 1)
    assert "SOCKS" in caught.value.message
    assert install("socks") in caught.value.hint


def test_a_connection_through_socks_is_watched_and_cut(
    storage: Storage, stop: StopToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy agrees to everything and then says nothing: only the cut ends the handshake."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("https_proxy", f"socks5h://127.0.0.1:{proxy.getsockname()[1]}")
        arrived = threading.Event()
        threading.Thread(target=_agree, args=(proxy, arrived), daemon=True).start()
        raised: list[BaseException] = []

        def call() -> None:
            try:
                storage.query(SessionUri("https://storage.example/o?upload_id=U"), 1)
            except Stopped as error:
                raised.append(error)

        caller = threading.Thread(target=call, daemon=True)
        caller.start()
        assert arrived.wait(DEADLINE_S)
        stop.cut()
        caller.join(DEADLINE_S)
        assert not caller.is_alive()
        assert isinstance(raised[0], Stopped)


def _drip(proxy: socket.socket, dripping: threading.Event) -> None:
    """A byte every now and then, each within its time, of an address with many of them."""
    connection, _ = proxy.accept()
    with connection, suppress(OSError):
        connection.recv(3)
        connection.sendall(b"\x05\x00")
        connection.recv(262)
        connection.sendall(b"\x05\x00\x00\x03\xff")
        dripping.set()
        while True:
            connection.sendall(b"a")
            threading.Event().wait(0.2)


@pytest.fixture
def drip(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("https_proxy", f"socks5h://127.0.0.1:{proxy.getsockname()[1]}")
        dripping = threading.Event()
        threading.Thread(target=_drip, args=(proxy, dripping), daemon=True).start()
        yield dripping


@pytest.mark.usefixtures("drip")
def test_a_socks_proxy_that_drips_has_one_time_for_all(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploader.remote.socks._AGREED_S", 1.0)
    began_s = NOW()
    with pytest.raises(RemoteError) as caught:
        storage.query(SessionUri("https://storage.example/o?upload_id=U"), 1)
    assert NOW() - began_s < 20  # of 51 seconds that it would take
    assert caught.value.verdict is Verdict.TRANSIENT


def test_a_socks_proxy_that_drips_is_cut(
    storage: Storage, stop: StopToken, drip: threading.Event
) -> None:
    def cut() -> None:
        assert drip.wait(DEADLINE_S)
        stop.cut()

    cutter = threading.Thread(target=cut, daemon=True)
    cutter.start()
    began_s = NOW()
    with pytest.raises(Stopped):
        storage.query(SessionUri("https://storage.example/o?upload_id=U"), 1)
    assert NOW() - began_s < 20
    cutter.join(DEADLINE_S)


def test_a_socks_proxy_that_refuses_is_not_called_slow(
    serve: Serve, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(tls=None)
    monkeypatch.setenv("https_proxy", proxy.base.replace("http", "socks5h"))
    proxy.close()
    with pytest.raises(RemoteError, match="the proxy on the way to storage"):
        storage.query(SessionUri("https://storage.example/o?upload_id=U"), 1)


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example", "a." * 150 + "b"])
def test_a_host_that_no_name_can_be_is_refused_whatever_is_on_the_way(
    adapter: SocketAdapter, storage: Storage, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """A proxy's part raises what nobody else does."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("https_proxy", f"socks5h://127.0.0.1:{proxy.getsockname()[1]}")
        threading.Thread(target=_greet, args=(proxy,), daemon=True).start()
        with pytest.raises(JobRefused):
            storage.end(SessionUri(f"https://{host}/o?upload_id=U"))
        # So the way itself says, if it is asked.
        errors = requests.RequestException, urllib3.exceptions.HTTPError
        session = requests.Session()
        session.mount("https://", adapter)
        with pytest.raises(errors):
            session.get(f"https://{host}/o", timeout=5)


def _greet(proxy: socket.socket) -> None:
    with suppress(OSError):
        while True:
            connection, _ = proxy.accept()
            with connection:
                connection.recv(3)
                connection.sendall(b"\x05\x00")
                connection.recv(262)


def _agree(proxy: socket.socket, arrived: threading.Event) -> None:
    connection, _ = proxy.accept()
    with connection, suppress(OSError):
        connection.recv(3)
        connection.sendall(b"\x05\x00")
        assert b"storage.example" in connection.recv(262)  # the name goes to the proxy
        connection.sendall(b"\x05\x00\x00\x01" + bytes(6))
        connection.recv(1)  # the hello
        arrived.set()
        while connection.recv(65536):
            pass


def test_the_error_numbers_have_names() -> None:
    assert isinstance(OSError(errno.ECONNREFUSED, ""), ConnectionRefusedError)


def test_the_authorities_are_read_once_and_only_for_tls(stop: StopToken) -> None:
    def tls(url: str) -> Any:
        request = requests.Request("GET", url).prepare()
        adapter = SocketAdapter(stop)
        return adapter.build_connection_pool_key_attributes(request, True)[1].get("ssl_context")

    trust._made.cache_clear()
    assert tls("http://127.0.0.1:1/") is None
    assert trust._made.cache_info().misses == 0
    assert tls("https://a.example/") is tls("https://b.example/")
    assert trust._made.cache_info().misses == 1

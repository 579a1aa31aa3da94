"""What holds for every session of ours: with the services, and with receivers of hooks."""

from __future__ import annotations

import ast
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.remote.conftest import Serve
from tests.remote.scripted import OF_STORAGE, Blocks, HandClock, Reply
from uploader.core.hooks import Gone, Undelivered
from uploader.core.redact import ApiKey, SessionUri
from uploader.core.resumable import read_url
from uploader.remote import http, sockets, webhook
from uploader.remote.client import Client
from uploader.remote.dial import Address
from uploader.remote.fireworks import Fireworks
from uploader.remote.gate import Gate
from uploader.remote.sockets import SocketAdapter
from uploader.remote.storage import Storage
from uploader.remote.webhook import Receiver, send

ROOT = Path(__file__).parents[2] / "uploader"
#: Private, as those of most proxies are.
PROXY = "10.255.0.1"
#: What this machine knows of names.
NAMES = {
    "proxy.example": [PROXY],
    "public.example": ["93.184.216.34"],
    "private.example": ["93.184.216.34", "10.0.0.1"],
    "here.example": ["127.0.1.1"],
    "localhost": ["127.0.0.1"],
    "localhost.": ["127.0.0.1"],
    "127.1": ["127.0.0.1"],
    "10.1": ["10.0.0.1"],
    "167772161": ["10.0.0.1"],
}


def tell(url: str, *, private: bool = False) -> None:
    with Receiver(None, 5.0, private=private) as receiver:
        send(receiver, url, b"{}", {}, HandClock(), 5.0)


def uses(base: str, adapter: SocketAdapter) -> Iterator[tuple[Client, Callable[[], object]]]:
    """Each session of ours with what it asks, in each of the ways in which it does."""
    storage = Storage(HandClock(), adapter, plain=True)
    clock = HandClock()
    api = Fireworks(base, lambda: ApiKey("fw_key"), clock, Gate(clock), adapter)
    session = SessionUri(f"{base}/o?upload_id=U")
    yield storage._session, lambda: storage.start(read_url(f"{base}/o"), 1)
    yield storage._session, lambda: storage.query(session, 1)
    yield storage._session, lambda: storage.send(session, Blocks(b"x"), 0, 1, 1)
    yield storage._session, lambda: storage.put(read_url(f"{base}/o"), Blocks(b"x"), 1)
    yield api._session, lambda: api.get("a", "m")
    yield api._session, lambda: api.create("a", {"modelId": "m"})
    plain = http.Session(adapter, lambda request: request, plain=True)
    yield plain, lambda: plain.get(f"{base}/%7E", timeout=5)
    receiver = Receiver(None, 5.0, private=False)
    yield receiver, lambda: send(receiver, base, b"{}", {}, HandClock(), 5.0)


def test_no_session_keeps_a_cookie(serve: Serve, adapter: SocketAdapter) -> None:
    cookies = {
        "Set-Cookie": "a=b",
        "set-cookie": "c=d; Max-Age=9; Path=/",
        "Location": "https://s/o",
        **OF_STORAGE,
    }
    server = serve(*[Reply(200, cookies, b'{"name": "accounts/a/models/m"}')] * 8)
    count = 0
    for session, ask in uses(server.base, adapter):
        ask()
        count += 1
        assert [*session.cookies] == []
    assert len(server.seen) == count
    assert all("cookie" not in seen.headers for seen in server.seen)


def test_hosts_without_end_are_not_all_remembered(adapter: SocketAdapter) -> None:
    session = http.Session(adapter, lambda request: request, plain=True)
    for number in range(1000):
        session.merge_environment_settings(f"https://h{number}.example/o", {}, None, None, None)
    assert len(session._environment) <= http._MAX_HOSTS


def test_every_session_is_a_client_of_ours() -> None:
    """Nothing else speaks HTTP: neither a session of its own nor a call of the library's."""
    own = {"Session", "get", "post", "put", "patch", "delete", "head", "options", "request"}
    found = []
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "requests":
                found += [path.name] if node.attr in own else []
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("requests"):
                found += [path.name for name in node.names if name.name in own]
            elif isinstance(node, ast.Import | ast.ImportFrom) and "sandbox" not in path.parts:
                names = [getattr(node, "module", None) or "", *(one.name for one in node.names)]
                found += [path.name for name in names if name in ("urllib.request", "httpx")]
    assert found == ["client.py"]
    assert issubclass(Client, requests.Session)


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Names as `NAMES` has them; the proxy is at a private address, and every host is here."""

    def addresses(host: str, port: int) -> list[Address]:
        known = NAMES.get(host) or [host]
        if not known[0][-1].isdigit() or "%" in host:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, (one, port)) for one in known]

    def dial(places: list[Address], *_: object) -> socket.socket:
        return socket.create_connection(("127.0.0.1", places[0][3][1]), 5)

    def behind(proxy: str) -> None:
        for module in (sockets, webhook):
            monkeypatch.setattr(module, "addresses", addresses)
        monkeypatch.setattr(sockets, "dial", dial)
        port = proxy.rpartition(":")[2]
        for variable in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(variable, f"http://proxy.example:{port}")

    return behind


@pytest.mark.parametrize("host", ["public.example", "93.184.216.34", "unknown.example"])
def test_a_receiver_is_told_by_way_of_a_proxy_with_a_private_address(
    serve: Serve, surroundings: Callable[[str], None], host: str
) -> None:
    proxy = serve(Reply(204), Reply(502))
    surroundings(proxy.base)
    tell(f"http://{host}/x")
    with pytest.raises(Undelivered, match="does not answer"):
        tell(f"https://{host}/x")  # it opens no tunnel; what counts is that it was asked
    assert [seen.target for seen in proxy.seen] == [f"http://{host}/x", f"{host}:443"]


PAGES = (
    b"<html><h1>Log in first</h1>...",
    b"<html>",
    b"\n <!DOCTYPE HTML PUBLIC><title>Gone</title>",
)


@pytest.mark.parametrize("status", [200, 201, 410, 500])
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("kind", ["text/html", "application/json"])
def test_a_page_in_place_of_an_answer_of_a_receiver_is_none(
    serve: Serve, surroundings: Callable[[str], None], status: int, page: bytes, kind: str
) -> None:
    proxy = serve(Reply(status, {"Content-Type": kind}, page))
    surroundings(proxy.base)
    with pytest.raises(Undelivered, match="answered"):
        tell("http://public.example/x")
    assert len(proxy.seen) == 1


@pytest.mark.parametrize("body", [b"", b"ok", b"<p>ok</p>", b'{"html": "<html>"}'])
def test_what_is_no_page_is_an_answer_whatever_it_is_called(
    serve: Serve, surroundings: Callable[[str], None], body: bytes
) -> None:
    html = {"Content-Type": "text/html"}
    surroundings(serve(Reply(200, html, body), Reply(410, html, body)).base)
    tell("http://public.example/x")
    with pytest.raises(Gone):
        tell("http://public.example/x")


def test_a_receiver_on_this_machine_may_answer_with_a_page(
    serve: Serve, surroundings: Callable[[str], None]
) -> None:
    server = serve(Reply(200, {}, PAGES[0]), Reply(410, {}, PAGES[0]))
    surroundings(serve().base)
    url = f"http://127.0.0.1:{server.host.rpartition(':')[2]}/"
    tell(url)
    with pytest.raises(Gone):
        tell(url)


PRIVATE = (
    "10.0.0.1", "[fd00::1]", "[::ffff:10.0.0.1]", "[fe80::1%25eth0]", "169.254.169.254",
    "private.example", "10.1", "167772161", "10.0.0.1.", "proxy.example",
)  # fmt: skip


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", PRIVATE)
def test_a_private_receiver_is_refused_before_a_proxy_hears_of_it(
    serve: Serve, surroundings: Callable[[str], None], host: str, scheme: str
) -> None:
    proxy = serve(Reply(204))
    surroundings(proxy.base)
    with pytest.raises(Undelivered, match="allow_private = true"):
        tell(f"{scheme}://{host}/x")
    assert not proxy.seen
    tell(f"http://{host}/x", private=True)
    assert len(proxy.seen) == 1


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("ping", [False, True])
@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.9.9.9", "localhost.", "127.1", "here.example", "[::1]"]
)
def test_a_receiver_on_this_machine_is_told_without_a_proxy(
    serve: Serve, surroundings: Callable[[str], None], *, host: str, ping: bool, private: bool
) -> None:
    proxy, server = serve(Reply(204)), serve(Reply(204))
    surroundings(proxy.base)
    url = f"http://{host}:{server.host.rpartition(':')[2]}/secret"
    with Receiver(None, 5.0, private=private) as receiver:
        send(receiver, url, None if ping else b"{}", {}, HandClock(), 5.0)
    assert not proxy.seen
    assert [seen.target for seen in server.seen] == ["/secret"]


def test_no_words_of_a_receiver_make_it_look_private(serve: Serve) -> None:
    """Who reads the reason would allow private addresses."""
    server = serve(Reply(garbage=b"HTTP/9 its address is private\r\n\r\n"))
    with pytest.raises(Undelivered, match="does not answer"):
        tell(f"{server.base}/x")


def test_no_argument_brings_a_proxy_back_for_this_machine(
    serve: Serve, surroundings: Callable[[str], None], adapter: SocketAdapter
) -> None:
    """Whatever a caller passes, requests reads the environment again."""
    proxy, server = serve(Reply(204)), serve(*[Reply(204)] * 9)
    surroundings(proxy.base)
    sessions: tuple[Any, ...] = (
        Receiver(None, 5.0, private=False),
        http.Session(adapter, lambda request: request, plain=True),
    )
    for session in sessions:
        for given in ({}, None, {"http": proxy.base, "all": proxy.base}):
            session.get(f"http://localhost:{server.host.rpartition(':')[2]}/", proxies=given)
    assert not proxy.seen
    assert len(server.seen) == 6

"""The page's cookie is good for the user who opened the link, and for nobody else."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import subprocess
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from starlette.types import Receive, Scope, Send

from tests.reader import until
from tests.service.conftest import Site
from tests.service.test_doors import link_to
from uploader import wiring
from uploader.cli.app import run
from uploader.service.http import doors, kernel, peer
from uploader.service.http.peer import Peer
from uploader.service.http.tokens import Keeper, new_link

_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says")
#: Asks for the jobs with a cookie, as another user of this machine.
_STRANGER = """\
import encodings.idna, http.client, os, sys
os.setgid(65534); os.setuid(65534)
connection = http.client.HTTPConnection(sys.argv[1])
connection.request("GET", [*sys.argv, "/api/jobs"][3], headers={"Cookie": sys.argv[2]})
print(connection.getresponse().status)
"""


class Asked:
    """Counts what is asked of the kernel, and answers in its place if it has an ``answer``."""

    def __init__(self) -> None:
        self.answer: Callable[[], int | None] | None = None
        self.count = 0

    def __call__(self, there: kernel.End, here: kernel.End) -> int | None:
        self.count += 1
        return kernel.user_at(there, here) if self.answer is None else self.answer()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    made = Asked()
    monkeypatch.setattr(peer, "user_at", made)
    return made


def cookie_of(site: Site) -> str:
    return site.ask(link_to(site), token=None).headers["set-cookie"].partition(";")[0]


@_LINUX
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_the_cookie_of_one_user_lets_no_other_user_in(site: Site) -> None:
    cookie = cookie_of(site)
    command = [sys.executable, "-c", _STRANGER, site.address, cookie]
    stranger = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert stranger.stdout.strip() == "401"
    assert site.ask("/api/jobs", token=None, Cookie=cookie).status == 200


@pytest.mark.parametrize(("shown_by", "known"), [(1000, True), (1001, False), (None, False)])
def test_a_cookie_is_known_from_the_user_it_was_given_to(
    site: Site, asked: Asked, shown_by: int | None, known: bool
) -> None:
    asked.answer = lambda: 1000
    cookie = cookie_of(site)
    asked.answer = lambda: shown_by
    assert (site.ask("/api/jobs", token=None, Cookie=cookie).status == 200) is known


@pytest.mark.parametrize("shown_by", [1000, 0, None])
def test_a_cookie_given_where_the_system_does_not_say_who_asks_is_known_from_everybody(
    site: Site, asked: Asked, shown_by: int | None
) -> None:
    asked.answer = lambda: None
    cookie = cookie_of(site)
    asked.answer = lambda: shown_by
    assert site.ask("/api/jobs", token=None, Cookie=cookie).status == 200


@pytest.fixture
def opened(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The path of the link that a browser is started with, which any user can read meanwhile."""
    links: list[str] = []

    def browser(link: str) -> bool:
        links.append(link)
        return True

    monkeypatch.setattr(webbrowser, "open", browser)
    monkeypatch.setenv("UPLOADER_STATE_DIR", str(site.settings.state_dir))
    assert run(["dashboard", "--open"]) == 0
    assert links[0] != capsys.readouterr().out.strip()
    return links[0].partition(site.address)[2]


@_LINUX
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_what_a_browser_is_started_with_is_good_for_no_other_user(site: Site, opened: str) -> None:
    command = [sys.executable, "-c", _STRANGER, site.address, "", opened]
    stranger = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert stranger.stdout.strip() == "403"
    assert site.ask(opened, token=None).status == 303


@pytest.mark.parametrize(("asks", "good"), [(1000, True), (1001, False), (0, False), (None, True)])
def test_a_link_for_a_user_is_good_for_no_other_one(asks: int | None, good: bool) -> None:
    """If the system does not say who asks, nobody is kept out."""
    link = new_link("t" * 40, "127.0.0.1:2", CLOCK.now(), 1000)
    assert (KEEPER.redeem(link, "127.0.0.1:2", asks) is not None) is good
    assert (KEEPER.redeem(link, "127.0.0.1:2", 1000) is not None) is not good
    assert KEEPER.redeem(link.replace("~1000", "~1001"), "127.0.0.1:2", 1001) is None
    assert KEEPER.redeem(link.replace("~1000", ""), "127.0.0.1:2", 1001) is None


@pytest.mark.parametrize("turned", ["1000", "1001", ""])
def test_who_a_cookie_is_for_cannot_be_changed(turned: str) -> None:
    cookie = given_to(1000)
    assert KEEPER.owner_of(cookie) == "1000"
    assert KEEPER.owner_of(cookie.replace("~1000", f"~{turned}")) in (None, turned and "1000")
    assert KEEPER.owner_of(cookie.replace("~1000", "")) is None


def test_nothing_is_asked_of_the_kernel_for_a_stranger(site: Site, asked: Asked) -> None:
    """The links and cookies of whoever has none are refused by their looks."""
    used = link_to(site)
    name, _, cookie = cookie_of(site).partition("=")
    assert site.ask(used, token=None).status == 303
    asked.count = 0
    for link in ("/open/x", used, f"{used}x", "/open/1.~0.x", link_to(site)[:-1]):
        assert site.ask(link, token=None).status == 403
    for one in ("x", "", cookie[:-1], cookie.replace("~", "~1"), "1.~1000.x"):
        assert site.ask("/api/jobs", token=None, Cookie=f"{name}={one}").status == 401
    assert {site.ask(path, token=None).status for path in ("/livez", "/readyz")} == {200}
    assert asked.count == 0


def test_of_one_name_only_so_many_cookies_are_looked_at(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is no secret: a browser sends it to every port of this host."""
    name, _, _ = cookie_of(site).partition("=")
    held: list[str] = []
    monkeypatch.setattr(Keeper, "_holds", lambda _self, _purpose, text: held.append(text))
    assert site.ask("/api/jobs", token=None, Cookie=f"{name}=1.x.x;" * 800).status == 401
    assert len(held) == doors._MAX_COOKIES


@_LINUX
def test_the_user_of_a_connection_is_asked_once(site: Site, asked: Asked) -> None:
    cookie = cookie_of(site)
    asked.count = 0
    connection = site.connect()
    for _ in range(3):
        connection.request("GET", "/api/jobs", headers={"Cookie": cookie})
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True)
    connection.close()
    assert asked.count == 1


def test_a_kernel_that_does_not_answer_holds_up_nobody_else(
    site: Site, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = cookie_of(site)
    monkeypatch.setattr(peer, "_PATIENCE_S", 0.2)
    goes_on = threading.Event()
    asked.answer = lambda: int(goes_on.wait(30))
    try:
        held_up = [site.connect() for _ in range(50)]
        for one in held_up:
            one.request("GET", "/api/jobs", headers={"Cookie": cookie})
        assert site.ask("/livez", token=None).status == 200
        assert {site.ask(path).status for path in ("/api/jobs", "/readyz")} == {200}
        assert {one.getresponse().status for one in held_up} == {429}
    finally:
        goes_on.set()
    for one in held_up:
        one.close()


def test_who_cannot_be_found_out_now_is_let_in_by_no_link_and_no_cookie(
    site: Site, asked: Asked
) -> None:
    cookie = cookie_of(site)

    def out_of_memory() -> int:
        raise OSError(errno.ENOBUFS, "no buffer space")

    asked.answer = out_of_memory
    link = link_to(site)
    assert site.ask("/api/jobs", token=None, Cookie=cookie).status == 429
    assert site.ask(link, token=None).status == 429
    asked.answer = None
    assert site.ask(link, token=None).status == 303


CLOCK = wiring.clock()
KEEPER = Keeper("t" * 40, CLOCK)


def given_to(user: int | None) -> str:
    link = new_link("t" * 40, "127.0.0.1:2", CLOCK.now())
    cookie = KEEPER.redeem(link, "127.0.0.1:2", user)
    assert cookie is not None
    return cookie


@contextmanager
def ends(
    family: socket.AddressFamily, listen: str, to: str
) -> Iterator[tuple[socket.socket, Peer]]:
    """Our end of a connection to ourselves, and who is at the other end of the server's."""
    with socket.socket(family) as listener:
        listener.bind((listen, 0))
        listener.listen()
        ours = socket.create_connection((to, listener.getsockname()[1]))
        server, _ = listener.accept()
        with ours, server:
            yield ours, Peer(server, server.getsockname()[:2], server.getpeername()[:2])


@_LINUX
@pytest.mark.parametrize(
    ("family", "listen", "to"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET, "0.0.0.0", "127.0.0.1"),
        (socket.AF_INET6, "::", "127.0.0.1"),
        (socket.AF_INET6, "::", "::ffff:127.0.0.1"),
        (socket.AF_INET6, "::1", "::1"),
    ],
)
def test_the_user_of_a_connection_is_found(
    family: socket.AddressFamily, listen: str, to: str
) -> None:
    with ends(family, listen, to) as (_, found):
        assert asyncio.run(found.user()) == os.geteuid()


@_LINUX
def test_a_connection_that_its_user_has_left_is_nobodys() -> None:
    """The kernel lists it as root's until it has forgotten it."""
    with ends(socket.AF_INET, "127.0.0.1", "127.0.0.1") as (ours, found):
        ours.close()
        with pytest.raises(ConnectionAbortedError):
            asyncio.run(found.user())
    with pytest.raises(ConnectionAbortedError):
        asyncio.run(found.user())


def is_listed(found: Peer) -> bool:
    """Does the kernel still know anything of the other end?"""
    here, there = peer._end(found.here), peer._end(found.there)
    assert here is not None
    assert there is not None
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, kernel._NETLINK_SOCK_DIAG) as asked:
        asked.bind((0, 0))
        return any(one.own == there for one in kernel._answers(asked, there, here))


@_LINUX
def test_nor_is_one_whose_other_end_the_kernel_has_forgotten() -> None:
    """It forgets one that was closed at once if there are many, or if its user asked for that."""
    with ends(socket.AF_INET, "127.0.0.1", "127.0.0.1") as (ours, found):
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, 1)
        ours.close()
        until(lambda: not is_listed(found))
        with pytest.raises(ConnectionAbortedError):
            asyncio.run(found.user())


@_LINUX
def test_a_connection_whose_two_ends_are_those_of_the_next_one_is_nobodys() -> None:
    """Whoever resets theirs leaves the number of its port to the next one who connects."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # From an address of its own: of 127.0.0.1 others may take the number first.
        first = socket.create_connection(listener.getsockname(), source_address=("127.9.8.7", 0))
        server, there = listener.accept()
        reset(first)
        with server, socket.socket() as second:
            second.bind(there)
            second.connect(listener.getsockname())
            with listener.accept()[0] as its_own:
                here = server.getsockname()
                assert asyncio.run(Peer(its_own, here, there).user()) == os.geteuid()
                with pytest.raises(ConnectionAbortedError):
                    asyncio.run(Peer(server, here, there).user())


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@_LINUX
def test_a_cookie_does_nothing_over_a_connection_that_was_reset(
    site: Site, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a body of more than 64 KiB, the server does not notice the reset by itself."""
    cookie, sent, ended = cookie_of(site), threading.Event(), threading.Event()
    limits = site.ask("/api/limits").json
    connection = site.connect()
    connection.connect()

    def owner() -> int:
        assert sent.wait(30)
        reset(connection.sock)
        return os.geteuid()

    answer = doors.Doors.__call__

    async def answered(self: doors.Doors, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await answer(self, scope, receive, send)
        finally:
            ended.set()

    monkeypatch.setattr(doors.Doors, "__call__", answered)
    asked.answer = owner
    body = b'{"files": 3}' + b" " * 67_000
    headers = {"Cookie": cookie, "Content-Type": "application/json"}
    connection.request("POST", "/api/limits", body, headers)
    sent.set()
    assert ended.wait(30)
    assert site.ask("/api/limits").json == limits


@pytest.mark.parametrize(
    ("here", "there"),
    [(None, ("127.0.0.1", 1)), (("name", 1), ("name", 2)), (("/path", None),) * 2],
)
def test_what_is_no_connection_over_ip_is_nobodys(
    here: peer.Address | None, there: peer.Address
) -> None:
    with socket.socket() as ours:
        assert asyncio.run(Peer(ours, here, there).user()) is None


def test_a_cookie_is_for_https_alone_if_a_proxy_does_tls(site: Site) -> None:
    assert "secure" not in site.ask(link_to(site), token=None).headers["set-cookie"].lower()
    site.stop()
    api = site.settings.api.model_copy(update={"behind_proxy": True})
    site.settings = site.settings.model_copy(update={"api": api})
    site.start()
    assert "secure" in site.ask(link_to(site), token=None).headers["set-cookie"].lower()

"""The page's cookie is good for the user who opened the link, and for nobody else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import webbrowser
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.service.conftest import Site
from tests.service.test_doors import link_to
from uploader import wiring
from uploader.cli.app import run
from uploader.service.http import peer
from uploader.service.http.peer import Peer
from uploader.service.http.tokens import Keeper, new_link

_LINUX = pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="only Linux says")
#: Asks for the jobs with a cookie, as another user of this machine.
_STRANGER = """\
import encodings.idna, http.client, os, sys
os.setgid(65534); os.setuid(65534)
connection = http.client.HTTPConnection(sys.argv[1])
connection.request("GET", [*sys.argv, "/api/jobs"][3], headers={"Cookie": sys.argv[2]})
print(connection.getresponse().status)
"""


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
def test_a_cookie_is_known_from_the_user_it_was_given_to(shown_by: int | None, known: bool) -> None:
    cookie = given_to(1000)
    assert KEEPER.knows_cookie(cookie, lambda: shown_by) is known


@pytest.mark.parametrize("shown_by", [1000, 0, None])
def test_a_cookie_given_where_the_system_does_not_say_who_asks_is_known_from_everybody(
    shown_by: int | None,
) -> None:
    assert KEEPER.knows_cookie(given_to(None), lambda: shown_by)


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
    assert KEEPER.knows_cookie(cookie.replace("~1000", f"~{turned}"), lambda: 1001) is False
    assert KEEPER.knows_cookie(cookie.replace("~1000", ""), lambda: 1001) is False


def test_for_a_strangers_cookie_no_socket_is_looked_up() -> None:
    def look_up() -> int:
        raise AssertionError("it was")

    cookie = given_to(1000)
    for one in ("x", "", cookie[:-1], cookie.replace("1000", "1001"), "1.~1000.x"):
        assert not KEEPER.knows_cookie(one, look_up)


@_LINUX
def test_the_socket_of_a_connection_is_looked_up_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = cookie_of(site)
    look_up = Mock(wraps=peer._user)
    monkeypatch.setattr(peer, "_user", look_up)
    connection = site.connect()
    for _ in range(3):
        connection.request("GET", "/api/jobs", headers={"Cookie": cookie})
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True)
    connection.close()
    assert look_up.call_count == 1


CLOCK = wiring.clock()
KEEPER = Keeper("t" * 40, CLOCK)


def given_to(user: int | None) -> str:
    link = new_link("t" * 40, "127.0.0.1:2", CLOCK.now())
    cookie = KEEPER.redeem(link, "127.0.0.1:2", user)
    assert cookie is not None
    return cookie


def ends(family: socket.AddressFamily, listen: str, to: str) -> tuple[socket.socket, Peer]:
    """Our end of a connection to ourselves, and who is at the other end of the server's."""
    with socket.socket(family) as listener:
        listener.bind((listen, 0))
        listener.listen()
        ours = socket.create_connection((to, listener.getsockname()[1]))
        server, _ = listener.accept()
    with server:
        return ours, Peer(server.getsockname()[:2], server.getpeername()[:2])


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
    ours, found = ends(family, listen, to)
    with ours:
        assert found.user() == os.geteuid()


@_LINUX
def test_a_connection_that_its_user_has_left_is_nobodys() -> None:
    """The kernel lists it as root's until it has forgotten it."""
    ours, found = ends(socket.AF_INET, "127.0.0.1", "127.0.0.1")
    ours.close()
    deadline = time.monotonic() + 10
    while Peer(found.here, found.there).user() is not None:
        assert time.monotonic() < deadline
    assert found.user() is None


def test_a_system_that_says_nothing_names_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "TABLES", (tmp_path / "tcp",))
    ours, found = ends(socket.AF_INET, "127.0.0.1", "127.0.0.1")
    with ours:
        assert found.user() is None
    assert Peer(None, ("127.0.0.1", 1)).user() is None
    assert Peer(("name", 1), ("name", 2)).user() is None


def test_a_cookie_is_for_https_alone_if_a_proxy_does_tls(site: Site) -> None:
    assert "secure" not in site.ask(link_to(site), token=None).headers["set-cookie"].lower()
    site.stop()
    api = site.settings.api.model_copy(update={"behind_proxy": True})
    site.settings = site.settings.model_copy(update={"api": api})
    site.start()
    assert "secure" in site.ask(link_to(site), token=None).headers["set-cookie"].lower()

"""Who is let in, and what no answer goes without."""

from __future__ import annotations

import http.client
import json
import socket
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.service.conftest import Site
from uploader import wiring
from uploader.runtime import Clock
from uploader.service.http.door import link_of
from uploader.service.http.doors import MAX_BODY_BYTES, Bucket
from uploader.service.http.tokens import Keeper, new_link


class Still:
    """A clock that stands still until it is moved."""

    at = 0.0

    def boot_s(self) -> float:
        return self.at


class Moved:
    """A clock that somebody sets."""

    def __init__(self, own: Clock) -> None:
        self._own = own
        self.by = timedelta()

    def now(self) -> datetime:
        return self._own.now() + self.by

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


def test_without_the_token_nothing_but_health_is_answered(site: Site) -> None:
    paths = ("/", "/api/jobs", "/api/openapi.json", "/metrics", "/api/events", "/nothing", "/docs")
    assert {path: site.ask(path, token=None).status for path in paths} == dict.fromkeys(paths, 401)
    assert {site.ask(path, token=None).status for path in ("/livez", "/readyz")} == {200}
    assert site.ask("/api/jobs", {}, token=None).status == 401


@pytest.mark.parametrize("token", ["x", "0" * 43, "é" * 40, "Bearer", " "])
def test_a_wrong_token_is_refused_with_a_problem_document(site: Site, token: str) -> None:
    answer = site.ask("/api/jobs", token=token.encode("latin-1", "replace").decode("latin-1"))
    assert (answer.status, answer.headers["content-type"]) == (401, "application/problem+json")
    assert (answer.json["code"], answer.json["status"]) == ("unauthorized", 401)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert token.strip() == "" or token not in answer.text or token == "Bearer"


def test_a_token_in_the_query_lets_nobody_in(site: Site) -> None:
    assert (
        site.ask(f"/api/jobs?token={site.token}&access_token={site.token}", token=None).status
        == 401
    )


def test_wrong_tokens_do_not_lock_out_the_right_one(site: Site) -> None:
    answers = [site.ask("/api/jobs", token="wrong").status for _ in range(60)]
    assert set(answers) == {401, 429}
    assert {site.ask("/api/jobs").status for _ in range(60)} == {200}


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.7",
        "",
        "[::",
        "a@localhost.x",
    ],
)
def test_a_foreign_host_is_refused_although_the_token_is_right(site: Site, host: str) -> None:
    answer = site.ask("/api/jobs", Host=host)
    assert answer.status in (400, 403)
    assert answer.status == 400 or answer.json["code"] == "foreign_host"


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:1", "LOCALHOST:8642", "[::1]:9", "127.9.9.9"]
)
def test_every_name_of_this_machine_is_ours_also_through_a_tunnel(site: Site, host: str) -> None:
    assert site.ask("/api/jobs", Host=host).status == 200


def test_two_hosts_are_one_too_many(site: Site) -> None:
    head = "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert raw(site, head.encode()).startswith((b"HTTP/1.1 403", b"HTTP/1.1 400"))


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:1", "http://localhost", "", "nonsense"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_foreign_origin_is_refused(site: Site, origin: str, method: str) -> None:
    answer = site.ask("/api/jobs", method=method, Origin=origin)
    assert (answer.status, answer.json["code"]) == (403, "foreign_origin")
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("where", ["same-site", "cross-site"])
@pytest.mark.parametrize(
    ("path", "mode", "dest", "status"),
    [
        ("/api/events?wait=0", "no-cors", "empty", 403),
        ("/api/events?wait=0", "no-cors", "image", 403),
        ("/api/events?wait=0", "cors", "empty", 403),
        ("/api/events?wait=0", "navigate", "iframe", 403),
        ("/api/events?wait=0", "navigate", "document", 403),
        ("/livez", "navigate", "iframe", 403),
        ("/livez", "navigate", "document", 200),
    ],
)
def test_another_page_may_lead_here_and_ask_nothing(
    site: Site, where: str, path: str, mode: str, dest: str, status: int
) -> None:
    """A question whose answer it may not read has no Origin, and comes with our cookie."""
    asked = {"Sec-Fetch-Site": where, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
    assert site.ask(path, **asked).status == status


def test_our_own_origin_is_not_foreign(site: Site) -> None:
    assert site.ask("/api/jobs", Origin=f"http://{site.address}").status == 200


def test_a_large_body_is_refused_before_it_is_read(site: Site) -> None:
    head = (
        f"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {site.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"
    )
    assert raw(site, head.encode()).startswith(b"HTTP/1.1 413")


def test_a_body_of_unknown_length_is_counted(site: Site) -> None:
    connection = site.connect()
    headers = {"Authorization": f"Bearer {site.token}", "Content-Type": "application/json"}
    try:
        connection.request(
            "POST", "/api/jobs", iter([b" " * 100_000] * 20), headers, encode_chunked=True
        )
    except (BrokenPipeError, ConnectionResetError):
        return  # refused before it was all sent
    assert connection.getresponse().status == 413
    connection.close()


def test_a_small_body_of_unknown_length_is_read(site: Site) -> None:
    connection = site.connect()
    headers = {"Authorization": f"Bearer {site.token}", "Content-Type": "application/json"}
    body = json.dumps({"path": "/etc"}).encode()
    connection.request(
        "POST", "/api/jobs", iter([body[:5], body[5:]]), headers, encode_chunked=True
    )
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (403, "outside_roots")
    connection.close()


def test_a_body_that_is_not_json_is_refused(site: Site) -> None:
    form = site.ask("/api/jobs", b"path=x", Content_Type="application/x-www-form-urlencoded")
    assert (form.status, form.json["code"]) == (415, "not_json")
    assert site.ask("/api/jobs", b"{", Content_Type="application/json").status == 422


def test_no_answer_goes_without_its_guards(site: Site) -> None:
    for path, token in (
        ("/", ""),
        ("/api/jobs", ""),
        ("/api/jobs", None),
        ("/livez", None),
        ("/x", ""),
    ):
        headers = {
            name.lower(): value for name, value in site.ask(path, token=token).headers.items()
        }
        policy = headers["content-security-policy"]
        assert "default-src" in policy
        assert "frame-ancestors 'none'" in policy
        assert not {"unsafe-", "http:", "https:", "*"} & {
            part for part in ("unsafe-", "http:", "https:", "*") if part in policy
        }
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_the_right_token_may_ask_fifty_times_a_second() -> None:
    clock: Any = Still()
    bucket = Bucket(100.0, clock)
    for _ in range(20):
        assert all(bucket.take() for _ in range(50))
        clock.at += 1.0
    assert not all(bucket.take() for _ in range(1000))


def test_a_link_opens_the_page_once(site: Site) -> None:
    link = link_to(site)
    first = site.ask(link, token=None)
    cookie = first.headers["set-cookie"].partition(";")[0]
    assert first.status == 303
    assert {"HttpOnly", "SameSite=strict"} <= {
        part.strip() for part in first.headers["set-cookie"].split(";")
    }
    assert site.token not in link + cookie
    assert site.ask("/api/jobs", token=None, Cookie=cookie).status == 200
    second = site.ask(link, token=None)
    assert (second.status, second.json["code"], "set-cookie" in second.headers) == (
        403,
        "link_used",
        False,
    )
    site.stop()
    site.start()
    assert site.ask("/api/jobs", token=None, Cookie=cookie).status == 200
    assert site.ask(link, token=None).status == 403
    assert site.ask("/api/jobs", token=None, Cookie=cookie[:-1]).status == 401
    assert site.ask("/api/jobs", token=None, Cookie=cookie.replace("=", "=9", 1)).status == 401


def test_the_page_is_where_nobody_can_have_answered_anything_before(site: Site) -> None:
    """What a browser has kept of another program at this address is neither asked for nor left."""
    opened = site.ask(link_to(site), token=None)
    assert opened.headers["clear-site-data"] == '"cache", "storage"'
    place = opened.headers["location"]
    assert "app.js" in site.ask(place).text
    assert site.ask(f"{place}app.js").headers["cache-control"] == "no-cache"
    assert {site.ask(path).status for path in ("/index.html", "/app.js", place[:-1])} == {404}
    assert site.ask(f"{place}app.js", token=None).status == 401
    site.stop()
    site.start()
    for earlier in ("/", place):
        answer = site.ask(earlier)
        assert (answer.status, answer.headers["cache-control"]) == (303, "no-store")
        assert answer.headers["location"] not in ("/", place)
        assert site.ask(answer.headers["location"]).status == 200


def test_a_link_of_another_address_or_another_token_is_not_ours() -> None:
    clock = wiring.clock()
    keeper = Keeper("t" * 40, clock)
    assert keeper.redeem(new_link("t" * 40, "127.0.0.1:1", clock.now()), "127.0.0.1:2") is None
    assert keeper.redeem(new_link("u" * 40, "127.0.0.1:2", clock.now()), "127.0.0.1:2") is None
    assert keeper.redeem(new_link("t" * 40, "127.0.0.1:2", clock.now()), "127.0.0.1:2")


@pytest.mark.parametrize("hours", [-24 * 100, -1, 0, 1])
def test_a_clock_that_is_set_right_refuses_no_link(hours: int) -> None:
    clock = Moved(wiring.clock())
    keeper = Keeper("t" * 40, clock)
    early = new_link("t" * 40, "127.0.0.1:2", clock.now() - timedelta(seconds=1))
    clock.by = timedelta(hours=hours)
    assert keeper.redeem(new_link("t" * 40, "127.0.0.1:2", clock.now()), "127.0.0.1:2")
    if not hours:
        assert keeper.redeem(early, "127.0.0.1:2") is None, "it may have been used"


def link_to(site: Site) -> str:
    return link_of(site.settings, wiring.clock().now()).partition(site.address)[2]


def raw(site: Site, request: bytes) -> bytes:
    host, _, port = site.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(request)
        return connection.recv(100_000)


def test_nonsense_is_no_bug(site: Site) -> None:
    for request in (b"\0\0\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        assert raw(site, request)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 403", b"")
    assert site.ask("/api/jobs").status == http.client.OK

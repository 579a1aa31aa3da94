"""What somebody without the token can do to the daemon: nothing but be refused."""

from __future__ import annotations

import logging
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.linear import peak_bytes
from tests.service.conftest import Site, is_closed, opened
from uploader.service.http import accept, connection, doors, ready

#: A cookie that takes the standard library's reading of cookies a time beyond proportion.
_AWKWARD = 'a="' + '\\"' * 20_000 + '"'


@pytest.mark.parametrize("path", ["/api/jobs", "/livez", "/open/x"])
def test_a_cookie_is_read_in_linear_time(site: Site, path: str) -> None:
    site.ask("/livez")
    begun_s = time.process_time()
    site.ask(path, token=None, Cookie=_AWKWARD)
    assert time.process_time() - begun_s < 1.0


def test_the_right_cookie_is_found_among_others(site: Site) -> None:
    from tests.service.test_doors import link_to  # noqa: PLC0415 - the only one that needs it

    answer = site.ask(link_to(site), token=None)
    ours = answer.headers["set-cookie"].partition(";")[0]
    for cookies in (f"a=b; {ours}", f'{ours}; x="\\";', f"=;;{ours};;", f"{_AWKWARD};{ours}"):
        assert site.ask("/api/jobs", token=None, Cookie=cookies).status == 200
    assert site.ask("/api/jobs", token=None, Cookie=f"x{ours}").status == 401


@pytest.mark.parametrize(
    "origin", ["http://[", "http://[::1", "http://\uff03".encode().decode("latin-1")]
)
def test_an_origin_that_cannot_be_read_is_foreign(site: Site, origin: str) -> None:
    answer = site.ask("/api/jobs", token=None, Origin=origin)
    assert (answer.status, answer.json["code"]) == (403, "foreign_origin")


@pytest.mark.parametrize("length", ["9" * 10, "0" * 12 + "9" * 8, "9" * 19])
def test_a_length_is_read_to_its_end(site: Site, length: str) -> None:
    head = (
        f"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {site.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
    with opened(site) as one:
        one.sendall(head.encode())
        assert one.recv(100).startswith(b"HTTP/1.1 413")


def test_nobody_can_make_the_daemon_look_dead(site: Site) -> None:
    """A supervisor that is answered 429 would restart a worker that does its work."""
    asked = ("/livez", "/readyz") * 60
    assert {site.ask(path, token=None).status for path in asked} == {200}


def test_whoever_asks_often_if_it_is_ready_costs_the_store_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def last_event(jobs: object) -> int:
        asked.append(jobs)
        return 0

    monkeypatch.setattr(ready, "_HOLDS_S", 3600.0)
    monkeypatch.setattr(type(site.jobs), "last_event", last_event)
    assert {site.ask("/readyz", token=None).status for _ in range(60)} == {200}
    assert len(asked) == 1


def test_who_asks_if_it_is_ready_while_the_store_hangs_takes_one_thread(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready, "_HOLDS_S", 3600.0)
    asked, goes_on = threading.Semaphore(0), threading.Event()

    def hang(_: object) -> int:
        asked.release()
        return int(goes_on.wait(60))

    monkeypatch.setattr(type(site.jobs), "last_event", hang)
    with ExitStack() as stack:
        waiting = [stack.enter_context(closing(site.connect())) for _ in range(50)]
        stack.callback(goes_on.set)
        for one in waiting:
            one.request("GET", "/readyz")
        assert asked.acquire(timeout=30)
        waiting.pop().close()
        alive = stack.enter_context(closing(site.connect()))
        alive.request("GET", "/livez")
        assert alive.getresponse().status == 200
        goes_on.set()
        assert {one.getresponse().status for one in waiting} == {200}
    assert not asked.acquire(blocking=False), "one question for all"


def test_what_waits_for_the_store_does_not_make_the_daemon_look_dead(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are 40 threads for what waits, and here they all do."""
    goes_on = threading.Event()
    monkeypatch.setattr(type(site.jobs), "last_event", lambda _: int(goes_on.wait(60)))
    with ExitStack() as stack:
        stack.callback(goes_on.set)
        for _ in range(50):
            one = stack.enter_context(closing(site.connect()))
            one.request("GET", "/api/jobs", headers={"Authorization": f"Bearer {site.token}"})
        for _ in range(3):
            alive = stack.enter_context(closing(site.connect()))
            alive.request("GET", "/livez")
            assert alive.getresponse().status == 200


def test_strangers_who_ask_too_often_keep_nobody_from_opening_a_link(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.service.test_doors import link_to  # noqa: PLC0415 - as above

    monkeypatch.setattr(doors, "_STRANGERS_PER_S", 0.0)  # as if they had used it all up
    link = link_to(site)
    assert site.ask(f"{link}x", token=None).status == 429
    assert site.ask(link, token=None).status == 303
    assert site.ask(link, token=None).status == 429


_HEAD = b"POST /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "begun",
    [b"", b"GET /livez HTTP/1.1\r\nHost: lo", _HEAD + b"5\r\nab"],
    ids=["nothing", "half a head", "half a body"],
)
def test_who_does_not_finish_a_request_is_cut_off(
    site: Site, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PATIENCE_S", 0.3)
    with opened(site) as one:
        one.sendall(begun)
        assert is_closed(one)


def test_a_body_that_does_not_end_is_cut_off_whoever_sends_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PATIENCE_S", 0.3)
    known = f"Authorization: Bearer {site.token}\r\nTransfer-Encoding".encode()
    with opened(site) as one:
        one.sendall(_HEAD.replace(b"Transfer-Encoding", known) + b"5\r\nab")
        assert is_closed(one)


def test_a_stranger_gets_one_answer_a_connection(site: Site) -> None:
    request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = b""
    with opened(site) as one, suppress(ConnectionResetError):
        one.sendall(request * 3)
        while part := one.recv(4096):
            answer += part
    assert answer.count(b"HTTP/1.1 200") == 1


_OUR_FILES = Path("/proc/self/fd")
_FLOOD = """
import socket, sys
mine = []
while True:
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex((sys.argv[1], int(sys.argv[2])))
    mine.append(one)
    if len(mine) == 500:
        mine.pop(0).close()
"""


_ASK = """
import http.client, sys
answers, late = 0, 0
while answers < 20:
    one = http.client.HTTPConnection(sys.argv[1], timeout=3)
    try:
        one.connect()
    except TimeoutError:
        continue  # the kernel's queue was full each time it asked: the flood has more processor
    one.sock.settimeout(30)
    try:
        one.request("GET", "/livez")
        print(one.getresponse().status)
    except ConnectionError:
        late += 1  # nobody let it run between connecting and asking: it was the oldest silent one
        assert late < 5
    else:
        answers += 1
    one.close()
"""


@pytest.mark.long
def test_connections_without_a_pause_keep_nobody_out_and_take_few_files(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    accepted = connection.Connection.accepted

    def watched(self: connection.Connection, transport: object) -> None:
        made.append(len(self.connections))
        accepted(self, transport)

    monkeypatch.setattr(connection.Connection, "accepted", watched)
    files = sum(1 for _ in _OUR_FILES.iterdir())
    with subprocess.Popen([sys.executable, "-c", _FLOOD, *site.address.rsplit(":", 1)]) as flood:
        try:
            asked = [sys.executable, "-c", _ASK, site.address]
            done = subprocess.run(asked, capture_output=True, text=True, timeout=150, check=False)
            assert (done.stdout.split(), done.stderr) == (["200"] * 20, "")
            most = connection.MAX_CONNECTIONS + accept._MOST_WAITING + accept._AT_ONCE
            assert sum(1 for _ in _OUR_FILES.iterdir()) - files < most
        finally:
            flood.kill()
    assert made


@pytest.mark.parametrize("path", [b"/livez", b"/api/jobs", b"/none"])
def test_a_body_of_countless_chunks_ends_the_connection(site: Site, path: bytes) -> None:
    begun_s = time.process_time()
    with opened(site) as one, suppress(BrokenPipeError, ConnectionResetError):
        one.sendall(_HEAD.replace(b"/livez", path))
        for _ in range(100):
            one.sendall(b"1\r\na\r\n" * 10_000)
        pytest.fail("it was all read")
    assert time.process_time() - begun_s < 3.0  # all of them take more than ten


@pytest.mark.parametrize("head", [_HEAD.removesuffix(b"\r\n"), _HEAD + b"0\r\n"])
@pytest.mark.parametrize("at_once", [True, False])
def test_countless_lines_end_the_connection_and_take_no_memory(
    site: Site, head: bytes, *, at_once: bool
) -> None:
    """Of a head, or after the last chunk of a body."""
    lines = b"a:\r\n" * 12_000
    step = len(lines) if at_once else 1000
    before = peak_bytes(lambda: site.ask("/livez", token=None))

    def send() -> None:
        with opened(site) as one, suppress(BrokenPipeError, ConnectionResetError):
            one.sendall(head)
            for start in range(0, len(lines), step):
                one.sendall(lines[start : start + step])
            one.sendall(b"\r\n")
            answer = one.recv(12)
            assert answer in (b"HTTP/1.1 400", b"HTTP/1.1 405")
            assert is_closed(one)

    assert peak_bytes(send) < before + 500_000


def test_requests_without_a_pause_are_all_answered(site: Site) -> None:
    """However many lines have come by then."""
    shown = f"Authorization: Bearer {site.token}\r\n"
    request = f"GET /livez HTTP/1.1\r\nHost: localhost\r\n{shown}\r\n".encode()
    answer = b""
    with opened(site) as one:
        one.sendall(request * 300)
        while answer.count(b"HTTP/1.1 200") < 300:
            answer += one.recv(65_536)


@pytest.mark.parametrize("count", [100, 4_000])
def test_a_body_of_sensible_chunks_is_read(site: Site, count: int) -> None:
    found = site.connect()
    chunks = iter([b" " * 64] * count + [b'{"path":"/etc"}'])
    with closing(found):
        token = {"Authorization": f"Bearer {site.token}", "Content-Type": "application/json"}
        found.request("POST", "/api/jobs", chunks, token, encode_chunked=True)
        assert found.getresponse().status == 403


@pytest.mark.parametrize("path", [b"/livez", b"/readyz", b"/open/x"])
def test_the_body_of_a_stranger_fills_no_memory(site: Site, path: bytes) -> None:
    """It is answered before the body has come."""
    with opened(site) as one:
        one.sendall(_HEAD.replace(b"/livez", path) + b"5\r\nab")
        assert one.recv(12) in (b"HTTP/1.1 405", b"HTTP/1.1 403")


def test_who_waits_for_an_answer_is_not_cut_off(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PATIENCE_S", 0.2)
    since = site.ask("/api/jobs").json["last_event"]
    assert site.ask(f"/api/events?since={since}&wait=1").status == 200


def test_silent_connections_keep_nobody_out_and_take_no_more_files(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 8)
    with ExitStack() as stack:
        silent = [stack.enter_context(opened(site)) for _ in range(20)]
        assert site.ask("/api/jobs").status == 200
        assert all(is_closed(one) for one in silent[:12])
        assert {site.ask("/api/jobs").status for _ in range(10)} == {200}


@contextmanager
def unread(site: Site) -> Iterator[socket.socket]:
    """A connection whose answers nobody reads: no more of them can be written."""
    page = site.ask("/").headers["location"]
    host, _, port = site.address.rpartition(":")
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        one.connect((host, int(port)))
        one.settimeout(1)
        shown = f"Authorization: Bearer {site.token}\r\n"  # a stranger gets one answer
        request = f"GET {page}app.js HTTP/1.1\r\nHost: localhost\r\n{shown}\r\n".encode()
        with suppress(TimeoutError, ConnectionResetError):  # nothing more is read, either
            while True:
                one.sendall(request * 1000)
        yield one


def test_who_reads_no_answer_keeps_nobody_out(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 2)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(unread(site))
        assert {site.ask("/livez", token=None).status for _ in range(3)} == {200}
        assert {site.ask("/api/jobs").status for _ in range(3)} == {200}


#: It is cut off at once if nothing else is to be done.
DEADLINE_MS = 120_000


def test_who_reads_no_answer_is_cut_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE_S", 0.3)
    with unread(site) as one:
        ended = select.poll()
        ended.register(one, 0)  # a reset alone: what is read would be a sign of life
        assert ended.poll(DEADLINE_MS)  # it first answers what was asked, on a busy machine


def test_one_too_many_ends_the_oldest_that_showed_no_token(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 3)
    asked = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
    shown = f"Authorization: Bearer {site.token}\r\n\r\n".encode()
    with opened(site) as known, opened(site) as oldest, opened(site) as older:
        known.sendall(asked + shown)
        assert known.recv(12) == b"HTTP/1.1 200"
        oldest.sendall(asked)
        assert site.ask("/livez", token=None).status == 200  # a turn of the loop later
        older.sendall(asked)
        assert site.ask("/livez").status == 200
        with opened(site) as newest:
            newest.sendall(asked)
            assert is_closed(oldest)
            assert not is_closed(known, 0.1)
            assert not is_closed(older, 0.1)


def test_nonsense_of_a_stranger_is_not_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), opened(site) as one:
        one.sendall(b"GET\r\n\r\n")
        assert one.recv(100).startswith(b"HTTP/1.1 400")
    assert [one for one in caplog.records if one.name.startswith("uvicorn")] == []


@pytest.mark.parametrize("path", [b"/x", b"/livez", b"/open/"])
@pytest.mark.parametrize("size", [b"zz", b"-1", b"\xff"])
@pytest.mark.parametrize("later", [False, True])
def test_a_body_that_is_none_is_not_logged_and_ends_the_connection(
    site: Site, caplog: pytest.LogCaptureFixture, path: bytes, size: bytes, *, later: bool
) -> None:
    head = b"POST " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    with caplog.at_level(logging.DEBUG), opened(site) as one:
        if later:  # once the head alone has been answered
            one.sendall(head)
            assert one.recv(1000).startswith(b"HTTP/1.1 4")
            one.sendall(size + b"\r\n")
        else:
            one.sendall(head + size + b"\r\n")
        assert is_closed(one)
    assert [said.message for said in caplog.records if said.levelno >= logging.INFO] == []


@pytest.mark.parametrize(
    "path",
    ["/open/../index.html", "/open/%2e%2e/app.js", "/open/x/../../", "/open/%2e%2e", "/open/"],
)
def test_below_a_link_there_is_nothing(site: Site, path: str) -> None:
    assert site.ask(path, token=None).status == 401
    assert site.ask(path, token=None, method="HEAD").status == 401


@pytest.mark.parametrize("body", [b'{"path":' + b"[" * 100_000, b"1" * 500_000])
def test_a_body_that_no_parser_reads_is_not_called_a_missing_path(site: Site, body: bytes) -> None:
    answer = site.ask("/api/preflight", body)
    assert (answer.status, answer.json["code"]) == (400, "usage")


@pytest.mark.parametrize(
    "value", ["NaN", "1e999", '"\\ud800"', '"\\u0000"', "[" * 300 + "]" * 300, "9" * 4000]
)
@pytest.mark.parametrize("name", ["displayName", "contextLength", "peftDetails", "\\ud800"])
def test_awkward_values_of_a_models_fields_are_no_bug(site: Site, name: str, value: str) -> None:
    folder = str(site.folder())
    body = f'{{"path":"{folder}","model_json":{{"{name}":{value}}}}}'
    for path in ("/api/preflight", "/api/jobs"):
        assert site.ask(path, body.encode()).status in (200, 201, 400, 409, 422)

"""Where it listens, and what it leaves behind."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.conftest import Site
from uploader import wiring
from uploader.core.errors import NotFound, StoreError, UsageError
from uploader.service.http import alone, doors, ready
from uploader.service.http.door import addresses_of, link_of
from uploader.service.http.listen import announced, bound, listening, written
from uploader.service.http.tokens import answer_to, api_token, new_question
from uploader.settings.load import load, with_listen


def test_the_token_is_long_private_and_stays(site: Site) -> None:
    file = site.settings.state_dir / "api.token"
    assert len(site.token) >= 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert api_token(site.settings.state_dir) == site.token
    assert [one.name for one in site.settings.state_dir.glob("api.*")] in (
        ["api.token", "api.address"],
        ["api.address", "api.token"],
    )


@pytest.mark.parametrize("name", ["open", "write"])
def test_a_full_disk_is_named_and_nothing_is_left_of_what_did_not_fit(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    made = {"open": "uploader.store.database.drafts.new_private_file"}
    monkeypatch.setattr(made.get(name, "uploader.store.database.drafts.os.fsync"), full)
    before = {*home.iterdir()}
    for begin in (lambda: api_token(home), lambda: _entered(home)):
        with pytest.raises(StoreError) as caught:
            begin()
        assert caught.value.code == "disk_full"
        assert {*home.iterdir()} == before


def _entered(home: Path) -> None:
    with announced(home, "127.0.0.1:1", works=True):
        pass


def test_a_disk_that_is_full_at_the_end_is_no_failure(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr("uploader.service.http.listen.answers", lambda _: True)
    (home / "api.address").write_text("127.0.0.1:2\n")
    with announced(home, "127.0.0.1:1", works=True):
        monkeypatch.setattr("uploader.store.database.drafts.os.fsync", full)


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604])
def test_a_token_that_others_may_read_is_refused(home: Path, mode: int) -> None:
    api_token(home)
    (home / "api.token").chmod(mode)
    with pytest.raises(UsageError, match="others may read"):
        api_token(home)


@pytest.mark.parametrize("text", ["", "short", "x" * 600, "a b" * 20, "\0" * 40])
def test_a_file_that_is_not_a_token_is_refused(home: Path, text: str) -> None:
    api_token(home)
    (home / "api.token").write_text(text)
    with pytest.raises(UsageError, match="does not contain a token"):
        api_token(home)


def test_a_link_in_the_place_of_the_token_is_not_followed(home: Path) -> None:
    (home / "other").write_text("t" * 40)
    (home / "api.token").symlink_to(home / "other")
    with pytest.raises(OSError, match=r"api\.token"):
        api_token(home)


def test_no_pipe_in_the_place_of_the_token_or_of_the_address_is_waited_for(home: Path) -> None:
    os.mkfifo(home / "api.token", 0o600)
    with pytest.raises(OSError, match="it is a pipe"):
        api_token(home)
    os.mkfifo(home / "api.address", 0o600)
    assert addresses_of(home) == []


def test_of_two_that_begin_at_once_both_have_the_token_of_the_first(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def late(draft: Path, path: Path) -> None:
        path.touch(0o600)
        path.write_text("t" * 40)
        link(draft, path)

    monkeypatch.setattr(os, "link", late)
    assert api_token(home) == "t" * 40


def test_a_file_system_without_hard_links_has_a_token_too(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    assert api_token(home) == api_token(home)


def test_the_address_is_gone_after_a_clean_end(site: Site) -> None:
    host, _, port = site.address.rpartition(":")
    assert (host, int(port) > 0) == ("127.0.0.1", True)
    site.stop()
    assert not (site.settings.state_dir / "api.address").exists()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host, int(port)), timeout=2)
    site.start()


def test_whoever_ends_leaves_the_address_of_the_others(site: Site) -> None:
    folder, worker = site.settings.state_dir, site.address
    with bound(site.settings) as listener, bound(site.settings) as second:
        serve, further = written(listener), written(second)
        with announced(folder, serve, works=False):
            assert addresses_of(folder) == [worker, serve]
            with announced(folder, further, works=False):
                site.stop()
                assert addresses_of(folder) == [serve, further]
            assert addresses_of(folder) == [serve]
            site.start()
            assert addresses_of(folder)[1:] == [serve], "a health check asks the worker"
    assert serve not in link_of(site.settings, wiring.clock().now())


def test_one_that_was_killed_is_announced_no_longer_than_until_the_next_start(site: Site) -> None:
    folder, worker = site.settings.state_dir, site.address
    (folder / "api.address").write_text("127.0.0.1:1\n")
    with pytest.raises(NotFound, match="listens"):
        link_of(site.settings, wiring.clock().now())
    with announced(folder, worker, works=True):
        assert addresses_of(folder) == [worker]


def test_serving_begins_in_a_state_folder_that_does_not_exist_yet(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = site.settings.model_copy(update={"state_dir": tmp_path / "a" / "new"})
    served: list[str] = []
    monkeypatch.setattr(alone, "answer", lambda *_: served.extend(addresses_of(settings.state_dir)))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    alone.serve(settings, site.jobs)
    assert len(served) == 1


def test_a_taken_port_is_a_warning_and_work_goes_on(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    settings = with_listen(site.settings, site.address)
    with listening(lambda: settings, site.jobs, wiring.clock(), lambda: None):
        assert site.address.rpartition(":")[2] in caplog.text
    assert site.ask("/api/jobs").status == 200


def test_a_server_that_cannot_be_loaded_keeps_nobody_waiting(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("uploader.service.http.server", raising=False)
    monkeypatch.setitem(sys.modules, "uploader.service.http.server", None)  # as after an upgrade
    settings = with_listen(site.settings, "127.0.0.1:0")
    with listening(lambda: settings, site.jobs, wiring.clock(), lambda: None):
        host, _, port = addresses_of(site.settings.state_dir)[0].partition(":")
        with (
            contextlib.suppress(ConnectionError),  # it may be closed at any moment
            socket.create_connection((host, int(port)), timeout=10) as asked,
        ):
            asked.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert not asked.recv(1)
    assert "the API has ended; uploading goes on without it" in caplog.text


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.7:8642", "example.org:1"])
def test_beyond_this_machine_it_listens_only_if_that_is_allowed(home: Path, listen: str) -> None:
    settings = with_listen(load(environ={"UPLOADER_STATE_DIR": str(home)}), listen)
    with pytest.raises(UsageError, match="other machines") as refused:
        bound(settings)
    assert "api.allow_remote" in refused.value.hint


def test_and_then_only_with_tls_or_a_proxy(home: Path) -> None:
    environ = {"UPLOADER_STATE_DIR": str(home), "UPLOADER_API__ALLOW_REMOTE": "true"}
    with pytest.raises(UsageError, match="token to the network"):
        bound(with_listen(load(environ=environ), "0.0.0.0:0"))
    environ["UPLOADER_API__BEHIND_PROXY"] = "true"
    bound(with_listen(load(environ=environ), "0.0.0.0:0")).close()


@pytest.mark.parametrize(
    "listen", ["8642", "localhost", ":1", "a:b", "127.0.0.1:65536", "::1:80", ""]
)
def test_an_address_that_is_none_shows_the_right_form(home: Path, listen: str) -> None:
    with pytest.raises(UsageError) as refused:
        with_listen(load(environ={"UPLOADER_STATE_DIR": str(home)}), listen)
    assert "127.0.0.1:8642" in refused.value.hint


def test_a_certificate_that_cannot_be_used_is_told_at_the_start(home: Path) -> None:
    environ = {
        "UPLOADER_STATE_DIR": str(home),
        "UPLOADER_API__TLS_CERT_FILE": str(home / "none.pem"),
    }
    with pytest.raises(UsageError, match="only one"):
        bound(load(environ=environ))
    environ["UPLOADER_API__TLS_KEY_FILE"] = str(home / "none.key")
    with pytest.raises(UsageError, match=r"none\.pem"):
        bound(load(environ=environ))


def test_a_link_needs_an_api_that_listens(site: Site) -> None:
    assert site.address in link_of(site.settings, wiring.clock().now())
    site.stop()
    with pytest.raises(NotFound, match="listens"):
        link_of(site.settings, wiring.clock().now())
    site.start()


@contextlib.contextmanager
def stranger(site: Site, answer: bytes) -> Iterator[list[bytes]]:
    """Another program has the port of an API that was killed; what it was told is yielded."""
    told: list[bytes] = []

    def listen() -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = server.accept()
                with one:
                    told.append(one.recv(4096))
                    one.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        (site.settings.state_dir / "api.address").write_text(f"{written(server)}\n")
        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield told
        server.shutdown(socket.SHUT_RDWR)
        thread.join(30)


@pytest.mark.parametrize("body", [b"", b"ok\n", b"0" * 64, b"0" * 20_000])
def test_no_link_leads_to_a_stranger_at_the_port_of_ours(site: Site, body: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\n\r\n" + body
    with stranger(site, answer) as told, pytest.raises(NotFound, match="does not prove"):
        link_of(site.settings, wiring.clock().now())
    assert any(told)
    assert site.token.encode() not in b"".join(told)


def test_no_answer_of_ours_makes_a_stranger_look_like_it(site: Site) -> None:
    """One who asks our own API, at its address, what it was asked itself."""
    token, ours, theirs, now = site.token, site.address, "127.0.0.1:1", wiring.clock().now()
    asked = new_question(token, theirs, now)
    assert site.ask(f"/proof/{asked}", token=None).status == 401
    asked = new_question(token, ours, now)
    answer = site.ask(f"/proof/{asked}", token=None)
    assert (answer.status, answer.text) == (200, answer_to(asked, token, ours))
    assert answer.text != answer_to(asked, token, theirs)
    assert site.ask(f"/open/{asked}", token=None).status != 303, "a question is not a link"


def test_strangers_who_ask_too_often_keep_nobody_from_a_link(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "_STRANGERS_PER_S", 0.0)  # as if they had used it all up
    assert site.address in link_of(site.settings, wiring.clock().now())
    assert site.ask("/proof/x", token=None).status == 429


def test_a_worker_that_nobody_asks_loads_no_web_server() -> None:
    code = (
        "import sys, uploader.service.daemon, uploader.service.http.listen, uploader.cli.app;"
        "print(*{'fastapi', 'uvicorn', 'starlette'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_liveness_is_the_workers_and_readiness_the_stores(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready, "_HOLDS_S", 0.0)
    site.turned_s = 0.0
    assert (site.ask("/livez", token=None).status, site.ask("/readyz", token=None).status) == (
        503,
        200,
    )
    site.turned_s = None
    (site.settings.state_dir / "uploader.db").write_bytes(b"not a database" * 1000)
    assert (site.ask("/livez", token=None).status, site.ask("/readyz", token=None).status) == (
        200,
        503,
    )
    assert site.ask("/api/jobs").status == 503

"""The API over TLS: what somebody who sends no handshake, or nothing after it, can do."""

from __future__ import annotations

import http.client
import logging
import ssl
import subprocess
import time
from contextlib import ExitStack, closing, suppress

import pytest

from tests.service.conftest import Site, is_closed, opened
from uploader import wiring
from uploader.service.http import connection
from uploader.service.http.door import link_of


def test_an_api_proves_to_be_ours_over_tls_whoever_signed_its_certificate(tls_site: Site) -> None:
    assert link_of(tls_site.settings, wiring.clock().now()).startswith("https://")


def asked_over_tls(site: Site) -> int:
    trusting = ssl._create_unverified_context()
    found = http.client.HTTPSConnection(site.address, timeout=30, context=trusting)
    try:
        found.request("GET", "/api/jobs", headers={"Authorization": f"Bearer {site.token}"})
        return found.getresponse().status
    finally:
        found.close()


def test_handshakes_that_never_end_keep_nobody_out_and_take_no_more_files(
    tls_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 8)
    with ExitStack() as stack:
        silent = [stack.enter_context(opened(tls_site)) for _ in range(20)]
        assert asked_over_tls(tls_site) == 200
        assert all(is_closed(one) for one in silent[:12])
        assert {asked_over_tls(tls_site) for _ in range(10)} == {200}


def test_a_handshake_that_never_ends_is_cut_off(
    tls_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PATIENCE_S", 0.3)
    with opened(tls_site) as one:
        one.sendall(b"\x16\x03\x01")
        assert is_closed(one)


def test_who_sends_new_keys_and_nothing_else_is_cut_off(tls_site: Site) -> None:
    client = subprocess.Popen(
        ["openssl", "s_client", "-tls1_3", "-connect", tls_site.address],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with client:
        assert client.stdin is not None
        sent, ends_s = 0, time.monotonic() + connection.PATIENCE_S / 2
        with suppress(BrokenPipeError):
            while client.poll() is None:
                client.stdin.write(b"K\n")
                sent += 1
                assert time.monotonic() < ends_s
    assert sent > 100
    assert asked_over_tls(tls_site) == 200


@pytest.mark.parametrize("size", [1, 100_000, 500_000])
def test_a_body_comes_through_tls_whatever_its_size(tls_site: Site, size: int) -> None:
    trusting = ssl._create_unverified_context()
    found = http.client.HTTPSConnection(tls_site.address, timeout=30, context=trusting)
    with closing(found):
        for _ in range(3):
            token = {"Authorization": f"Bearer {tls_site.token}"}
            body = b'{"path":"' + b"x" * size + b'"}'
            found.request("POST", "/api/preflight", body, token)
            assert found.getresponse().read()


@pytest.mark.parametrize("begun", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello"])
def test_what_is_no_handshake_is_cut_off_and_not_logged(
    tls_site: Site, begun: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), opened(tls_site) as one:
        one.sendall(begun)
        one.settimeout(30)
        while one.recv(4096):
            pass
    assert asked_over_tls(tls_site) == 200
    assert [one.name for one in caplog.records if one.levelno > logging.INFO] == []

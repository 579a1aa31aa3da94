"""An API that listens, over a job table of its own; nothing works on its jobs."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.cli.conftest import home, sql, store, template
from tests.model.build import BASE, folder
from uploader import wiring
from uploader.service.http.door import addresses_of
from uploader.service.http.listen import listening
from uploader.service.http.tokens import api_token
from uploader.settings.load import load
from uploader.settings.schema import Settings
from uploader.store.jobs import Jobs

__all__ = ["home", "sql", "store", "template"]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Site:
    """One API: ``ask`` it with the token, or without."""

    settings: Settings
    jobs: Jobs
    roots: Path
    turned_s: float | None = None
    opened: ExitStack = field(default_factory=ExitStack)

    def folder(self, name: str = "model") -> Path:
        """A folder below the roots that may become a model."""
        return folder(self.roots / name, BASE)

    def start(self) -> None:
        self.opened.enter_context(
            listening(lambda: self.settings, self.jobs, wiring.clock(), lambda: self.turned_s)
        )

    def stop(self) -> None:
        self.opened.close()

    @property
    def address(self) -> str:
        (address,) = addresses_of(self.settings.state_dir)
        return address

    @property
    def token(self) -> str:
        return api_token(self.settings.state_dir)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.address, timeout=30)

    def ask(
        self,
        path: str,
        body: Any = None,
        *,
        token: str | None = "",
        method: str = "",
        **headers: str,
    ) -> Answer:
        """GET, or POST of ``body``. None as the token sends none, nothing the right one."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token or self.token}"
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if raw is not None:
            sent.setdefault("Content-Type", "application/json")
        connection = self.connect()
        try:
            connection.request(method or ("GET" if raw is None else "POST"), path, raw, sent)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read().decode())
        finally:
            connection.close()


@pytest.fixture
def site(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    assert store.exists()
    roots = (tmp_path / "roots").resolve()
    roots.mkdir()
    monkeypatch.setenv("UPLOADER_API__LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("UPLOADER_API__ROOTS", str(roots))
    settings = load()
    with wiring.Store(settings) as opened:
        made = Site(settings, opened.create(), roots)
        made.start()
        yield made
        made.stop()
    assert [one.name for one in threading.enumerate() if one.name == "api"] == []


def opened(site: Site) -> socket.socket:
    host, _, port = site.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def is_closed(one: socket.socket, within_s: float = 20.0) -> bool:
    """Whatever was answered before."""
    one.settimeout(within_s)
    try:
        while one.recv(4096):
            pass
    except TimeoutError:
        return False
    except ConnectionResetError:
        pass
    return True


@pytest.fixture
def tls_site(site: Site, tmp_path: Path) -> Site:
    """The same API over TLS; ``ask`` does not speak it."""
    files = {name: tmp_path / name for name in ("tls_cert_file", "tls_key_file")}
    made = trustme.CA().issue_cert("127.0.0.1")
    files["tls_cert_file"].write_bytes(b"".join(one.bytes() for one in made.cert_chain_pems))
    files["tls_key_file"].write_bytes(made.private_key_pem.bytes())
    site.stop()
    api = site.settings.api.model_copy(update=files)
    site.settings = site.settings.model_copy(update={"api": api})
    site.start()
    return site

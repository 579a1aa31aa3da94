from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.remote.scripted import HandClock, Reply, Server
from uploader.remote import trust
from uploader.remote.sockets import SocketAdapter
from uploader.remote.storage import Storage
from uploader.runtime import StopToken
from uploader.sandbox.tls import AcceptedSocket

Serve = Callable[..., Server]

ENVIRONMENT = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NETRC")
CA = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "FIREWORKS_API_KEY")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*ENVIRONMENT, *CA):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def usual(
    own_environment: None,
    secure: bool,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[ssl.SSLContext | None]:
    """What a scripted server speaks unless a test says otherwise; its clients trust it."""
    del own_environment
    if not secure:
        yield None
        return
    monkeypatch.setenv("SSL_CERT_FILE", str(request.getfixturevalue("certificate")))
    trust._made.cache_clear()  # made once per process, with what the environment said then
    yield request.getfixturevalue("tls")
    trust._made.cache_clear()


@pytest.fixture
def serve(usual: ssl.SSLContext | None) -> Iterator[Serve]:
    servers: list[Server] = []

    def start(*replies: Reply, tls: ssl.SSLContext | None = usual, window: int = 0) -> Server:
        servers.append(Server(*replies, tls=tls, window=window))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def stop() -> StopToken:
    return StopToken()


@pytest.fixture
def adapter(stop: StopToken) -> Iterator[SocketAdapter]:
    adapter = SocketAdapter(stop, send_timeout_s=5)
    yield adapter
    adapter.close()


@pytest.fixture
def storage(adapter: SocketAdapter) -> Storage:
    return Storage(HandClock(), adapter, plain=True)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 "
        "-addext keyUsage=critical,digitalSignature,keyCertSign "
        "-keyout key.pem -out cert.pem"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder / "cert.pem"


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslsocket_class = AcceptedSocket
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    return context

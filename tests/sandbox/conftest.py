"""A client that knows no more than the contract, over the pure core and over real sockets."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from uploader.sandbox.adapter import InProcessAdapter
from uploader.sandbox.server import Sandbox
from uploader.sandbox.world import World

GRANULE = 256 * 1024


class Remote:
    """One requests session on one world."""

    def __init__(self, world: World, http: requests.Session) -> None:
        self.world = world
        self.http = http

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """A control-plane call with the key; `path` is below the account."""
        url = f"{self.world.base_url}/v1/accounts/sandbox{path}"
        key = {"Authorization": f"Bearer {self.world.config.api_key}"}
        return self.http.request(method, url, headers=key, **options)

    def create(self, *files: str, **model: Any) -> requests.Response:
        details = {"checkpointFormat": "HUGGINGFACE", "huggingfaceFiles": list(files)}
        body = {"kind": "HF_BASE_MODEL", "baseModelDetails": details, **model}
        return self.call("POST", "/models", json={"modelId": "m", "model": body})

    def ask_urls(self, sizes: dict[str, Any], *, resumable: bool = True) -> requests.Response:
        body = {"filenameToSize": sizes, "enableResumableUpload": resumable}
        return self.call("POST", "/models/m:getUploadEndpoint", json=body)

    def url(self, size: int, *, resumable: bool = True) -> str:
        """The URL of file `f` of model `m`, which is created first if needed."""
        self.create("f")
        urls = self.ask_urls({"f": size}, resumable=resumable).json()["filenameToSignedUrls"]
        return str(urls["f"])

    def validate(self, **options: Any) -> requests.Response:
        return self.call("GET", "/models/m:validateUpload", **options)

    def start(self, url: str, size: int, **options: Any) -> requests.Response:
        return self.http.post(url, headers=self.signed(size, start=True), **options)

    def session(self, size: int) -> str:
        """The URI of a new session for file `f`."""
        return self.start(self.url(size), size).headers["Location"]

    def put(
        self, uri: str, content: Any, first: int = 0, total: int | str | None = None
    ) -> requests.Response:
        last = first + len(content) - 1
        total = last + 1 if total is None else total
        headers = {"Content-Range": f"bytes {first}-{last}/{total}"}
        return self.http.put(uri, data=content, headers=headers, allow_redirects=False)

    def query(self, uri: str, total: int | str = "*") -> requests.Response:
        headers = {"Content-Range": f"bytes */{total}"}
        return self.http.put(uri, headers=headers, allow_redirects=False)

    def offset(self, uri: str) -> int:
        """What a status query says is persisted."""
        answer = self.query(uri)
        assert answer.status_code == 308
        held = answer.headers.get("Range")
        return 0 if held is None else int(held.removeprefix("bytes=0-")) + 1

    @staticmethod
    def signed(size: int, *, start: bool = False) -> dict[str, str]:
        """The headers that an upload URL signs."""
        headers = {
            "Content-Type": "application/octet-stream",
            "x-goog-content-length-range": f"{size},{size}",
        }
        return {**headers, "x-goog-resumable": "start"} if start else headers

    def seen(self) -> dict[str, Any]:
        """The report on file `f` of model `m`."""
        objects: dict[str, Any] = self.world.report()["objects"]
        found: dict[str, Any] = objects["sandbox/m/f"]
        return found


Make = Callable[..., Remote]


@pytest.fixture
def content() -> bytes:
    """Two and a half granules of noise."""
    return random.Random(7).randbytes(2 * GRANULE + GRANULE // 2)


@pytest.fixture(params=["core", "sockets"])
def make(request: pytest.FixtureRequest, tmp_path: Path, secure: bool) -> Iterator[Make]:
    """Build a Remote; the arguments are World's."""
    with ExitStack() as stack:

        def build(**options: Any) -> Remote:
            options.setdefault("data_dir", tmp_path)
            http = stack.enter_context(requests.Session())
            http.trust_env = False
            if request.param == "sockets":
                box = stack.enter_context(Sandbox(tls=secure, **options))
                world, http.verify = box.world, str(box.ca_file) if secure else True
            else:
                world = World(**options)
                http.mount("http://", InProcessAdapter(world))
            return Remote(world, http)

        yield build


@pytest.fixture
def remote(make: Make) -> Remote:
    return make()


@pytest.fixture
def over() -> type[Remote]:
    """For files that build their worlds themselves: `over(world, http)` is a Remote."""
    return Remote


@pytest.fixture
def box(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Sandbox]:
    """A sandbox whose end leaves nothing printed."""
    with Sandbox(data_dir=tmp_path) as box:
        yield box
    assert capfd.readouterr() == ("", "")

"""A plain PUT: its headers, its length, and why it was refused."""

from __future__ import annotations

import pytest

from tests.remote.conftest import Serve
from tests.remote.scripted import OF_STORAGE, Blocks, Reply
from tests.remote.storage.exchanges import CONTENT, SIZE, only, stored
from uploader.core.errors import RemoteError
from uploader.core.resumable import Finished, encode_crc32c, read_url
from uploader.core.verdict import Verdict
from uploader.remote.storage import Storage


def test_a_plain_put_sends_the_signed_headers_and_its_length(
    serve: Serve, storage: Storage
) -> None:
    server = serve(Reply(200, {"x-goog-hash": f"crc32c={encode_crc32c(5)}"}))
    url = read_url(f"{server.base}/o?X-Goog-SignedHeaders=host;content-type&X-Goog-Signature=S")
    assert storage.put(url, Blocks(CONTENT), SIZE) == Finished(None, 5)
    seen = only(server)
    assert seen.body == CONTENT
    assert seen.headers["content-length"] == str(SIZE)
    assert "transfer-encoding" not in seen.headers
    assert "x-goog-content-length-range" not in seen.headers


def test_an_empty_file_is_put_with_length_zero(serve: Serve, storage: Storage) -> None:
    server = serve(stored())
    storage.put(read_url(f"{server.base}/o"), Blocks(b""), 0)
    assert only(server).headers["content-length"] == "0"
    assert only(server).headers["x-goog-content-length-range"] == "0,0"


def test_a_refused_put_says_why(serve: Serve, storage: Storage) -> None:
    server = serve(Reply(403, OF_STORAGE))
    with pytest.raises(RemoteError) as caught:
        storage.put(read_url(f"{server.base}/o"), Blocks(CONTENT), SIZE)
    assert caught.value.verdict is Verdict.URL_EXPIRED

"""Upload URLs: each file has its own, and what cannot be used is refused."""

from __future__ import annotations

import json
import time

import pytest

from tests.remote.conftest import Serve
from tests.remote.fireworks.conftest import Connect, ok
from uploader.core.errors import JobRefused, RemoteError, UploaderError
from uploader.core.resumable import UrlKind
from uploader.core.verdict import Verdict
from uploader.remote.fireworks import pair

SESSION = "https://s/o?upload_id=1"


def urls(*keys: str) -> dict[str, str]:
    return {key: f"https://s/{key}" for key in keys}


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        ({"a": "a", "b": "b"}, ["a", "b"]),
        ({"a": "models/m/a"}, ["models/m/a"]),
        ({"a": "a", "b": "models/m/b"}, ["a", "models/m/b"]),
        ({"a": "m/a", "sub/a": "m/sub/a"}, ["m/sub/a", "m/a"]),
        ({"a": "a", "sub/a": "sub/a"}, ["sub/a", "a"]),
        ({}, []),
    ],
)
def test_names_and_urls_pair_up(names: dict[str, str], keys: list[str]) -> None:
    expected = {name: f"https://s/{key}" for name, key in names.items()}
    assert pair(list(names), urls(*keys)) == expected


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["a", "b"], ["a"]),
        (["a"], ["a", "b"]),
        (["a"], []),
        (["a"], ["ba"]),
        (["a"], ["x/a", "y/a"]),
        (["a", "b/a"], ["m/b/a"]),
    ],
)
def test_what_does_not_pair_up_is_refused(names: list[str], keys: list[str]) -> None:
    with pytest.raises(RemoteError) as caught:
        pair(names, urls(*keys))
    assert (caught.value.verdict, caught.value.code) == (Verdict.FAILED, "urls_mismatch")


def test_the_whole_map_is_asked_for_and_the_kinds_are_read(serve: Serve, connect: Connect) -> None:
    found = {"filenameToSignedUrls": {"a": SESSION, "b": "https://s/b"}}
    server = serve(ok({**found, "filenameToUnsignedUris": {}}))
    read = connect(server).upload_urls("a", "m", {"a": 1, "b": 2**40}, resumable=True)
    assert {name: url.kind for name, url in read.items()} == {
        "a": UrlKind.SESSION,
        "b": UrlKind.PUT,
    }
    seen = server.seen[0]
    assert f"{seen.method} {seen.target}" == "POST /v1/accounts/a/models/m:getUploadEndpoint"
    assert json.loads(seen.body) == {
        "filenameToSize": {"a": 1, "b": 2**40},
        "enableResumableUpload": True,
    }


JSON_API = "https://s/upload/storage/v1/b/c/o?upload_id="


@pytest.mark.parametrize(
    ("first", "second", "separate"),
    [
        ("https://s/c/a", "https://s/c/b", True),
        ("https://s/c/a", "https://s/c/a", False),
        ("https://s/c/a?X-Goog-Signature=1", "https://s/c/a?X-Goog-Signature=2", False),
        ("https://s/c/a?upload_id=1", "https://s/c/a?upload_id=2", False),
        ("https://s/c/a?upload_id=1", "https://s/c/b?upload_id=1", False),
        ("https://s/c/a", "https://s/c/%61", False),
        (f"{JSON_API}1&name=a", f"{JSON_API}2&name=b", True),
        (f"{JSON_API}1&name=a", f"{JSON_API}2&name=a", False),
        (f"{JSON_API}1&name=a", f"{JSON_API}1&name=b", False),
        (f"{JSON_API}1", f"{JSON_API}2", True),  # which of the objects these are is not said
        (f"{JSON_API}1", f"{JSON_API}1", False),
        (f"{JSON_API}1&a=1", f"{JSON_API}1&a=2", False),
        (f"{JSON_API}1&name=a/", f"{JSON_API}2&name=a/", False),
        ("https://s/c/?X-Goog-Signature=1", "https://s/c/?X-Goog-Signature=2", False),
        ("https://s/c/?upload_id=1", "https://s/c/?upload_id=2", False),
        ("https://s/c/a", "https://S:443/./c\\a", False),
        ("https://[::1]/a", "https://[0:0::1]/a", False),
    ],
)
def test_two_files_never_go_to_one_place(
    serve: Serve, connect: Connect, first: str, second: str, separate: bool
) -> None:
    api = connect(serve(ok({"filenameToSignedUrls": {"a": first, "b": second}})))
    if separate:
        assert api.upload_urls("a", "m", {"a": 1, "b": 1}, resumable=True).keys() == {"a", "b"}
        return
    with pytest.raises(RemoteError) as caught:
        api.upload_urls("a", "m", {"a": 1, "b": 1}, resumable=True)
    assert (caught.value.verdict, caught.value.code) == (Verdict.FAILED, "urls_mismatch")
    assert "one place for a and b" in caught.value.message
    assert "upload_id" not in caught.value.message


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        ({"filenameToUnsignedUris": {"a": "gs://b/a"}}, JobRefused, "byoc_unsupported"),
        ({"filenameToSignedUrls": {"a": "http://s/o"}}, JobRefused, "insecure_url"),
        ({"filenameToSignedUrls": {"a": "gs://s/o"}}, JobRefused, "insecure_url"),
        ({"filenameToSignedUrls": {"a": "http://["}}, JobRefused, "insecure_url"),
        ({"filenameToSignedUrls": {"a": "https://s/\ud800"}}, JobRefused, "insecure_url"),
        ({"filenameToSignedUrls": {"a": "https://s/o?a=\t"}}, JobRefused, "insecure_url"),
        (
            {"filenameToSignedUrls": {"a": "https://b\u00fccher.example/o"}},
            JobRefused,
            "url_unusable",
        ),
        ({"filenameToSignedUrls": {"a": 1}}, RemoteError, "malformed"),
        ({"filenameToSignedUrls": ["https://s"]}, RemoteError, "malformed"),
        ({}, RemoteError, "malformed"),
        ([], RemoteError, "malformed"),
    ],
)
def test_urls_that_cannot_be_used_are_refused(
    serve: Serve, connect: Connect, body: object, kind: type[UploaderError], code: str
) -> None:
    with pytest.raises(kind) as caught:
        connect(serve(ok(body))).upload_urls("a", "m", {"a": 1}, resumable=False)
    assert caught.value.code == code


def test_a_map_of_many_urls_is_paired_in_linear_time() -> None:
    names = [f"model-{number:05}-of-20000.safetensors" for number in range(20_000)]
    began_s = time.process_time()
    found = pair(names, {f"a/b/{name}": "u" for name in reversed(names)})
    assert time.process_time() - began_s < 5
    assert found == dict.fromkeys(names, "u")

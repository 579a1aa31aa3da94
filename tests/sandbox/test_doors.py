"""Who may talk to the sandbox's ports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import requests

from uploader.sandbox.server import Sandbox

if TYPE_CHECKING:
    from tests.sandbox.conftest import Remote


@pytest.fixture
def remote(tmp_path: Path, over: type[Remote]) -> Iterator[Remote]:
    with Sandbox(data_dir=tmp_path / "data") as box, requests.Session() as http:
        http.trust_env = False
        yield over(box.world, http)


def port(url: str) -> int:
    return urlsplit(url).port or 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "LocalHost"])
def test_a_port_answers_to_its_own_names(remote: Remote, host: str) -> None:
    for url, status in ((remote.world.base_url, 403), (remote.world.storage_url, 404)):
        answer = remote.http.get(f"{url}/verifyApiKey", headers={"Host": f"{host}:{port(url)}"})
        assert answer.status_code == status


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost", "evil.example:{port}", ""]
)
def test_a_port_answers_to_no_other_name(remote: Remote, host: str) -> None:
    for url in (remote.world.base_url, remote.world.storage_url):
        named = {"Host": host.format(port=port(url))}
        assert remote.http.get(f"{url}/verifyApiKey", headers=named).status_code == 421


def test_a_port_does_not_answer_for_the_other_one(remote: Remote) -> None:
    names = remote.world.base_url, remote.world.storage_url
    for url, other in (names, names[::-1]):
        named = {"Host": urlsplit(other).netloc}
        assert remote.http.get(f"{url}/verifyApiKey", headers=named).status_code == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "file://", "", "{other}"])
def test_a_page_of_another_origin_is_refused(remote: Remote, origin: str) -> None:
    headers = {
        "Authorization": f"Bearer {remote.world.config.api_key}",
        "Origin": origin.format(other=remote.world.storage_url),
    }
    answer = remote.http.get(f"{remote.world.base_url}/verifyApiKey", headers=headers)
    assert answer.status_code == 403
    assert "origin" in answer.json()["error"]
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_its_own_origin_is_not_refused(remote: Remote) -> None:
    url = remote.world.base_url
    headers = {"Authorization": f"Bearer {remote.world.config.api_key}", "Origin": url}
    assert remote.http.get(f"{url}/verifyApiKey", headers=headers).ok


def test_an_announced_address_is_one_s_own(remote: Remote) -> None:
    """Somebody put a proxy in front, and said so."""
    url, remote.world.base_url = remote.world.base_url, "http://127.0.0.1:9"
    assert (
        remote.http.get(f"{url}/verifyApiKey", headers={"Host": "127.0.0.1:9"}).status_code == 403
    )


def test_a_link_in_the_data_folder_is_not_followed(remote: Remote, tmp_path: Path) -> None:
    outside, data = tmp_path / "outside", tmp_path / "data/sandbox"
    outside.mkdir()
    data.mkdir()
    (data / "m").symlink_to(outside)
    assert remote.put(remote.session(1), b"x").status_code == 500
    plain = remote.url(1, resumable=False)
    assert remote.http.put(plain, data=b"x", headers=remote.signed(1)).status_code == 500
    assert list(outside.iterdir()) == []


def test_what_is_stored_is_private(remote: Remote, tmp_path: Path) -> None:
    remote.put(remote.session(1), b"x")
    modes = [
        (tmp_path / "data" / key).stat().st_mode & 0o777
        for key in ("", "sandbox", "sandbox/m", "sandbox/m/f")
    ]
    assert modes == [0o700, 0o700, 0o700, 0o600]

"""The service's address: what other tools append is dropped, and only this machine is plain."""

from __future__ import annotations

import pytest

from uploader.settings.load import load


@pytest.mark.parametrize(
    "text",
    [
        "https://api.fireworks.ai",
        "https://api.fireworks.ai/",
        "https://API.fireworks.ai/v1",
        " https://api.fireworks.ai/v1/ ",
        "https://api.fireworks.ai/inference/v1",
        "https://api.fireworks.ai/inference/v1//",
    ],
)
def test_a_base_url_loses_what_other_tools_append(text: str) -> None:
    found = load(environ={"FIREWORKS_BASE_URL": text})
    assert found.fireworks.base_url == "https://api.fireworks.ai"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:8080", "https://x/prefix"]
)
def test_a_base_url_on_this_machine_may_be_plain(url: str) -> None:
    assert load(environ={"FIREWORKS_BASE_URL": url}).fireworks.base_url == url

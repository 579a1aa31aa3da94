"""What is replaced in google-resumable-media is there, and it is called."""

from __future__ import annotations

import inspect

import pytest
from google.resumable_media.requests import ResumableUpload

from uploader.core.resumable import GRANULE


@pytest.mark.parametrize(
    "name",
    [
        "_headers",
        "_resumable_url",
        "_stream",
        "_retry_strategy",
        "_prepare_initiate_request",
        "_process_initiate_response",
        "_prepare_request",
        "_process_resumable_response",
    ],
)
def test_every_private_attribute_used_exists(name: str) -> None:
    assert hasattr(ResumableUpload("https://h", GRANULE), name)


@pytest.mark.parametrize(
    ("method", "uses"),
    [
        ("initiate", ("_prepare_initiate_request", "_process_initiate_response")),
        ("transmit_next_chunk", ("_prepare_request", "_process_resumable_response")),
    ],
)
def test_the_library_calls_what_is_replaced(method: str, uses: tuple[str, ...]) -> None:
    source = inspect.getsource(getattr(ResumableUpload, method))
    assert all(source.count(f"self.{name}(") == 1 for name in uses)
    assert "self._retry_strategy" in source

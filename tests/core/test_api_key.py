"""What is wrong with a pasted key is said without repeating it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.core.api_key import flaw_of_api_key


@pytest.mark.parametrize("key", ["fw_3ZqAbC0123", "sk-x", "a", "k" * 4096, "BEARING", "apikey"])
def test_a_word_of_ascii_is_a_key(key: str) -> None:
    assert flaw_of_api_key(key) == ""


@given(st.text(max_size=60))
def test_what_passes_can_stand_in_a_header(text: str) -> None:
    if not flaw_of_api_key(text):
        assert text.isascii()
        assert text.isprintable()
        assert " " not in text

"""What cannot be said in UTF-8 is replaced, so that the rest can be said."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.core.utf8 import check_json, json_bytes, whole

ROOT = Path(__file__).parents[2] / "uploader"
ANY = st.text(st.characters(exclude_categories=()))
WORDS = st.recursive(ANY, lambda one: st.lists(one) | st.dictionaries(ANY, one), max_leaves=8)


@given(words=ANY)
def test_only_half_characters_are_replaced(words: str) -> None:
    kept = [char if not "\ud800" <= char <= "\udfff" else "?" for char in words]
    assert whole(words) == "".join(kept)


@given(document=WORDS)
def test_a_document_of_any_words_is_json_in_utf_8(document: Any) -> None:
    text = json_bytes(document).decode("utf-8")
    read = json.loads(text)
    try:
        check_json(document)
    except ValueError:
        assert read != document
    else:
        assert read == document


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_not_json(value: float) -> None:
    for write in (json_bytes, check_json):
        with pytest.raises(ValueError, match="JSON"):
            write({"a": [value]})


def test_json_without_escapes_is_written_in_one_place() -> None:
    """The others keep it to themselves, or refuse half a character."""
    own = {"core/utf8.py", "model/tensors.py", "sandbox/script.py"}
    writing = re.compile(r"ensure_ascii|JSONResponse")
    found = {
        str(file.relative_to(ROOT))
        for file in ROOT.rglob("*.py")
        if writing.search(file.read_text())
    }
    assert found == {*own, "service/http/answers.py"}

"""Whatever a finding quotes, its words can be printed, sent and kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from uploader.core.utf8 import check_json
from uploader.model.finding import error, warning

WORDS = st.text(st.characters(exclude_categories=()), max_size=700)


@given(file=st.none() | WORDS, message=WORDS, hint=WORDS)
def test_a_finding_is_short_and_printable_whatever_it_quotes(
    file: str | None, message: str, hint: str
) -> None:
    for kind in (error, warning):
        found = kind("c", file, message, hint)
        check_json(found.as_json())
        assert (found.file is None) is (file is None)
        assert all(word.isprintable() for word in (found.file or "", found.message, found.hint))
        assert max(len(found.message), len(found.hint)) <= 600

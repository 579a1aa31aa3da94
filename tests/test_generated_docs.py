"""The pages that `make docs` writes are committed as it writes them."""

from __future__ import annotations

import re

import pytest

from tests.docs import DOCS, PAGES, PARTS, ROOT, with_part
from uploader.core.api_reasons import ApiCode
from uploader.core.reasons import Code
from uploader.core.store_reasons import StoreCode


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), "run `make docs`"


@pytest.mark.parametrize("name", PARTS)
def test_every_generated_part_of_a_page_is_what_the_code_says(name: str) -> None:
    assert (ROOT / name).read_text() == with_part(name), "run `make docs`"


def test_every_code_has_its_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGES["reasons.md"](), re.MULTILINE)
    assert sorted(rows) == sorted((*Code, *StoreCode, *ApiCode))


def test_every_type_that_a_field_refers_to_has_its_section() -> None:
    page = PAGES["json.md"]()
    named = re.findall(r"\[(\w+)\]\(#(\d+)-(\w+)\)", page)
    assert named
    sections = set(re.findall(r"^## (\d+)\. (\w+)$", page, re.MULTILINE))
    assert {(number, name) for name, number, _ in named} <= sections
    assert all(name.lower() == anchor for name, _, anchor in named)
    assert not re.search(r"Annotated|typing|<class", page)
